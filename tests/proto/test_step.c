/* test_step.c - the worker stream's messages: what is packed comes back, what is wrong is refused with the field's name */
#include "tests/check.h"

#include "proto/step.h"
#include "tests/proto/bytes.h"

static int try_up(const void *data, size_t size, struct error *err)
{
    struct step_message message;
    int result = step_message_unpack(&message, data, size, true, err);
    if (!result)
        step_message_free(&message);
    return result;
}

static int try_down(const void *data, size_t size, struct error *err)
{
    struct step_message message;
    int result = step_message_unpack(&message, data, size, false, err);
    if (!result)
        step_message_free(&message);
    return result;
}

/* There and back, from an odd address: floats must come out aligned all the same. */
static void carry(struct step_message *out, const struct step_message *in, bool from_group)
{
    struct rpc_bytes bytes;
    struct error err;
    step_message_pack(in, from_group, &bytes);
    char *odd = mem_new(bytes.size + 1, 1);
    memcpy(odd + 1, bytes.data, bytes.size);
    if (step_message_unpack(out, odd + 1, bytes.size, from_group, &err))
        fail_msg("%s", err.text);
    bytes_damage(&bytes, from_group ? try_up : try_down);
    free(odd);
    free(bytes.data);
    assert_int_equal(out->kind, in->kind);
}

static void a_hello_comes_back(void **state)
{
    (void)state;
    struct step_message a = {.kind = STEP_HELLO,
                             .hello = {.protocol = 77, /* which one is spoken is for the coordinator to judge */
                                       .version = "0.1.0",
                                       .model_hash = {UINT64_MAX, 1},
                                       .model = "Qwen2.5-VL-7B",
                                       .ranks = 4,
                                       .pages = 1 << 20,
                                       .page_positions = 16,
                                       .max_rows = 2048,
                                       .host = "node-1",
                                       .device = "cpu",
                                       .group = "2.1"}},
                        b;
    carry(&b, &a, true);
    assert_memory_equal(&b.hello, &a.hello, sizeof a.hello);
    step_message_free(&b);
}

static void a_verdict_comes_back(void **state)
{
    (void)state;
    struct logprobs logprobs[4] = {{.chosen = -0.5f, .top_ids = {7, INT32_MAX}, .top = {-0.5f, -1e30f}, .n_top = 2},
                                   {.chosen = -1}};
    struct step_answer answers[3] = {{0, -1, NULL}, {16, 0, NULL}, {3, INT32_MAX, logprobs}};
    struct step_message a = {.kind = STEP_VERDICT, .verdict = {.step = 9, .answers = answers, .n_answers = 3, .compute_ms = 12.5}},
                        b;
    carry(&b, &a, true);
    assert_int_equal(b.verdict.step, 9);
    assert_int_equal(b.verdict.n_answers, 3);
    assert_memory_equal(b.verdict.answers, answers, 2 * sizeof *answers);
    assert_int_equal(b.verdict.answers[2].next, INT32_MAX);
    assert_memory_equal(b.verdict.answers[2].logprobs, logprobs, sizeof logprobs);
    assert_true(b.verdict.compute_ms == 12.5);
    assert_string_equal(b.verdict.error, "");
    step_message_free(&b);
    struct step_message refused = {.kind = STEP_VERDICT, .verdict = {.step = 10, .error = "sequence 7 is not known"}};
    carry(&b, &refused, true);
    assert_int_equal(b.verdict.n_answers, 0);
    assert_string_equal(b.verdict.error, "sequence 7 is not known");
    step_message_free(&b);
}

static void heartbeats_and_welcomes_come_back(void **state)
{
    (void)state;
    struct step_message beat = {.kind = STEP_HEARTBEAT, .heartbeat = UINT64_MAX}, b;
    for (int from_group = 0; from_group < 2; from_group++) {
        carry(&b, &beat, from_group);
        assert_true(b.heartbeat == UINT64_MAX);
        step_message_free(&b);
    }
    struct step_message welcome = {.kind = STEP_WELCOME, .heartbeat_ms = 1000};
    carry(&b, &welcome, false);
    assert_int_equal(b.heartbeat_ms, 1000);
    step_message_free(&b);
}

static void expect_sampling(const struct sampling *got, const struct sampling *wanted)
{
    assert_int_equal(got->n_bias, wanted->n_bias);
    assert_int_equal(got->n_banned, wanted->n_banned);
    assert_true(!got->n_bias || !memcmp(got->bias_ids, wanted->bias_ids, (size_t)got->n_bias * sizeof *got->bias_ids));
    assert_true(!got->n_bias || !memcmp(got->bias, wanted->bias, (size_t)got->n_bias * sizeof *got->bias));
    assert_true(!got->n_banned || !memcmp(got->banned_ids, wanted->banned_ids, (size_t)got->n_banned * sizeof *got->banned_ids));
    assert_true(got->temperature == wanted->temperature && got->top_k == wanted->top_k && got->top_p == wanted->top_p);
    assert_true(got->min_p == wanted->min_p && got->repetition_penalty == wanted->repetition_penalty);
    assert_true(got->presence_penalty == wanted->presence_penalty && got->frequency_penalty == wanted->frequency_penalty);
    assert_true(got->seed == wanted->seed && got->mode == wanted->mode && got->banned_until == wanted->banned_until);
    assert_true(got->logprobs == wanted->logprobs && got->top_logprobs == wanted->top_logprobs);
}

struct sample { /* a step that has something of everything */
    int32_t ids[7], positions[7][3], bias_ids[2], banned[1], pages[2];
    float bias[2];
    uint64_t release[2], keys[3][2];
    struct step_picture pictures[2];
    struct draft_weights weights[5];
    struct step_span spans[3];
};

static void sampling_put(struct sample *s)
{
    s->spans[0].sampling.repetition_penalty = 1.05f;
    s->spans[1].sampling = (struct sampling){.repetition_penalty = 1,
                                             .temperature = 0.7f,
                                             .top_k = 20,
                                             .top_p = 0.9f,
                                             .min_p = 0.05f,
                                             .presence_penalty = -2,
                                             .frequency_penalty = 1.5f,
                                             .bias_ids = s->bias_ids,
                                             .bias = s->bias,
                                             .n_bias = 2,
                                             .seed = UINT64_MAX,
                                             .mode = SAMPLING_REJECTION,
                                             .logprobs = true,
                                             .top_logprobs = 20};
    s->spans[2].sampling = (struct sampling){.repetition_penalty = 1, .banned_ids = s->banned, .n_banned = 1, .banned_until = 12};
}

static void sample_make(struct sample *s)
{
    *s = (struct sample){.ids = {5, 0, 9, 151655, 1, 2, INT32_MAX},
                         .bias_ids = {0, INT32_MAX},
                         .banned = {9},
                         .pages = {0, INT32_MAX},
                         .bias = {-100, 0.5f},
                         .release = {3, UINT64_MAX},
                         .keys = {{UINT64_MAX, 1}, {0, 7}, {5, UINT64_MAX}},
                         .pictures = {{{1, 2}, 0, 0, 1}, {{UINT64_MAX, 0}, 3, 1000, 4}}};
    for (int i = 0; i < 7; i++)
        for (int k = 0; k < 3; k++)
            s->positions[i][k] = 100 * i + k;
    for (int i = 0; i < 5; i++)
        s->weights[i] = (struct draft_weights){.ids = {1, 2}, .weight = {0.25f, 0.75f}, .n = 2};
    s->spans[0] = (struct step_span){.sequence = 1,
                                     .n = 7,
                                     .ids = s->ids,
                                     .positions = s->positions,
                                     .length = 12,
                                     .pictures = s->pictures,
                                     .n_pictures = 2,
                                     .adopt = s->keys,
                                     .n_adopt = 3};
    s->spans[1] = (struct step_span){.sequence = 2,
                                     .n = 6,
                                     .ids = s->ids,
                                     .position = 40,
                                     .length = 40,
                                     .generated = true,
                                     .drafts = 5,
                                     .want_token = true,
                                     .answered = 3,
                                     .weights = s->weights};
    s->spans[2] = (struct step_span){.sequence = 3,
                                     .n = 1,
                                     .ids = s->ids,
                                     .pictures = s->pictures,
                                     .n_pictures = 1,
                                     .keep = s->keys + 1,
                                     .keep_pages = s->pages,
                                     .n_keep = 2};
    sampling_put(s);
}

static void expect_span(const struct step_span *got, const struct step_span *wanted)
{
    const struct step_span *x = wanted, *y = got;
    assert_int_equal(x->n, y->n);
    assert_memory_equal(x->ids, y->ids, (size_t)x->n * sizeof *x->ids);
    assert_true(!x->positions == !y->positions);
    assert_true(!x->positions || !memcmp(x->positions, y->positions, (size_t)x->n * sizeof *x->positions));
    assert_int_equal(x->n_pictures, y->n_pictures);
    assert_true(!x->n_pictures || !memcmp(x->pictures, y->pictures, (size_t)x->n_pictures * sizeof *x->pictures));
    assert_true(x->sequence == y->sequence && x->position == y->position && x->length == y->length);
    assert_true(x->generated == y->generated && x->drafts == y->drafts && x->want_token == y->want_token);
    assert_true(!x->weights == !y->weights && x->answered == y->answered);
    assert_true(!x->weights || !memcmp(x->weights, y->weights, (size_t)x->drafts * sizeof *x->weights));
    expect_sampling(&y->sampling, &x->sampling);
    assert_int_equal(y->n_adopt, x->n_adopt);
    assert_true(!x->n_adopt || !memcmp(y->adopt, x->adopt, (size_t)x->n_adopt * sizeof *x->adopt));
    assert_int_equal(y->n_keep, x->n_keep);
    assert_true(!x->n_keep || !memcmp(y->keep, x->keep, (size_t)x->n_keep * sizeof *x->keep));
    assert_true(!x->n_keep || !memcmp(y->keep_pages, x->keep_pages, (size_t)x->n_keep * sizeof *x->keep_pages));
}

static void a_step_comes_back(void **state)
{
    (void)state;
    struct sample s;
    struct step_message b;
    sample_make(&s);
    const struct step step = {
        .id = 4, .release = s.release, .n_release = 2, .spans = s.spans, .n_spans = 3, .forget = s.keys + 2, .n_forget = 1};
    carry(&b, &(struct step_message){.kind = STEP_STEP, .step = step}, false);
    assert_int_equal(b.step.id, 4);
    assert_int_equal(b.step.n_release, 2);
    assert_memory_equal(b.step.release, s.release, sizeof s.release);
    assert_int_equal(b.step.n_spans, 3);
    for (int i = 0; i < 3; i++)
        expect_span(&b.step.spans[i], &s.spans[i]);
    assert_int_equal(b.step.n_forget, 1);
    assert_memory_equal(b.step.forget, s.keys + 2, sizeof *s.keys);
    step_message_free(&b);
}

static void a_step_may_only_release(void **state)
{
    (void)state;
    uint64_t release[1] = {3};
    struct step_message only_release = {.kind = STEP_STEP, .step = {.id = 5, .release = release, .n_release = 1}}, b;
    carry(&b, &only_release, false);
    assert_int_equal(b.step.n_spans, 0);
    assert_int_equal(b.step.n_release, 1);
    step_message_free(&b);
}

static void a_picture_piece_comes_back_aligned(void **state)
{
    (void)state;
    float features[5 * 7];
    for (int i = 0; i < 35; i++)
        features[i] = (float)i / 3;
    struct step_message a = {.kind = STEP_PIECE,
                             .piece = {.hash = {7, 8}, .rows = 100, .width = 7, .first = 95, .n = 5, .features = features}},
                        b;
    carry(&b, &a, false);
    assert_int_equal(b.piece.n, 5);
    assert_int_equal(b.piece.width, 7);
    assert_int_equal(b.piece.first, 95);
    assert_int_equal(b.piece.rows, 100);
    assert_int_equal((uintptr_t)b.piece.features % sizeof(float), 0);
    assert_memory_equal(b.piece.features, features, sizeof features);
    step_message_free(&b);
    struct step_message forget = {.kind = STEP_PIECE, .piece = {.hash = {7, 8}, .forget = true}};
    carry(&b, &forget, false);
    assert_true(b.piece.forget && b.piece.hash[0] == 7 && b.piece.hash[1] == 8);
    assert_null(b.piece.features);
    step_message_free(&b);
}

static void a_wrong_message_of_a_group_is_refused_by_field(void **state)
{
    (void)state;
    static const struct bad_bytes rows[] = {
        BAD("", "message: none of hello"),
        BAD("\x0a\x00", "hello.ranks: 0 is below 1"),
        BAD("\x0a\x05\x62\x03\x61\x0a\x62", "hello.group: \"a\nb\" has other characters"),
        BAD("\x0a\x22\x62\x20xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx", "hello.group: 32 bytes are above 31"),
        BAD("\x0a\x03\x30\x81\x20", "hello.ranks: 4097 is above 4096"),
        BAD("\x0a\x02\x30\x01", "hello.pages: 0 is below 1"),
        BAD("\x0a\x04\x30\x01\x38\x01", "hello.page_positions: 0 is below 1"),
        BAD("\x0a\x08\x30\x01\x38\x01\x40\x81\x80\x04", "hello.page_positions: 65537 is above 65536"),
        BAD("\x0a\x06\x30\x01\x38\x01\x40\x10", "hello.max_rows: 0 is below 1"),
        BAD("\x0a\x22\x12\x20"
            "01234567890123456789012345678901",
            "hello.version: 32 bytes are above 31"),
        BAD("\x0a\x03\x52\x01\xff", "hello.host: is not UTF-8"),
        BAD("\x12\x04\x12\x02\x08\x11", "verdict.spans[0].accepted: 17 is above 16"),
        BAD("\x12\x0f\x12\x00\x12\x0b\x10\xfe\xff\xff\xff\xff\xff\xff\xff\xff\x01", "verdict.spans[1].next: -2 is below -1"),
        BAD("\x12\x06\x12\x04\x1a\x00\x1a\x00", "verdict.spans[0].logprobs: 2 elements for 1 tokens"),
        BAD("\x12\x09\x19\0\0\0\0\0\0\xf0\x7f", "verdict.compute_ms: inf"),
        BAD("\x12\x09\x19\0\0\0\0\0\0\xf0\xbf", "verdict.compute_ms: -1 is below 0"),
        BAD("\x0a\x00\x1a\x00", "heartbeat: given twice, or beside"),
    };
    bytes_expect_refusals(rows, sizeof rows / sizeof *rows, try_up);
}

/* A step with one span: the bytes after ids, whose length stands before them, and a penalty of 1. */
#define PENALTY "\x55\0\0\x80\x3f"
#define IDS "\x12\x02\x01\x02"

static void a_wrong_message_to_a_group_is_refused_by_field(void **state)
{
    (void)state;
    static const struct bad_bytes rows[] = {
        BAD("", "message: none of welcome"),
        BAD("\x0a\x00", "welcome.heartbeat_ms: 0 is below 1"),
        BAD("\x0a\x04\x08\xff\xff\x7f", "welcome.heartbeat_ms: 2097151 is above 600000"),
        BAD("\x12\x02\x1a\x00", "step.spans[0].ids: empty"),
        BAD("\x12\x06\x1a\x04" IDS, "step.spans[0].repetition_penalty: 0 is not"),
        BAD("\x12\x0b\x1a\x09" IDS "\x55\0\0\xc0\x7f", "step.spans[0].repetition_penalty: nan is not"),
        BAD("\x12\x11\x1a\x0f" IDS PENALTY "\x1a\x04\1\2\3\4", "step.spans[0].positions: 4 elements are neither 0 nor 3 x 2"),
        BAD("\x12\x12\x1a\x10"
            "\x12\x01\x01" PENALTY "\x1a\x06\1\2\3\4\5\6",
            "step.spans[0].positions: 6 elements"),
        BAD("\x12\x13\x1a\x11"
            "\x12\x0a\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01" PENALTY,
            "step.spans[0].ids[0]: -1 is below 0"),
        BAD("\x12\x11\x1a\x0f" IDS PENALTY "\x20\xff\xff\xff\xff\x07", "step.spans[0].position: 2147483647 is above 2147483645"),
        BAD("\x12\x11\x1a\x0f" IDS PENALTY "\x28\xff\xff\xff\xff\x0f", "step.spans[0].length: 4294967295 is above 2147483645"),
        BAD("\x12\x0d\x1a\x0b" IDS PENALTY "\x38\x02", "step.spans[0].drafts: 2 is above 1"),
        BAD("\x12\x0d\x1a\x0b" IDS PENALTY "\x4a\x00", "step.spans[0].pictures[0].count: 0 is below 1"),
        BAD("\x12\x0f\x1a\x0d" IDS PENALTY "\x4a\x02\x18\x02", "step.spans[0].pictures[0].first: 2 is above 1"),
        BAD("\x12\x0f\x1a\x0d" IDS PENALTY "\x4a\x02\x28\x03", "step.spans[0].pictures[0].count: 3 is above 2"),
        BAD("\x12\x15\x1a\x13" IDS PENALTY "\x4a\x08\x28\x01\x20\xff\xff\xff\xff\x07",
            "step.spans[0].pictures[0].picture_row: 2147483647"),
        BAD("\x12\x12\x1a\x10\x12\x02\x01\x02\x55\x00\x00\x80\x3f\x5a\x05\x0d\x00\x00\x80\xbf",
            "step.spans[0].sampling.temperature: -1 is below 0"),
        BAD("\x12\x12\x1a\x10\x12\x02\x01\x02\x55\x00\x00\x80\x3f\x5a\x05\x2d\x00\x00\x80\x7f",
            "step.spans[0].sampling.presence_penalty: inf is not a finite"),
        BAD("\x12\x0f\x1a\x0d\x12\x02\x01\x02\x55\x00\x00\x80\x3f\x5a\x02\x60\x15",
            "step.spans[0].sampling.top_logprobs: 21 is above 20"),
        BAD("\x12\x10\x1a\x0e\x12\x02\x01\x02\x55\x00\x00\x80\x3f\x5a\x03\x4a\x01\x01",
            "step.spans[0].sampling.bias: 0 numbers for 1 ids"),
        BAD("\x12\x1b\x1a\x19\x12\x02\x01\x02\x55\x00\x00\x80\x3f\x5a\x0e\x4a\x02\x02\x01\x52\x08\x00\x00\x00\x00\x00\x00\x80\x3f",
            "step.spans[0].sampling.bias_ids: 1 after 2"),
        BAD("\x12\x11\x1a\x0f\x12\x02\x01\x02\x55\x00\x00\x80\x3f\x38\x01\x62\x00\x62\x00",
            "step.spans[0].draft_weights: 2 elements for 1 drafts"),
        BAD("\x12\x0f\x1a\x0d\x12\x02\x01\x02\x55\x00\x00\x80\x3f\x38\x01\x62\x00",
            "step.spans[0].draft_weights[0].weights: 0 numbers for 0 ids"),
        BAD("\x12\x18\x1a\x16\x12\x02\x01\x02\x55\x00\x00\x80\x3f\x38\x01\x62\x09\x0a\x01\x01\x12\x04\x00\x00\x80\xbf",
            "step.spans[0].draft_weights[0].weights: -1 is below 0"),
        BAD("\x12\x0d\x1a\x0b\x12\x02\x01\x02\x55\x00\x00\x80\x3f\x78\x03", "step.spans[0].answered: 3 is above 2"),
        BAD("\x12\x17\x1a\x15\x12\x02\x01\x02\x55\x00\x00\x80\x3f\x6a\x0a\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01",
            "step.spans[0].banned_ids[0]: -1 is below 0"),
        BAD("\x12\x16\x1a\x14" IDS PENALTY "\x82\x01\x08\1\2\3\4\5\6\7\x08", "step.spans[0].adopt: 1 numbers are no pairs"),
        BAD("\x12\x16\x1a\x14" IDS PENALTY "\x8a\x01\x08\1\2\3\4\5\6\7\x08", "step.spans[0].keep: 1 numbers are no pairs"),
        BAD("\x12\x0f\x1a\x0d" IDS PENALTY "\x92\x01\x01\x05", "step.spans[0].keep_pages: 1 pages for 0 keys"),
        BAD("\x12\x0a\x22\x08\1\2\3\4\5\6\7\x08", "step.forget: 1 numbers are no pairs"),
        BAD("\x12\x03\x1a\x01\x12", "step.spans[0].ids[0]: broken"),
        BAD("\x12\x04\x1a\x02\x0a\x00", "step.spans[0].sequence: has another type"),
        BAD("\x1a\x00", "picture.rows: 0 is below 1"),
        BAD("\x1a\x02\x18\x01", "picture.width: 0 is below 1"),
        BAD("\x1a\x04\x18\x01\x20\x02", "picture.features: 0 bytes are not a multiple of 4 x width 2"),
        BAD("\x1a\x0a\x18\x01\x20\x02\x32\x04\1\2\3\4", "picture.features: 4 bytes are not a multiple"),
        BAD("\x1a\x0e\x18\x01\x20\x01\x32\x08\1\2\3\4\1\2\3\4", "picture.features: 2 rows after row 0 are above the 1"),
        BAD("\x1a\x06\x18\x02\x20\x01\x28\x02", "picture.first: 2 is above 1"),
        BAD("\x1a\x08\x18\x01\x20\xff\xff\xff\xff\x0f", "picture.width: 4294967295 is above"),
        BAD("\x1a\x08\x32\x04\1\2\3\4\x38\x01", "picture.features: 4 bytes beside forget"),
        BAD("\x1a\x04\x32\x7f\1\2", "picture.features: broken"),
    };
    bytes_expect_refusals(rows, sizeof rows / sizeof *rows, try_down);
}

static void garbage_never_crashes(void **state)
{
    (void)state;
    bytes_garbage(try_up);
    bytes_garbage(try_down);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_hello_comes_back),
        cmocka_unit_test(a_verdict_comes_back),
        cmocka_unit_test(heartbeats_and_welcomes_come_back),
        cmocka_unit_test(a_step_comes_back),
        cmocka_unit_test(a_step_may_only_release),
        cmocka_unit_test(a_picture_piece_comes_back_aligned),
        cmocka_unit_test(a_wrong_message_of_a_group_is_refused_by_field),
        cmocka_unit_test(a_wrong_message_to_a_group_is_refused_by_field),
        cmocka_unit_test(garbage_never_crashes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
