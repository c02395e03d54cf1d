/* test_model_shard.c - the cut of the published shapes over ranks, and the bookkeeping of pages */
#include "tests/check.h"

#include <stdlib.h>
#include <string.h>

#include "model/family.h"
#include "model/kv_pages.h"
#include "model/model.h"
#include "model/shard.h"

static const struct {
    struct model_config config;
    const int ranks[12]; /* that can hold it, up to 64; 0 ends */
    int64_t elements;    /* of all matrices of the published model, embedding table and head included */
} models[] = {
    {{.name = "3b", .layers = 36, .d = 2048, .h = 16, .g = 2, .c = 128, .ff = 11008, .vocabulary = 151936, .tied = true},
     {1, 2, 4, 8, 16},
     3085938688},
    {{.name = "7b", .layers = 28, .d = 3584, .h = 28, .g = 4, .c = 128, .ff = 18944, .vocabulary = 152064},
     {1, 2, 4, 28},
     7615616512},
    {{.name = "32b", .layers = 64, .d = 5120, .h = 40, .g = 8, .c = 128, .ff = 27648, .vocabulary = 152064},
     {1, 2, 4, 8, 40},
     32763876352},
    {{.name = "72b", .layers = 80, .d = 8192, .h = 64, .g = 8, .c = 128, .ff = 29568, .vocabulary = 152064},
     {1, 2, 4, 8, 16, 32, 64},
     72706203648},
    {{.name = "qwen25vl-tiny", .layers = 3, .d = 128, .h = 4, .g = 2, .c = 32, .ff = 232, .vocabulary = 672}, {1, 2, 4}, 0},
    {{.name = "qwen2-tiny", .layers = 2, .d = 64, .h = 4, .g = 2, .c = 16, .ff = 144, .vocabulary = 664, .tied = true},
     {1, 2, 4},
     0},
};
enum { MODELS = sizeof models / sizeof *models };

static void the_possible_rank_counts_are_these(void **state)
{
    (void)state;
    for (int i = 0; i < MODELS; i++)
        for (int ranks = 1, next = 0; ranks <= 64; ranks++) {
            struct error err = {""};
            int possible = !model_ranks_possible(&models[i].config, ranks, &err), wanted = models[i].ranks[next] == ranks;
            if (possible != wanted)
                fail_msg("%s on %d ranks: %s", models[i].config.name, ranks, possible ? "possible" : err.text);
            next += wanted;
        }
    struct error err;
    assert_int_equal(model_ranks_possible(&models[1].config, 7, &err), -1);
    assert_non_null(strstr(err.text, "7b: 7 ranks are neither a divisor nor a multiple of its 4 key/value heads"));
    assert_int_equal(model_ranks_possible(&models[1].config, 3, &err), -1);
    assert_non_null(strstr(err.text, "3 ranks do not divide its 28 query heads"));
    assert_int_equal(model_ranks_possible(&models[1].config, 0, &err), -1);
    assert_int_equal(model_ranks_possible(&models[1].config, -4, &err), -1);
}

/* Slices follow each other without gap or overlap, none is empty, and a rank has the key/value heads of its query heads. */
static void shards_join_to_the_whole_model(void **state)
{
    (void)state;
    for (int i = 0; i < MODELS; i++)
        for (int j = 0; models[i].ranks[j]; j++) {
            const struct model_config *c = &models[i].config;
            int ranks = models[i].ranks[j], h = 0, ff = 0, rows = 0;
            for (int rank = 0; rank < ranks; rank++) {
                struct shard s;
                assert_int_equal(shard_plan(&s, c, rank, ranks, NULL), 0);
                assert_int_equal(s.first_h, h);
                assert_int_equal(s.first_ff, ff);
                assert_int_equal(s.first_row, rows);
                assert_true(s.h > 0 && s.g > 0 && s.ff > 0 && s.rows > 0);
                assert_int_equal(s.first_ff % SHARD_UNIT, 0);
                for (int head = 0; head < s.h; head++) /* the kernel's rule on the shard, and the model's on the whole */
                    assert_int_equal(s.first_g + head / (s.h / s.g), (s.first_h + head) / (c->h / c->g));
                h += s.h;
                ff += s.ff;
                rows += s.rows;
            }
            assert_int_equal(h, c->h);
            assert_int_equal(ff, c->ff);
            assert_int_equal(rows, c->vocabulary);
        }
}

/* reference totals of the published models: blocks, final norm and tables. */
static void bytes_agree_with_the_published_parameter_counts(void **state)
{
    (void)state;
    for (int i = 0; models[i].elements; i++) {
        struct model_config c = models[i].config;
        c.family = family_find("qwen2_5_vl");
        int64_t vectors = (int64_t)c.layers * (2 * c.d + (c.h + 2 * c.g) * c.c) + c.d;
        assert_int_equal(model_shard_bytes(&c, 1, DTYPE_F32), models[i].elements * 4);
        assert_int_equal(model_shard_bytes(&c, 1, DTYPE_BF16), (models[i].elements - vectors) * 2 + vectors * 4);
        assert_int_equal(model_shard_bytes(&c, 3, DTYPE_BF16), -1);
    }
    assert_int_equal(model_position_bytes(&models[1].config, 1), 2 * 28 * 4 * 128 * 4);
    assert_int_equal(model_position_bytes(&models[1].config, 4), 2 * 28 * 128 * 4);
    assert_int_equal(model_position_bytes(&models[1].config, 28), 2 * 28 * 128 * 4); /* replicated */
}

/* ---- pages ---- */

static void every_page_belongs_to_one_sequence_or_is_free(void **state)
{
    (void)state;
    enum { PAGES = 20, SEQUENCES = 4, PAGE = 8 };
    struct kv_pages pages;
    struct sequence s[SEQUENCES] = {{0}};
    kv_pages_init(&pages, PAGES, PAGE);
    for (int turn = 0; turn < 2000; turn++) { /* a walk of appends and roll-backs, each a function of its number */
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
                owner[s[i].pages[j]]++;
        }
        for (int i = 0; i < PAGES; i++)
            assert_int_equal(owner[i], 1);
        assert_int_equal(held + pages.n_free, PAGES);
        if (q->length)
            assert_int_equal(kv_pages_slot(&pages, q, q->length - 1),
                             q->pages[(q->length - 1) / PAGE] * PAGE + (q->length - 1) % PAGE);
    }
    for (int i = 0; i < SEQUENCES; i++)
        free(s[i].pages);
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
    kv_pages_init(&pages, PAGES, PAGE);
    for (int turn = 0; turn < 4000; turn++) {
        struct sequence *q = &s[turn * 7 % SEQUENCES], *other = &s[turn * 5 % 3];
        int n = turn * 13 % 23, page = turn * 11 % PAGES;
        if (turn % 3 == 1) { /* to the start of a page: what is shared is never written */
            kv_pages_truncate(&pages, q, q->length * (turn % 5) / 5 / PAGE * PAGE);
        } else if (turn % 5 == 2 && q != other) {
            kv_pages_truncate(&pages, q, 0);
            for (int i = 0; i < other->length / PAGE; i++, adopted++)
                kv_pages_adopt(&pages, q, other->pages[i]);
        } else if (turn % 7 == 3 && kept[page]) {
            kv_pages_drop(&pages, page);
            kept[page]--;
        } else if (turn % 7 == 5 && pages.uses[page] && page % 2 && q->length % PAGE == 0) {
            kv_pages_hold(&pages, page);
            kept[page]++;
        } else if (kv_pages_needed(&pages, q, n) <= pages.n_free &&
                   (q->length % PAGE == 0 || pages.uses[q->pages[q->n_pages - 1]] == 1)) {
            kv_pages_extend(&pages, q, n);
        }
        int users[PAGES], n_free = 0;
        memcpy(users, kept, sizeof users);
        for (int i = 0; i < SEQUENCES; i++)
            for (int j = 0; j < s[i].n_pages; j++)
                users[s[i].pages[j]]++;
        assert_memory_equal(users, pages.uses, sizeof users);
        for (int i = 0; i < PAGES; i++)
            n_free += users[i] == 0;
        assert_int_equal(n_free, pages.n_free);
        for (int i = 0; i < pages.n_free; i++)
            assert_int_equal(users[pages.free[i]], 0);
    }
    assert_true(adopted > 100);
    for (int i = 0; i < SEQUENCES; i++)
        free(s[i].pages);
    kv_pages_free(&pages);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_possible_rank_counts_are_these),
        cmocka_unit_test(shards_join_to_the_whole_model),
        cmocka_unit_test(bytes_agree_with_the_published_parameter_counts),
        cmocka_unit_test(every_page_belongs_to_one_sequence_or_is_free),
        cmocka_unit_test(a_page_is_free_when_its_last_user_lets_go),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
