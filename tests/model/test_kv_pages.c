/* test_kv_pages.c - pages of sequences: who has which, when they are free, and how few a local layer keeps */
#include "tests/check.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "model/family.h"
#include "model/kv_pages.h"
#include "model/model.h"

/* ---- the layout ---- */

/* The layers of published models, and what a block should be. */
static const struct {
    const char *name;
    int layers, period, window; /* layer i is local but where (i + 1) % period == 0; 0 = all are global */
    struct kv_layout want;
} models[] = {
    {"Qwen2.5-VL-7B", 28, 0, 0, {64, 28, {1, 0}, 0}},       {"gemma-3-270m", 18, 6, 512, {64, 3, {1, 5}, 512}},
    {"gemma-3-1b", 26, 6, 512, {64, 2, {2, 11}, 512}},      {"gemma-3-4b", 34, 6, 1024, {64, 5, {1, 6}, 1024}},
    {"gemma-3-12b", 48, 6, 1024, {64, 8, {1, 5}, 1024}},    {"gemma-3-27b", 62, 6, 1024, {64, 5, {2, 11}, 1024}},
    {"global layers alone", 5, 1, 512, {64, 5, {1, 0}, 0}}, {"local layers alone", 5, 6, 512, {64, 5, {1, 0}, 0}},
};

static struct model_config config_of(int i)
{
    struct model_config c = {
        .layers = models[i].layers, .window = models[i].window, .h = 4, .g = 4, .c = 256, .ff = 16, .vocabulary = 16};
    for (int layer = 0; layer < c.layers && models[i].period; layer++)
        c.local[layer] = (layer + 1) % models[i].period != 0;
    return c;
}

static void layers_of_one_kind_share_blocks_that_waste_little(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof models / sizeof *models; i++) {
        struct model_config c = config_of((int)i);
        struct kv_layout l = kv_layout(&c, 64);
        struct kv_place places[CONFIG_LAYERS];
        bool taken[CONFIG_LAYERS][CONFIG_LAYERS] = {{false}};
        assert_memory_equal(&l, &models[i].want, sizeof l);
        kv_layout_places(&l, &c, places);
        for (int layer = 0; layer < c.layers; layer++) {
            bool local = c.local[layer] && l.blocks[KV_LOCAL];
            assert_in_range(places[layer].layer, 0, l.block_layers - 1);
            assert_in_range(places[layer].block, local ? l.blocks[KV_GLOBAL] : 0,
                            (local ? kv_layout_whole(&l) : l.blocks[KV_GLOBAL]) - 1);
            assert_false(taken[places[layer].block][places[layer].layer]);
            taken[places[layer].block][places[layer].layer] = true;
        }
    }
}

/* A row at p sees keys [p + 1 - window, p]. */
static void the_first_local_page_holds_the_windows_first_key(void **state)
{
    (void)state;
    for (int window = 1; window < 70; window++) {
        const struct kv_layout l = {.page_positions = 16, .block_layers = 1, .blocks = {1, 3}, .window = window};
        for (int p = 0; p < 200; p++) {
            int first = p + 1 > window ? p + 1 - window : 0;
            assert_int_equal(kv_layout_first(&l, p), first / 16);
        }
    }
}

/* For every window, size of steps and length: what a sequence holds while a step runs, counted page by page. */
static void blocks_that_are_counted_suffice_and_are_reached(void **state)
{
    (void)state;
    for (int window = 1; window < 40; window += 3)
        for (int rows = 1; rows < 30; rows += 4) {
            const struct kv_layout l = {.page_positions = 8, .block_layers = 1, .blocks = {2, 3}, .window = window};
            int most = 0;
            for (int before = 0; before < 150; before++)
                for (int n = 1; n <= rows; n++) {
                    int pages = (before + n + 7) / 8, local = pages - kv_layout_first(&l, before);
                    most = local > most ? local : most;
                    assert_true(2 * pages + 3 * local <= kv_layout_blocks(&l, before + n, rows));
                }
            assert_int_equal(kv_layout_local_most(&l, rows), most);
            for (int64_t blocks = 0; blocks < 200; blocks++) {
                int reach = kv_layout_reach(&l, blocks, rows);
                assert_true(kv_layout_blocks(&l, reach, rows) <= blocks && kv_layout_blocks(&l, reach + 1, rows) > blocks);
            }
            assert_int_equal(kv_layout_reach(&l, (int64_t)1 << 33, rows), INT32_MAX);
        }
}

/* What the cache of one sequence takes for each of its positions: a long one of Gemma3 comes close to its global layers alone. */
static void bytes_of_a_long_sequence_fall(void **state)
{
    (void)state;
    for (size_t i = 0; i < 6; i++) {
        struct model_config c = config_of((int)i);
        c.family = family_find("gemma3");
        int64_t layer = 2 * c.g * c.c * (int64_t)sizeof(float), all = model_position_bytes(&c, 1);
        assert_in_range(all, c.layers * layer, (c.layers + c.layers / 16) * layer);
        printf("%-16s %8lld bytes a position; of a sequence of", models[i].name, (long long)all);
        for (int positions = 1024; positions <= 131072; positions *= 2)
            printf(" %d: %.2f", positions, (double)model_sequence_bytes(&c, 1, positions, MODEL_ROWS) / positions / (double)all);
        printf("\n");
        double share = (double)model_sequence_bytes(&c, 1, 131072, MODEL_ROWS) / 131072 / (double)all;
        assert_true(models[i].window ? share > 1.0 / 6.6 && share < 0.18 : share == 1);
    }
}

/* ---- pages ---- */

static void every_page_belongs_to_one_sequence_or_is_free(void **state)
{
    (void)state;
    enum { PAGES = 20, SEQUENCES = 4, PAGE = 8 };
    struct kv_pages pages;
    struct sequence s[SEQUENCES] = {{0}};
    const struct kv_layout layout = {.page_positions = PAGE, .block_layers = 1, .blocks = {1, 0}};
    kv_pages_init(&pages, PAGES, &layout);
    kv_pages_extend(&pages, &s[0], 1);
    assert_int_equal(s[0].pages[KV_GLOBAL][0], 0); /* memory is touched from its beginning */
    for (int turn = 0; turn < 2000; turn++) {      /* a walk of appends and roll-backs, each a function of its number */
        struct sequence *q = &s[turn * 7 % SEQUENCES];
        int n = turn * 13 % 23;
        if (turn % 3 == 1)
            kv_pages_truncate(&pages, q, q->length * (turn % 5) / 5);
        else if (kv_pages_needed(&pages, q, n) <= pages.n_free)
            kv_pages_extend(&pages, q, n);
        int owner[PAGES] = {0}, held = 0;
        for (int i = 0; i < pages.n_free; i++)
            owner[pages.free[i]]++;
        for (int i = 0; i < SEQUENCES; i++) {
            assert_int_equal(s[i].n_pages, (s[i].length + PAGE - 1) / PAGE);
            held += s[i].n_pages;
            for (int j = 0; j < s[i].n_pages; j++)
                owner[s[i].pages[KV_GLOBAL][j]]++;
        }
        for (int i = 0; i < PAGES; i++)
            assert_int_equal(owner[i], 1);
        assert_int_equal(held + pages.n_free, PAGES);
    }
    for (int i = 0; i < SEQUENCES; i++)
        kv_pages_sequence_free(&pages, &s[i]);
    kv_pages_free(&pages);
}

/* Sequences adopt the whole pages of others, and pages are kept and let go of, in a walk that is a function of its number: each
 * page has as many users as name it, and is free when nobody does. */
static void a_page_is_free_when_its_last_user_lets_go(void **state)
{
    (void)state;
    enum { PAGES = 24, SEQUENCES = 4, PAGE = 8 };
    struct kv_pages pages;
    struct sequence s[SEQUENCES] = {{0}};
    int kept[PAGES] = {0}, adopted = 0;
    const struct kv_layout layout = {.page_positions = PAGE, .block_layers = 1, .blocks = {1, 0}};
    kv_pages_init(&pages, PAGES, &layout);
    for (int turn = 0; turn < 4000; turn++) {
        struct sequence *q = &s[turn * 7 % SEQUENCES], *other = &s[turn * 5 % 3];
        int n = turn * 13 % 23, page = turn * 11 % PAGES;
        if (turn % 3 == 1) { /* to the start of a page: what is shared is never written */
            kv_pages_truncate(&pages, q, q->length * (turn % 5) / 5 / PAGE * PAGE);
        } else if (turn % 5 == 2 && q != other) {
            kv_pages_truncate(&pages, q, 0);
            for (int i = 0; i < other->length / PAGE; i++, adopted++)
                kv_pages_adopt(&pages, q, (const int32_t[KV_KINDS]){other->pages[KV_GLOBAL][i], KV_NO_PAGE});
        } else if (turn % 7 == 3 && kept[page]) {
            kv_pages_drop(&pages, page);
            kept[page]--;
        } else if (turn % 7 == 5 && pages.uses[page] && page % 2 && q->length % PAGE == 0) {
            kv_pages_hold(&pages, page);
            kept[page]++;
        } else if (kv_pages_needed(&pages, q, n) <= pages.n_free &&
                   (q->length % PAGE == 0 || pages.uses[q->pages[KV_GLOBAL][q->n_pages - 1]] == 1)) {
            kv_pages_extend(&pages, q, n);
        }
        int users[PAGES], n_free = 0;
        memcpy(users, kept, sizeof users);
        for (int i = 0; i < SEQUENCES; i++)
            for (int j = 0; j < s[i].n_pages; j++)
                users[s[i].pages[KV_GLOBAL][j]]++;
        assert_memory_equal(users, pages.uses, sizeof users);
        for (int i = 0; i < PAGES; i++)
            n_free += users[i] == 0;
        assert_int_equal(n_free, pages.n_free);
        for (int i = 0; i < pages.n_free; i++)
            assert_int_equal(users[pages.free[i]], 0);
    }
    assert_true(adopted > 100);
    for (int i = 0; i < SEQUENCES; i++)
        kv_pages_sequence_free(&pages, &s[i]);
    kv_pages_free(&pages);
}

/* ---- windows ---- */

enum { WINDOW_PAGE = 8, WINDOW_BLOCKS = 400, WINDOW_SEQUENCES = 5, WINDOW = 21, WINDOW_ROWS = 12 };
static const struct kv_layout windowed = {.page_positions = WINDOW_PAGE, .block_layers = 1, .blocks = {1, 3}, .window = WINDOW};

static int blocks_held(const struct kv_pages *pages, const struct sequence *s)
{
    int blocks = 0;
    for (int kind = 0; kind < KV_KINDS; kind++)
        for (int i = 0; i < s->n_pages; i++)
            blocks += s->pages[kind][i] == KV_NO_PAGE ? 0 : kv_pages_blocks(pages, s->pages[kind][i]);
    return blocks;
}

/* Over many windows, one row or a step at a time, with drafts of which none or some stay: no key that a row sees is gone, and no
 * page that none sees is held. */
static void local_pages_stay_few_as_a_sequence_grows(void **state)
{
    (void)state;
    for (int drafts = 0; drafts < WINDOW_ROWS; drafts++) {
        struct kv_pages pages;
        struct sequence s = {0};
        int most = 0;
        kv_pages_init(&pages, WINDOW_BLOCKS, &windowed);
        for (int step = 0; s.length < 10 * WINDOW; step++) {
            int before = s.length, first = before + 1 > WINDOW ? (before + 1 - WINDOW) / WINDOW_PAGE : 0;
            kv_pages_extend(&pages, &s, 1 + drafts);
            for (int i = 0; i < s.n_pages; i++) {
                assert_int_not_equal(s.pages[KV_GLOBAL][i], KV_NO_PAGE);
                assert_int_equal(s.pages[KV_LOCAL][i] == KV_NO_PAGE, i < first);
            }
            assert_int_equal(blocks_held(&pages, &s) + pages.n_free, WINDOW_BLOCKS);
            assert_true(blocks_held(&pages, &s) <= kv_layout_blocks(&windowed, s.length, 1 + drafts));
            most = s.n_pages - first > most ? s.n_pages - first : most;
            assert_true(kv_pages_reaches(&pages, &s, before)); /* all of it may be rolled back */
            kv_pages_truncate(&pages, &s, before + 1 + step % (1 + drafts));
            kv_pages_settle(&pages, &s, s.length);
        }
        assert_in_range(most, 1, kv_layout_local_most(&windowed, 1 + drafts));
        kv_pages_sequence_free(&pages, &s);
        assert_int_equal(pages.n_free, WINDOW_BLOCKS);
        kv_pages_free(&pages);
    }
}

/* What was settled can be cut to any length from there on, and by one page of keys more it cannot. */
static void a_sequence_reaches_back_to_what_was_settled(void **state)
{
    (void)state;
    for (int settled = 0; settled < 8 * WINDOW_PAGE; settled++) {
        struct kv_pages pages;
        struct sequence s = {0};
        kv_pages_init(&pages, WINDOW_BLOCKS, &windowed);
        kv_pages_extend(&pages, &s, 8 * WINDOW_PAGE);
        kv_pages_settle(&pages, &s, settled);
        for (int length = 1; length <= s.length; length++) {
            int key = length + 1 > WINDOW ? length + 1 - WINDOW : 0; /* the first that the row behind it sees */
            assert_int_equal(kv_pages_reaches(&pages, &s, length), s.pages[KV_LOCAL][key / WINDOW_PAGE] != KV_NO_PAGE);
            assert_true(length < settled || kv_pages_reaches(&pages, &s, length));
        }
        kv_pages_truncate(&pages, &s, 0); /* to nothing always */
        kv_pages_extend(&pages, &s, 1);
        assert_int_equal(blocks_held(&pages, &s), 4);
        kv_pages_sequence_free(&pages, &s);
        kv_pages_free(&pages);
    }
}

/* Sequences that begin with the pages of others, the local ones from the window on, and pages of both kinds that are kept, in a
 * walk that is a function of its number: each page has as many users as name it, and its blocks are free when nobody does. */
static void pages_of_both_kinds_are_free_when_nobody_uses_them(void **state)
{
    (void)state;
    struct kv_pages pages;
    struct sequence s[WINDOW_SEQUENCES] = {{0}};
    static int kept[WINDOW_BLOCKS];
    int adopted = 0;
    kv_pages_init(&pages, WINDOW_BLOCKS, &windowed);
    for (int turn = 0; turn < 6000; turn++) {
        struct sequence *q = &s[turn * 7 % WINDOW_SEQUENCES], *other = &s[turn * 3 % (WINDOW_SEQUENCES - 1)];
        int n = turn * 13 % WINDOW_ROWS, block = turn * 11 % WINDOW_BLOCKS, whole = other->length / WINDOW_PAGE;
        if (turn % 11 == 2 && q != other && kv_pages_reaches(&pages, other, whole * WINDOW_PAGE)) {
            int first = kv_layout_first(&windowed, whole * WINDOW_PAGE);
            kv_pages_truncate(&pages, q, 0);
            for (int i = 0; i < whole; i++, adopted++)
                kv_pages_adopt(
                    &pages, q,
                    (const int32_t[KV_KINDS]){other->pages[KV_GLOBAL][i], i < first ? KV_NO_PAGE : other->pages[KV_LOCAL][i]});
        } else if (q->length > 20 * WINDOW_PAGE) {
            kv_pages_truncate(&pages, q, 0);
        } else if (turn % 7 == 3 && kept[block]) {
            kv_pages_drop(&pages, block);
            kept[block]--;
        } else if (turn % 7 == 5 && pages.uses[block] && q->length % WINDOW_PAGE == 0) {
            kv_pages_hold(&pages, block);
            kept[block]++;
        } else if (kv_pages_needed(&pages, q, n) <= pages.n_free &&
                   (q->length % WINDOW_PAGE == 0 || pages.uses[q->pages[KV_GLOBAL][q->n_pages - 1]] == 1)) {
            kv_pages_extend(&pages, q, n);
            kv_pages_settle(&pages, q, q->length);
        }
        static int users[WINDOW_BLOCKS];
        int held = 0;
        memcpy(users, kept, sizeof users);
        for (int i = 0; i < WINDOW_SEQUENCES; i++)
            for (int kind = 0; kind < KV_KINDS; kind++)
                for (int j = 0; j < s[i].n_pages; j++)
                    if (s[i].pages[kind][j] != KV_NO_PAGE)
                        users[s[i].pages[kind][j]]++;
        assert_memory_equal(users, pages.uses, sizeof users);
        for (int i = 0; i < WINDOW_BLOCKS; i++)
            held += users[i] ? kv_pages_blocks(&pages, i) : 0;
        assert_int_equal(held + pages.n_free, WINDOW_BLOCKS);
    }
    assert_true(adopted > 300);
    for (int i = 0; i < WINDOW_SEQUENCES; i++)
        kv_pages_sequence_free(&pages, &s[i]);
    kv_pages_free(&pages);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(layers_of_one_kind_share_blocks_that_waste_little),
        cmocka_unit_test(the_first_local_page_holds_the_windows_first_key),
        cmocka_unit_test(blocks_that_are_counted_suffice_and_are_reached),
        cmocka_unit_test(bytes_of_a_long_sequence_fall),
        cmocka_unit_test(every_page_belongs_to_one_sequence_or_is_free),
        cmocka_unit_test(a_page_is_free_when_its_last_user_lets_go),
        cmocka_unit_test(local_pages_stay_few_as_a_sequence_grows),
        cmocka_unit_test(a_sequence_reaches_back_to_what_was_settled),
        cmocka_unit_test(pages_of_both_kinds_are_free_when_nobody_uses_them),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
