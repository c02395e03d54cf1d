/* test_engine_steps.c - steps that must be refused, and the room in the cache that others make */
#include "tests/worker/engine_fixture.h"

#include <math.h>

/* The group holds request 1 (scene, its prompt computed, its whole page kept as golden_keys[0], one token known). */
struct bad {
    struct request r;
    int32_t keep_pages[2];
    struct step_span spans[2];
    struct step step;
    int32_t ids[GROUP_ROWS + 64];
    int32_t positions[64][3];
    struct step_picture picture, pictures[2];
};

static void bad_begin(struct bad *bad, struct fixture *f)
{
    *bad = (struct bad){.r = request_of(1, f->scene, 2, DRAFTS_RIGHT)};
    bad->r.keeps = true;
    group_pictures(&f->group, f->scene);
    while (bad->r.n == 0)
        requests_step(&f->group, &bad->r, 1, 200);
    for (int i = 0; i < 2; i++)
        bad->spans[i] = request_answer_span(&bad->r);
    bad->spans[1].sequence = 2;
    bad->spans[1].length = 0;
    bad->step = (struct step){.id = 77, .spans = bad->spans, .n_spans = 1};
}

static void with_length(struct bad *b)
{
    b->spans[0].length++;
}
static void with_negative_length(struct bad *b)
{
    b->spans[0].length = -1;
}
static void with_unknown_sequence(struct bad *b)
{
    b->spans[0].sequence = 404;
}
static void with_released_sequence(struct bad *b)
{
    static uint64_t one = 1;
    b->step.release = &one;
    b->step.n_release = 1;
}
static void with_no_rows(struct bad *b)
{
    b->spans[0].n = 0;
    b->spans[0].drafts = 0;
}
static void with_many_rows(struct bad *b)
{
    b->spans[0].ids = b->ids;
    b->spans[0].n = GROUP_ROWS + 1;
}
static void with_many_rows_together(struct bad *b)
{
    b->spans[1].ids = b->ids;
    b->spans[1].n = GROUP_ROWS - 2;
    b->step.n_spans = 2;
}
static void with_large_id(struct bad *b)
{
    b->r.ids[1] = 672;
}
static void with_negative_id(struct bad *b)
{
    b->r.ids[2] = -1;
}
static void with_large_position(struct bad *b)
{
    b->spans[0].position = 4094;
}
static void with_negative_position(struct bad *b)
{
    b->spans[0].position = -1;
}
static void with_large_positions(struct bad *b)
{
    b->positions[2][1] = 4096;
    b->spans[0].positions = b->positions;
}
static void with_negative_positions(struct bad *b)
{
    b->positions[0][2] = -5;
    b->spans[0].positions = b->positions;
}
static void with_drafts_alone(struct bad *b)
{
    b->spans[0].drafts = 3;
}
static void with_drafts_unverified(struct bad *b)
{
    b->spans[0].want_token = false;
}
static void with_drafts_in_prompt(struct bad *b)
{
    b->spans[0].generated = false;
}
static void with_penalty_zero(struct bad *b)
{
    b->spans[0].sampling.repetition_penalty = 0;
}
static void with_penalty_nan(struct bad *b)
{
    b->spans[0].sampling.repetition_penalty = NAN;
}
static void with_answer_beyond_sequence(struct bad *b)
{
    b->spans[0].answered = b->spans[0].length + 2; /* the last of all tokens is not computed yet, and no draft is one */
}
static void with_drafts_from_nowhere(struct bad *b)
{
    b->spans[0].drafts = 1;
    b->spans[0].sampling.temperature = 1;
    b->spans[0].sampling.mode = SAMPLING_REJECTION;
}
static void with_sequence_twice(struct bad *b)
{
    b->spans[1] = b->spans[0];
    b->step.n_spans = 2;
}
static void with_picture_unknown(struct bad *b)
{
    b->picture = (struct step_picture){{5, 6}, 0, 0, 1};
    b->spans[0].pictures = &b->picture;
    b->spans[0].n_pictures = 1;
}
static void with_picture_rows_beyond(struct bad *b)
{
    const struct golden_picture *p = &b->r.golden->pictures[0];
    b->picture = (struct step_picture){{p->hash[0], p->hash[1]}, 0, p->count - 1, 2};
    b->spans[0].pictures = &b->picture;
    b->spans[0].n_pictures = 1;
}
static void with_picture_beyond_span(struct bad *b)
{
    const struct golden_picture *p = &b->r.golden->pictures[0];
    b->picture = (struct step_picture){{p->hash[0], p->hash[1]}, 2, 0, 2};
    b->spans[0].pictures = &b->picture;
    b->spans[0].n_pictures = 1;
}

static void with_pictures_that_overlap(struct bad *b)
{
    const struct golden_picture *p = &b->r.golden->pictures[0];
    b->pictures[0] = (struct step_picture){{p->hash[0], p->hash[1]}, 0, 0, 2};
    b->pictures[1] = (struct step_picture){{p->hash[0], p->hash[1]}, 1, 1, 1};
    b->spans[0].pictures = b->pictures;
    b->spans[0].n_pictures = 2;
}

static void with_page_unknown(struct bad *b)
{
    b->spans[1].adopt = golden_keys + 1;
    b->spans[1].n_adopt = 1;
    b->spans[1].length = MODEL_PAGE_POSITIONS;
    b->step.n_spans = 2;
}
static void with_page_forgotten(struct bad *b)
{
    with_page_unknown(b);
    b->spans[1].adopt = b->step.forget = golden_keys;
    b->step.n_forget = 1;
}
static void with_page_amid_a_sequence(struct bad *b)
{
    b->spans[0].adopt = golden_keys;
    b->spans[0].n_adopt = 1;
    b->spans[0].length = MODEL_PAGE_POSITIONS;
}
static void with_page_of_another_length(struct bad *b)
{
    with_page_unknown(b);
    b->spans[1].length = 12;
}
static void with_shared_page_written(struct bad *b)
{
    b->spans[0].length = MODEL_PAGE_POSITIONS - 1;
}
static void with_kept_page_generated(struct bad *b)
{
    b->spans[0].keep = golden_keys + 1;
    b->spans[0].keep_pages = b->keep_pages;
    b->spans[0].n_keep = 1;
}
/* A second prompt of two pages, kept as 0 and `key`. */
static void keep_another(struct bad *b, int first, int second)
{
    static uint64_t keys[2][2];
    memcpy(keys[0], golden_keys[first], sizeof keys[0]);
    memcpy(keys[1], golden_keys[second], sizeof keys[1]);
    b->spans[0] = (struct step_span){.sequence = 2,
                                     .n = 2 * MODEL_PAGE_POSITIONS + 1,
                                     .ids = b->ids,
                                     .sampling.repetition_penalty = 1,
                                     .keep = keys,
                                     .keep_pages = b->keep_pages,
                                     .n_keep = 2};
    b->keep_pages[1] = 1;
}
static void with_kept_key_known(struct bad *b)
{
    keep_another(b, 1, 0);
}
static void with_kept_key_twice(struct bad *b)
{
    keep_another(b, 1, 1);
}
static void with_kept_key_in_two_spans(struct bad *b)
{
    keep_another(b, 1, 2);
    b->spans[1] = b->spans[0];
    b->spans[1].sequence = 3;
    b->step.n_spans = 2;
}
static void with_kept_page_twice(struct bad *b)
{
    keep_another(b, 1, 2);
    b->keep_pages[1] = 0;
}
static void with_kept_page_not_whole(struct bad *b)
{
    keep_another(b, 1, 2);
    b->keep_pages[1] = 2;
}
static void with_unknown_page_forgotten(struct bad *b)
{
    b->step.forget = golden_keys + 1;
    b->step.n_forget = 1;
}
static void with_page_forgotten_twice(struct bad *b)
{
    static uint64_t keys[2][2] = {{1, 1}, {1, 1}};
    b->step.forget = keys;
    b->step.n_forget = 2;
}

static const struct bad_step {
    void (*make)(struct bad *bad);
    const char *says;
} bad_steps[] = {
    {with_length, "the group has 77 positions, the step counts on 78"},
    {with_negative_length, "the model's context is 4096"},
    {with_unknown_sequence, "sequence 404: the group has 0 positions"},
    {with_released_sequence, "the group has 0 positions, the step counts on 77"},
    {with_no_rows, "0 rows: 1 to 256 can run in a step"},
    {with_many_rows, "257 rows: 1 to 256"},
    {with_many_rows_together, "257 rows, but a step holds 256"},
    {with_large_id, "row 1: id 672, but the vocabulary is 672"},
    {with_negative_id, "row 2: id -1"},
    {with_large_position, "positions 4094 and up of 3 rows: the model's context is 4096"},
    {with_negative_position, "positions -1"},
    {with_large_positions, "row 2: position 4096, but the model's context is 4096"},
    {with_negative_positions, "row 0: position -5"},
    {with_drafts_alone, "3 drafts in 3 rows"},
    {with_drafts_unverified, "2 drafts in a span that is not verified"},
    {with_drafts_in_prompt, "2 drafts in a span that is a prompt's"},
    {with_penalty_zero, "repetition penalty 0"},
    {with_penalty_nan, "repetition penalty nan"},
    {with_answer_beyond_sequence, "79 tokens of an answer in 78 positions"},
    {with_drafts_from_nowhere, "but not what they were drawn from"},
    {with_sequence_twice, "span 1, sequence 1: the sequence is named twice"},
    {with_picture_unknown, "picture 00000000000000050000000000000006: rows 0 to 1 are named, 0 are here"},
    {with_picture_rows_beyond, "are named, 30 are here"},
    {with_picture_beyond_span, "2 rows at row 2 of 3"},
    {with_pictures_that_overlap, "picture 1: 1 rows at row 1 of 3, the rows before end at 2"},
    {with_page_unknown, "sequence 2: it adopts page 00000000000000020000000000000002, which is not here"},
    {with_page_forgotten, "it adopts page 00000000000000010000000000000001, which is not here"},
    {with_page_amid_a_sequence, "only a new sequence can"},
    {with_page_of_another_length, "it adopts 1 pages of 64 positions, the step counts on 12"},
    {with_shared_page_written, "position 63 is in a page that is shared"},
    {with_kept_page_generated, "pages of generated rows are not kept"},
    {with_kept_key_known, "it keeps a page as 00000000000000010000000000000001, which is here already"},
    {with_kept_key_twice, "it keeps a page as 00000000000000020000000000000002, which is here already"},
    {with_kept_key_in_two_spans, "sequence 3: it keeps a page as 00000000000000020000000000000002, which is here already"},
    {with_kept_page_twice, "page 0 is to be kept, but the span completes those from 1 to below 2"},
    {with_kept_page_not_whole, "page 2 is to be kept, but the span completes those from 1 to below 2"},
    {with_unknown_page_forgotten, "it forgets page 00000000000000020000000000000002, which is not here"},
    {with_page_forgotten_twice, "it forgets page 00000000000000010000000000000001, twice"},
};

static void a_bad_step_is_refused_and_changes_nothing(void **state)
{
    struct fixture *f = *state;
    for (size_t i = 0; i < sizeof bad_steps / sizeof *bad_steps; i++) {
        struct bad bad;
        struct step_verdict verdict;
        bad_begin(&bad, f);
        int pages = model_blocks_free(f->group.model);
        bad_steps[i].make(&bad);
        engine_step(f->group.engine, &bad.step, &verdict);
        if (!strstr(verdict.error, bad_steps[i].says))
            fail_msg("bad step %zu: says \"%s\", should say \"%s\"", i, verdict.error, bad_steps[i].says);
        assert_int_equal(verdict.step, 77);
        assert_int_equal(verdict.n_answers, 0);
        assert_int_equal(model_blocks_free(f->group.model), pages);
        requests_run(&f->group, &bad.r, 1, 200);
        assert_tokens(bad.r.tokens, f->scene->greedy, GOLDEN_TOKENS);
        engine_forget(f->group.engine);
    }
}

/* Not a row further: neither what is computed nor where the last row stands. */
static void a_step_may_end_where_the_context_does(void **state)
{
    struct fixture *f = *state;
    struct step_verdict verdict;
    int *context = &f->group.config.max_positions, whole = *context;
    struct request r = request_of(1, f->text, 2, DRAFTS_RIGHT);
    while (r.n == 0)
        requests_step(&f->group, &r, 1, 200);
    struct step_span span = request_answer_span(&r);
    struct step step = {.spans = &span, .n_spans = 1};
    *context = span.length + span.n - 1;
    span.position = 0;
    engine_step(f->group.engine, &step, &verdict);
    assert_non_null(strstr(verdict.error, "rows behind"));
    *context = span.length + span.n;
    span.position = span.length + 1;
    engine_step(f->group.engine, &step, &verdict);
    assert_non_null(strstr(verdict.error, "positions"));
    span.position = span.length;
    engine_step(f->group.engine, &step, &verdict);
    assert_string_equal(verdict.error, "");
    engine_verdict_free(&verdict);
    *context = whole;
    engine_forget(f->group.engine);
}

/* The first draft was next to impossible, so it is kept, and the second more than certain, so it is not: from lists and from whole
 * rows. */
static void each_draft_is_held_against_what_it_was_drawn_from(void **state)
{
    struct fixture *f = *state;
    for (int top_k = 0; top_k <= 5; top_k += 5) {
        struct request r = request_of(1, f->text, 2, DRAFTS_RIGHT);
        r.sampling.temperature = 1;
        r.sampling.top_k = top_k;
        r.sampling.mode = SAMPLING_REJECTION;
        while (r.n == 0)
            requests_step(&f->group, &r, 1, 200);
        r.tokens[0] = f->text->greedy[0];
        struct step_span span = request_answer_span(&r);
        int first = r.ids[1] > r.ids[2];
        assert_true(r.ids[1] != r.ids[2]);
        for (int j = 0; j < 2; j++) {
            float weight = j ? 1e30f : 1e-30f;
            span.weights[j] =
                (struct draft_weights){.ids = {r.ids[1 + first], r.ids[2 - first]}, .weight = {weight, weight}, .n = 2};
        }
        struct step step = {.spans = &span, .n_spans = 1};
        struct step_verdict verdict;
        engine_step(f->group.engine, &step, &verdict);
        assert_string_equal(verdict.error, "");
        assert_int_equal(verdict.answers[0].accepted, 1);
        assert_int_not_equal(verdict.answers[0].next, r.ids[2]);
        engine_verdict_free(&verdict);
        engine_forget(f->group.engine);
    }
}

/* Rows of a Gemma3 picture see each other both ways: parts of it are refused, the whole gives the tokens of transformers. */
static void a_picture_that_must_be_whole_is_not_taken_in_parts(void **state)
{
    struct fixture *f = *state;
    struct group gemma;
    struct step_verdict verdict;
    group_open(&gemma, "tests/golden/gemma3-tiny", f->comm, GROUP_POSITIONS);
    struct golden *pair = golden_read("tests/golden/gemma3-tiny", "two-images");
    struct request r = request_of(1, pair, 0, DRAFTS_RIGHT);
    group_pictures(&gemma, pair);
    struct step_span cut = request_prompt_span(&r, pair->pictures[0].first + 5);
    struct step step = {.id = 78, .spans = &cut, .n_spans = 1};
    engine_step(gemma.engine, &step, &verdict);
    if (!strstr(verdict.error, "picture 0: 5 rows; its 16 must be in one step"))
        fail_msg("\"%s\"", verdict.error);
    assert_int_equal(model_blocks_free(gemma.model), model_blocks(gemma.model));
    while (r.length < pair->pictures[0].first)
        requests_step(&gemma, &r, 1, pair->pictures[0].first);
    struct step_span rest = request_prompt_span(&r, 11); /* its last rows, as if the first were there */
    rest.pictures[0].picture_row = 5;
    step.spans = &rest;
    engine_step(gemma.engine, &step, &verdict);
    if (!strstr(verdict.error, "picture 0: 11 rows; its 16 must be in one step"))
        fail_msg("\"%s\"", verdict.error);
    r.keeps = r.keeps_local = true;
    requests_run(&gemma, &r, 1, GROUP_ROWS);
    assert_tokens(r.tokens, pair->greedy, GOLDEN_TOKENS);
    assert_true(pair->n > MODEL_PAGE_POSITIONS);
    rest = (struct step_span){.sequence = 2, /* behind an adopted page, which may hold its first rows, but without the last one */
                              .n = 12,
                              .ids = pair->ids,
                              .length = MODEL_PAGE_POSITIONS,
                              .adopt = golden_keys,
                              .n_adopt = 1,
                              .pictures = rest.pictures,
                              .n_pictures = 1,
                              .sampling = r.sampling};
    rest.pictures[0] = (struct step_picture){{pair->pictures[0].hash[0], pair->pictures[0].hash[1]}, 0, 5, 10};
    engine_step(gemma.engine, &step, &verdict);
    if (!strstr(verdict.error, "picture 0: 10 rows; its 16 must be in one step"))
        fail_msg("\"%s\"", verdict.error);
    golden_free(pair);
    group_close(&gemma);
}

static void a_step_that_does_not_fit_the_cache_is_refused(void **state)
{
    struct fixture *f = *state;
    struct group small;
    struct step_verdict verdict;
    group_open(&small, GOLDEN_TARGET, f->comm, 2 * MODEL_PAGE_POSITIONS);
    int32_t ids[2 * MODEL_PAGE_POSITIONS + 1] = {0};
    struct step_span spans[2] = {{.sequence = 1, .n = MODEL_PAGE_POSITIONS + 1, .ids = ids, .sampling.repetition_penalty = 1},
                                 {.sequence = 2, .n = 1, .ids = ids, .sampling.repetition_penalty = 1}};
    struct step step = {.spans = spans, .n_spans = 2};
    engine_step(small.engine, &step, &verdict);
    assert_string_equal(verdict.error, "the key/value cache of 2 blocks is 1 blocks too small");
    assert_int_equal(model_blocks_free(small.model), 2);
    step.n_spans = 1;
    engine_step(small.engine, &step, &verdict);
    assert_string_equal(verdict.error, "");
    engine_verdict_free(&verdict);
    assert_int_equal(model_blocks_free(small.model), 0);
    /* Room that the same step makes counts: sequence 1 is released, or cut to one page. */
    step = (struct step){.spans = spans + 1, .n_spans = 1, .release = &spans[0].sequence, .n_release = 1};
    engine_step(small.engine, &step, &verdict);
    assert_string_equal(verdict.error, "");
    engine_verdict_free(&verdict);
    assert_int_equal(model_blocks_free(small.model), 1);
    group_close(&small);
}

static void rolling_back_makes_room_in_the_same_step(void **state)
{
    struct fixture *f = *state;
    struct group small;
    struct step_verdict verdict;
    group_open(&small, GOLDEN_TARGET, f->comm, 2 * MODEL_PAGE_POSITIONS);
    int32_t ids[2 * MODEL_PAGE_POSITIONS] = {0};
    struct step_span spans[2] = {{.sequence = 1, .n = MODEL_PAGE_POSITIONS + 1, .ids = ids, .sampling.repetition_penalty = 1},
                                 {.sequence = 2, .n = 1, .ids = ids, .sampling.repetition_penalty = 1}};
    struct step step = {.spans = spans, .n_spans = 1};
    engine_step(small.engine, &step, &verdict);
    engine_verdict_free(&verdict);
    spans[0].n = 1;
    spans[0].length = 3;
    step.n_spans = 2;
    engine_step(small.engine, &step, &verdict);
    assert_string_equal(verdict.error, "");
    engine_verdict_free(&verdict);
    assert_int_equal(model_blocks_free(small.model), 0);
    group_close(&small);
}

/* Only what nobody else uses becomes room: a shared page counts once, when its last user goes. */
static void a_page_makes_room_when_its_last_user_goes(void **state)
{
    struct fixture *f = *state;
    struct group small;
    struct step_verdict verdict;
    group_open(&small, GOLDEN_TARGET, f->comm, 3 * MODEL_PAGE_POSITIONS);
    int32_t ids[3 * MODEL_PAGE_POSITIONS] = {0}, page = 0;
    uint64_t released[2] = {1, 2};
    struct step_span keeper = {.sequence = 1,
                               .n = MODEL_PAGE_POSITIONS + 1,
                               .ids = ids,
                               .sampling.repetition_penalty = 1,
                               .keep = golden_keys,
                               .keep_pages = &page,
                               .n_keep = 1};
    struct step_span adopter = {.sequence = 2,
                                .n = 1,
                                .ids = ids,
                                .length = MODEL_PAGE_POSITIONS,
                                .sampling.repetition_penalty = 1,
                                .adopt = golden_keys,
                                .n_adopt = 1};
    struct step_span large = {.sequence = 3, .n = 2 * MODEL_PAGE_POSITIONS + 1, .ids = ids, .sampling.repetition_penalty = 1};
    struct step steps[] = {
        {.spans = &keeper, .n_spans = 1},
        {.spans = &adopter, .n_spans = 1},
        {.spans = &large, .n_spans = 1, .release = released, .n_release = 2},
        {.spans = &large, .n_spans = 1, .release = released, .n_release = 1, .forget = golden_keys, .n_forget = 1},
        {.spans = &large, .n_spans = 1, .release = released, .n_release = 2, .forget = golden_keys, .n_forget = 1}};
    const char *says[] = {"", "", "3 blocks is 1 blocks too small", "3 blocks is 2 blocks too small", ""};
    for (int i = 0; i < 5; i++) {
        engine_step(small.engine, &steps[i], &verdict);
        if (!strstr(verdict.error, says[i]) || !verdict.error[0] != !says[i][0])
            fail_msg("step %d says \"%s\", should say \"%s\"", i, verdict.error, says[i]);
        engine_verdict_free(&verdict);
        assert_int_equal(model_blocks_free(small.model), i == 0);
    }
    engine_forget(small.engine);
    assert_int_equal(model_blocks_free(small.model), 3);
    group_close(&small);
}

static void releasing_what_is_not_here_is_no_fault(void **state)
{
    struct fixture *f = *state;
    group_release(&f->group, 12345);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_bad_step_is_refused_and_changes_nothing),
        cmocka_unit_test(a_step_may_end_where_the_context_does),
        cmocka_unit_test(each_draft_is_held_against_what_it_was_drawn_from),
        cmocka_unit_test(a_picture_that_must_be_whole_is_not_taken_in_parts),
        cmocka_unit_test(a_step_that_does_not_fit_the_cache_is_refused),
        cmocka_unit_test(rolling_back_makes_room_in_the_same_step),
        cmocka_unit_test(a_page_makes_room_when_its_last_user_goes),
        cmocka_unit_test(releasing_what_is_not_here_is_no_fault),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
