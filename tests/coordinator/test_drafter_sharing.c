/* test_drafter_sharing.c - prompts that begin alike in the drafter: the same scores to the bit, no more rows than needed, and room
 * for whoever runs */
#include "tests/coordinator/drafter_fixture.h"

#include "coordinator/drafter_parts.h"

enum { PAGE = MODEL_PAGE_POSITIONS };

static const struct {
    const char *target, *drafter;
} pairs[] = {
    {"tests/golden/qwen25vl-tiny", "tests/golden/qwen2-tiny"},
    {"tests/golden/qwen25vl-tiny", "tests/golden/massv-tiny"},
    {"tests/golden/qwen25vl-tiny", "tests/golden/qwen25vl-tiny-bf16"},
    {"tests/golden/gemma3-tiny", "tests/golden/gemma3-text-tiny"},
    {"tests/golden/gemma3-tiny", "tests/golden/gemma3-tiny-bf16"},
};
enum { N_PAIRS = sizeof pairs / sizeof *pairs };

static struct drafter *drafter_with(const struct side *side, const char *dir, int kv_positions, bool shares)
{
    struct error err;
    struct drafter *drafter;
    struct drafter_options options = target_drafter_options(&side->target, kv_positions);
    options.share_prompts = shares;
    must(drafter_open(&drafter, dir, &options, &err), &err);
    return drafter;
}

/* A turn of a picture (NULL: none), words (about 100 ids each time) and an end. */
static struct prepared prepared_of_turn(struct side *side, const char *picture, int times, const char *end)
{
    struct error err;
    struct prepared prepared;
    char text[4096] = "";
    struct generate_request request = {.n_turns = 1, .turns = mem_new(1, sizeof *request.turns)};
    for (int i = 0; i < times; i++)
        strcat(text, "Look at what is in the picture, and say in whole sentences where it stands and of which colour it is. ");
    strcat(text, end);
    request.turns[0].role = mem_string("user");
    request.turns[0].n_parts = picture ? 2 : 1;
    request.turns[0].parts = mem_new(2, sizeof *request.turns[0].parts);
    request.turns[0].parts[request.turns[0].n_parts - 1].text = mem_string(text);
    if (picture)
        request_add_picture(&request, picture);
    must(prepare_request(side->target.preparer, &request, &prepared, &err), &err);
    request_free(&request);
    return prepared;
}

static struct draft_sequence *begin_in(struct drafter *drafter, const struct asked *asked)
{
    struct error err;
    const struct prepared *p = &asked->prepared;
    struct draft_sequence *s = drafter_begin(drafter, &p->prompt, p->pictures, p->prompt.n + 100, &err);
    if (!s)
        fail_msg("%s", err.text);
    return s;
}

/* The scores behind the prompt; what of it was found. malloc'ed */
static float *scores_of(struct drafter *drafter, const struct asked *asked, int *found, int *rows)
{
    int32_t draft;
    struct draft_sequence *s = begin_in(drafter, asked);
    struct proposal p = {.sequence = s, .k = 1, .drafts = &draft};
    float *scores = mem_new((size_t)drafter->config.vocabulary, sizeof *scores);
    *rows = drafter_propose(drafter, &p, 1, INT_MAX);
    assert_true(p.n == 1 && !p.failed && p.began == s->prompt.n && p.found + *rows == p.began && p.caught_up == *rows - 1);
    *found = p.found;
    model_scores_row(drafter->model, 0, scores);
    drafter_end(drafter, s);
    return scores;
}

/* Nobody has anything: all that is not free is idle, and the model has as much. */
static void check_idle(const struct drafter *drafter)
{
    assert_int_equal(drafter->blocks_free + page_cache_idle(drafter->cache), model_blocks(drafter->model));
    assert_int_equal(model_blocks_free(drafter->model), drafter->blocks_free);
}

/* It holds what it has filled. */
static void check_held(const struct drafter *drafter, const struct draft_sequence *s)
{
    assert_true(!s || s->blocks >= draft_blocks(drafter, sequence_length(s->sequence)));
}

static void scores_are_the_same_to_the_bit(void **state)
{
    (void)state;
    for (int i = 0; i < N_PAIRS; i++) {
        struct side side;
        side_open(&side, pairs[i].target, pairs[i].drafter);
        struct drafter *apart = drafter_with(&side, pairs[i].drafter, 4096, false);
        const char *pictures[] = {NULL, "tests/golden/images/scene.png", "tests/golden/images/wide.png"};
        for (int turn = 0; turn < 9; turn++) {
            static const char *const ends[] = {"Go.", "Go.", "What else is there?"};
            int found, rows, none, all;
            struct asked asked = asked_take(&side, prepared_of_turn(&side, pictures[turn / 3], 4, ends[turn % 3]));
            float *wanted = scores_of(apart, &asked, &none, &all), *got = scores_of(side.target.drafter, &asked, &found, &rows);
            assert_memory_equal(got, wanted, (size_t)apart->config.vocabulary * sizeof *got);
            assert_int_equal(none, 0);
            assert_true(turn % 3 == 0 || found >= 2 * PAGE);
            assert_true(turn != 1 || found == (all - 1) / PAGE * PAGE);
            free(wanted);
            free(got);
            asked_free(&asked);
            check_idle(side.target.drafter);
        }
        drafter_close(apart);
        side_close(&side);
    }
}

/* Another picture in the same place shares nothing from there on; a text-only drafter does not know it. */
static void another_picture_is_another_prompt(void **state)
{
    (void)state;
    for (int i = 0; i < 2; i++) {
        struct side side;
        int found, rows;
        side_open(&side, pairs[i].target, pairs[i].drafter);
        struct asked a = asked_take(&side, prepared_of_turn(&side, "tests/golden/images/scene.png", 4, "Go.")), b = a;
        struct prepared_picture other = a.prepared.pictures[0];
        other.hash[0]++;
        b.prepared.pictures = &other;
        free(scores_of(side.target.drafter, &a, &found, &rows));
        assert_int_equal(found, 0);
        free(scores_of(side.target.drafter, &b, &found, &rows));
        assert_int_equal(found, drafter_kind(side.target.drafter) == DRAFTER_TEXT ? (found + rows - 1) / PAGE * PAGE : 0);
        asked_free(&a);
        side_close(&side);
    }
}

/* ---- together ---- */

/* Requests that come at once compute their common pages once, within a round and over rounds, however few rows they may. */
static void prompts_that_enter_together_are_computed_once(void **state)
{
    (void)state;
    for (int i = 0; i < N_PAIRS; i++)
        for (int most = 50; most <= 2000; most *= 40) {
            struct side side;
            struct proposal batch[3];
            int32_t drafts[3][4], wanted[4];
            int rows = 0;
            side_open(&side, pairs[i].target, pairs[i].drafter);
            struct asked asked = asked_take(&side, prepared_of_ids(&side, 300));
            for (int j = 0; j < 3; j++)
                batch[j] = (struct proposal){.sequence = begin(&side, &asked), .drafts = drafts[j]};
            alone_go(&side.alone, asked_prompt(&side, &asked), NULL, NULL, 0, wanted, 4);
            for (int call = 0; call == 0 || batch[2].n == 0; call++) {
                assert_true(call < 12);
                batch[0].k = batch[1].k = batch[2].k = 4;
                rows += drafter_propose(side.target.drafter, batch, 3, most);
            }
            for (int j = 0; j < 3; j++) {
                assert_int_equal(batch[j].n, 4);
                assert_ids(drafts[j], wanted, 4);
                check_held(side.target.drafter, batch[j].sequence);
                drafter_end(side.target.drafter, batch[j].sequence);
            }
            assert_int_equal(rows, 300 + 2 * (300 - 299 / PAGE * PAGE));
            check_idle(side.target.drafter);
            asked_free(&asked);
            side_close(&side);
        }
}

/* One that others overtake goes on from where they are. */
static void rows_that_others_have_computed_are_not_lacked(void **state)
{
    (void)state;
    struct side side;
    int32_t drafts[4];
    int found, rows;
    side_open(&side, pairs[0].target, pairs[0].drafter);
    struct drafter *drafter = side.target.drafter;
    struct asked asked = asked_take(&side, prepared_of_ids(&side, 300));
    struct draft_sequence *s = begin(&side, &asked);
    struct proposal p = {.sequence = s, .k = 4, .drafts = drafts};
    assert_int_equal(drafter_propose(drafter, &p, 1, 100), 100);
    assert_int_equal(drafter_behind(drafter, s, 0), 199);
    free(scores_of(drafter, &asked, &found, &rows));
    assert_int_equal(found, PAGE);
    assert_int_equal(drafter_behind(drafter, s, 0), 299 - 4 * PAGE);
    p.k = 4;
    assert_int_equal(drafter_propose(drafter, &p, 1, INT_MAX), 300 - 4 * PAGE);
    assert_true(p.n == 4 && p.found == 4 * PAGE - 100 && p.began == 0);
    assert_int_equal(drafter_behind(drafter, s, 5), 1); /* its last draft */
    drafter_end(drafter, s);
    check_idle(drafter);
    asked_free(&asked);
    side_close(&side);
}

/* ---- room ---- */

/* n ids, all the same. */
static struct asked asked_alike(struct side *side, int n, int32_t id)
{
    struct asked asked = {.prepared = prepared_of_ids(side, n)};
    for (int i = 0; i < n; i++)
        asked.prepared.prompt.ids[i] = id;
    prompt_without_pictures(&asked.own, &asked.prepared.prompt);
    return asked;
}

/* Ten pages: what is kept goes for requests that want them, the page unused for longest first, and at last all of it. */
static void kept_pages_are_given_up_for_requests(void **state)
{
    (void)state;
    struct side side;
    int32_t draft;
    int found, rows;
    side_open(&side, pairs[0].target, pairs[0].drafter);
    struct drafter *drafter = drafter_with(&side, pairs[0].drafter, 10 * PAGE, true);
    struct asked a = asked_alike(&side, 200, 1), b = asked_alike(&side, 200, 2), more = asked_alike(&side, 4 * PAGE + 10, 3);
    struct asked whole = asked_alike(&side, 9 * PAGE + 10, 4);
    free(scores_of(drafter, &a, &found, &rows));
    free(scores_of(drafter, &b, &found, &rows));
    free(scores_of(drafter, &a, &found, &rows));
    assert_int_equal(found, 3 * PAGE);
    assert_int_equal(page_cache_idle(drafter->cache), 6);
    struct draft_sequence *s = begin_in(drafter, &more);
    struct proposal p = {.sequence = s, .k = 1, .drafts = &draft};
    drafter_propose(drafter, &p, 1, INT_MAX);
    assert_int_equal(page_cache_idle(drafter->cache), 5); /* four were free */
    free(scores_of(drafter, &a, &found, &rows));
    assert_int_equal(found, 3 * PAGE);
    drafter_end(drafter, s);
    free(scores_of(drafter, &b, &found, &rows));
    assert_true(found < 3 * PAGE);
    free(scores_of(drafter, &whole, &found, &rows));
    free(scores_of(drafter, &a, &found, &rows));
    assert_int_equal(found, 0);
    check_idle(drafter);
    asked_free(&a);
    asked_free(&b);
    asked_free(&more);
    asked_free(&whole);
    drafter_close(drafter);
    side_close(&side);
}

/* Ten pages, of which each of four requests would fill six; five of them are the same. One that is unlike them finds no room, and
 * leaves what was kept of its own to those who run. */
static void pages_that_are_shared_are_not_counted_twice(void **state)
{
    (void)state;
    struct side side;
    int32_t drafts[4][4];
    int found, rows;
    side_open(&side, pairs[0].target, pairs[0].drafter);
    struct drafter *drafter = drafter_with(&side, pairs[0].drafter, 10 * PAGE, true);
    struct asked asked = asked_alike(&side, 5 * PAGE + 10, 1), other = asked_alike(&side, 200, 2);
    struct draft_sequence *s[4], *apart = begin_in(drafter, &other);
    free(scores_of(drafter, &other, &found, &rows)); /* three pages are kept */
    for (int i = 0; i < 4; i++) {
        s[i] = begin_in(drafter, &asked);
        struct proposal p = {.sequence = s[i], .k = 4, .drafts = drafts[i]};
        drafter_propose(drafter, &p, 1, INT_MAX);
        assert_true(p.n == 4 && !p.refused && p.found == (i ? 5 * PAGE : 0));
    }
    struct proposal p = {.sequence = apart, .k = 4, .drafts = drafts[0]};
    assert_int_equal(page_cache_idle(drafter->cache) + drafter->blocks_free, 1);
    drafter_propose(drafter, &p, 1, INT_MAX);
    assert_true(p.refused && !p.failed && p.n == 0 && p.found == 0 && p.began == 0);
    assert_int_equal(page_cache_idle(drafter->cache) + drafter->blocks_free, 1);
    for (int i = 0; i < 4; i++)
        drafter_end(drafter, s[i]);
    drafter_propose(drafter, &(struct proposal){.sequence = apart, .k = 4, .drafts = drafts[0]}, 1, INT_MAX);
    drafter_end(drafter, apart);
    check_idle(drafter);
    asked_free(&asked);
    asked_free(&other);
    drafter_close(drafter);
    side_close(&side);
}

/* A picture whose features are no numbers fails whoever asks about it, found or not, and nobody else. */
static void a_fault_is_the_same_fault_when_it_is_found(void **state)
{
    (void)state;
    struct side side;
    int32_t draft;
    int found, rows;
    side_open(&side, pairs[1].target, pairs[1].drafter);
    struct drafter *drafter = side.target.drafter;
    struct asked bad = asked_take(&side, prepared_of_turn(&side, "tests/golden/images/scene.png", 3, "Go."));
    struct asked good = asked_take(&side, prepared_of_turn(&side, "tests/golden/images/wide.png", 3, "Go."));
    struct prepared_picture *picture = &bad.prepared.pictures[0];
    float *features = mem_new((size_t)picture->rows * (size_t)drafter_width(drafter), sizeof *features);
    features[5] = NAN;
    picture->drafter = features;
    for (int i = 0; i < 2; i++) {
        struct draft_sequence *s = begin(&side, &bad);
        struct proposal p = {.sequence = s, .k = 1, .drafts = &draft};
        drafter_propose(drafter, &p, 1, INT_MAX);
        assert_true(p.failed && p.n == 0 && (p.found > 0) == (i == 1));
        drafter_end(drafter, s);
        free(scores_of(drafter, &good, &found, &rows));
        assert_true((found > 0) == (i == 1));
        check_idle(drafter);
    }
    free(features);
    asked_free(&bad);
    asked_free(&good);
    side_close(&side);
}

/* ---- whatever happens ---- */

enum { CROWD = 7, PROMPTS = 5, TURNS = 250 };

struct guest { /* a request that comes, asks now and then, and goes */
    struct draft_sequence *s;
    int prompt, n_tokens;
};

/* Prompts of 40 to 520 rows with three beginnings. */
static void prompts_fill(struct side *side, struct asked *asked)
{
    for (int i = 0; i < PROMPTS; i++) {
        asked[i] = asked_take(side, prepared_of_ids(side, 40 + 120 * i));
        for (int j = 0; j < asked[i].prepared.prompt.n; j++)
            asked[i].prepared.prompt.ids[j] = (j * j + 7 * j * (j > 150 ? i % 2 : 0) + 11 * (i % 3 == 0)) % 600;
        prompt_free(&asked[i].own);
        prompt_without_pictures(&asked[i].own, &asked[i].prepared.prompt);
    }
}

/* Requests come and go in a cache that holds few of them; their drafts are those of the model alone, and no block is lost. */
static void crowd_run(struct side *side, const char *dir, int kv_positions)
{
    struct drafter *drafter = drafter_with(side, dir, kv_positions, true);
    struct asked asked[PROMPTS];
    struct guest guests[CROWD] = {{NULL, 0, 0}};
    int32_t tokens[12] = {3, 1, 4, 1, 5, 9, 2, 6, 5, 3, 5, 8}, drafts[CROWD][2], wanted[PROMPTS][12][2];
    int found = 0, refused = 0, drafted = 0;
    prompts_fill(side, asked);
    for (int i = 0; i < PROMPTS; i++)
        for (int n = 0; n < 12; n++)
            alone_go(&side->alone, &asked[i].prepared.prompt, NULL, tokens, n, wanted[i][n], 2);
    for (uint32_t turn = 0, seed = 12345; turn < TURNS; turn++) {
        struct proposal batch[CROWD];
        struct guest *owners[CROWD];
        int count = 0;
        for (int g = 0; g < CROWD; g++) {
            seed = seed * 1664525 + 1013904223;
            if (guests[g].s && seed >> 28 < 3) {
                drafter_end(drafter, guests[g].s);
                guests[g].s = NULL;
            } else if (!guests[g].s && seed >> 28 < 8) {
                guests[g] = (struct guest){.prompt = (int)(seed >> 8) % PROMPTS};
                guests[g].s = begin_in(drafter, &asked[guests[g].prompt]);
            }
            if (!guests[g].s || seed >> 28 == 15)
                continue;
            owners[count] = &guests[g];
            batch[count] = (struct proposal){
                .sequence = guests[g].s, .tokens = tokens, .n_tokens = guests[g].n_tokens, .k = 2, .drafts = drafts[count]};
            count++;
        }
        drafter_propose(drafter, batch, count, 30 + (int)(seed >> 8) % 400);
        for (int i = 0; i < count; i++) {
            assert_false(batch[i].failed);
            found += batch[i].found;
            refused += batch[i].refused;
            drafted += batch[i].n;
            assert_ids(batch[i].drafts, wanted[owners[i]->prompt][owners[i]->n_tokens], batch[i].n);
            if (batch[i].n && owners[i]->n_tokens < 11)
                owners[i]->n_tokens++;
        }
        for (int g = 0; g < CROWD; g++)
            check_held(drafter, guests[g].s);
        assert_true(drafter->blocks_free >= 0 && model_blocks_free(drafter->model) >= drafter->blocks_free);
    }
    for (int g = 0; g < CROWD; g++)
        drafter_end(drafter, guests[g].s);
    check_idle(drafter);
    assert_true(found > 20 * PAGE && refused > 0 && drafted > TURNS);
    for (int i = 0; i < PROMPTS; i++)
        asked_free(&asked[i]);
    drafter_close(drafter);
}

static void no_draft_changes_whoever_comes_and_goes(void **state)
{
    (void)state;
    struct side side;
    side_open(&side, pairs[0].target, pairs[0].drafter);
    crowd_run(&side, pairs[0].drafter, 20 * PAGE);
    side_close(&side);
    side_open(&side, pairs[3].target, pairs[3].drafter);
    crowd_run(&side, pairs[3].drafter, 26 * PAGE);
    side_close(&side);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(scores_are_the_same_to_the_bit),
        cmocka_unit_test(another_picture_is_another_prompt),
        cmocka_unit_test(prompts_that_enter_together_are_computed_once),
        cmocka_unit_test(rows_that_others_have_computed_are_not_lacked),
        cmocka_unit_test(kept_pages_are_given_up_for_requests),
        cmocka_unit_test(pages_that_are_shared_are_not_counted_twice),
        cmocka_unit_test(a_fault_is_the_same_fault_when_it_is_found),
        cmocka_unit_test(no_draft_changes_whoever_comes_and_goes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
