/* test_generate_sampling.c - the sampling of a request: what is packed comes back, what is wrong is refused with the field's name
 */
#include "tests/check.h"

#include "proto/generate.h"
#include "tests/proto/bytes.h"

static char prompt[] = "hi";

static void carry(struct generate_request *b, const struct generate_request *a)
{
    struct rpc_bytes bytes;
    struct error err;
    if (generate_request_pack(a, &bytes, &err) || generate_request_unpack(b, bytes.data, bytes.size, &err))
        fail_msg("%s", err.text);
    free(bytes.data);
}

static void all_of_it_comes_back_and_bias_in_order(void **state)
{
    (void)state;
    const int32_t ids[3] = {900, 3, INT32_MAX};
    const float bias[3] = {-100, 0.5f, 100};
    const struct sampling s = {.temperature = 0.7f,
                               .top_k = 20,
                               .top_p = 0.8f,
                               .min_p = 0.05f,
                               .repetition_penalty = 1.05f,
                               .presence_penalty = -2,
                               .frequency_penalty = 2,
                               .bias_ids = ids,
                               .bias = bias,
                               .n_bias = 3,
                               .seed = UINT64_MAX,
                               .mode = SAMPLING_REJECTION,
                               .logprobs = true,
                               .top_logprobs = 20};
    struct generate_request a = {.prompt = prompt, .sampling = s, .given = (GIVEN_MODE << 1) - 1, .draft_tokens = -1}, b;
    carry(&b, &a);
    const struct sampling *t = &b.sampling;
    assert_int_equal(b.given, a.given);
    assert_true(t->temperature == s.temperature && t->top_k == s.top_k && t->top_p == s.top_p && t->min_p == s.min_p);
    assert_true(t->repetition_penalty == s.repetition_penalty && t->presence_penalty == s.presence_penalty);
    assert_true(t->frequency_penalty == s.frequency_penalty && t->seed == s.seed && t->mode == s.mode);
    assert_true(t->logprobs && t->top_logprobs == 20);
    assert_int_equal(t->n_bias, 3);
    assert_true(t->bias_ids[0] == 3 && t->bias_ids[1] == 900 && t->bias_ids[2] == INT32_MAX);
    assert_true(t->bias[0] == 0.5f && t->bias[1] == -100 && t->bias[2] == 100);
    generate_request_free(&b);
}

/* Zero is no default in itself: each number can be there as zero, and alone. */
static void zero_is_not_absent(void **state)
{
    (void)state;
    for (unsigned given = 1; given <= GIVEN_MODE; given <<= 1) {
        struct generate_request a = {.prompt = prompt, .given = given, .draft_tokens = -1}, b;
        a.sampling.repetition_penalty = a.sampling.top_p = 1; /* these two have no zero */
        carry(&b, &a);
        assert_int_equal(b.given, given);
        assert_true(b.sampling.temperature == 0 && b.sampling.mode == SAMPLING_COUPLED && !b.sampling.logprobs);
        generate_request_free(&b);
    }
    struct generate_request a = {.prompt = prompt, .sampling.logprobs = true, .draft_tokens = -1}, b;
    carry(&b, &a);
    assert_true(b.sampling.logprobs && b.sampling.top_logprobs == 0);
    generate_request_free(&b);
}

static int try_request(const void *data, size_t size, struct error *err)
{
    struct generate_request request;
    int result = generate_request_unpack(&request, data, size, err);
    if (!result)
        generate_request_free(&request);
    return result;
}

#define HI "\x1a\x02hi"

static void what_is_wrong_is_refused_by_field(void **state)
{
    (void)state;
    static const struct bad_bytes rows[] = {
        BAD(HI "\x2a\x05\x0d\x00\x00\xca\x42", "sampling.temperature: 101 is above 100"),
        BAD(HI "\x2a\x05\x15\x00\x00\x00\x00", "sampling.top_p: 0 is not above 0"),
        BAD(HI "\x2a\x05\x15\x00\x00\xc0\x3f", "sampling.top_p: 1.5 is above 1"),
        BAD(HI "\x2a\x06\x18\xff\xff\xff\xff\x0f", "sampling.top_k: 4294967295 is above"),
        BAD(HI "\x2a\x05\x25\x00\x00\x00\xbf", "sampling.min_p: -0.5 is below 0"),
        BAD(HI "\x2a\x05\x2d\x00\x00\xca\x42", "sampling.repetition_penalty: 101 is above 100"),
        BAD(HI "\x2a\x05\x35\x00\x00\x20\x40", "sampling.presence_penalty: 2.5 is above 2"),
        BAD(HI "\x2a\x05\x3d\x00\x00\x20\xc0", "sampling.frequency_penalty: -2.5 is below -2"),
        BAD(HI "\x2a\x05\x3d\x00\x00\xc0\x7f", "sampling.frequency_penalty: nan is not"),
        BAD(HI "\x2a\x07\x4a\x05\x15\x00\x00\xca\x42", "sampling.logit_bias[0].bias: 101 is above 100"),
        BAD(HI "\x2a\x0f\x4a\x00\x4a\x0b\x08\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01",
            "sampling.logit_bias[1].token_id: -1 is below 0"),
        BAD(HI "\x2a\x0a\x4a\x02\x08\x07\x4a\x00\x4a\x02\x08\x07", "sampling.logit_bias: token_id 7 is given twice"),
        BAD(HI "\x2a\x02\x50\x03", "sampling.mode: 3 is above 2"),
        BAD(HI "\x2a\x0b\x50\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01", "sampling.mode: -1 is below 0"),
        BAD(HI "\x3a\x02\x10\x15", "response.logprobs: 21 is above 20"),
    };
    bytes_expect_refusals(rows, sizeof rows / sizeof *rows, try_request);
}

static void too_much_bias_is_refused(void **state)
{
    (void)state;
    int32_t ids[SAMPLING_BIAS_IDS + 1];
    float bias[SAMPLING_BIAS_IDS + 1] = {0};
    struct rpc_bytes bytes;
    struct error err;
    for (int i = 0; i <= SAMPLING_BIAS_IDS; i++)
        ids[i] = i;
    struct generate_request a = {.prompt = prompt, .draft_tokens = -1}, b;
    a.sampling = (struct sampling){.bias_ids = ids, .bias = bias, .n_bias = SAMPLING_BIAS_IDS};
    carry(&b, &a);
    assert_int_equal(b.sampling.n_bias, SAMPLING_BIAS_IDS);
    generate_request_free(&b);
    a.sampling.n_bias++;
    assert_int_equal(generate_request_pack(&a, &bytes, &err), -1);
    assert_non_null(strstr(err.text, "sampling.logit_bias: 1025 ids are above 1024"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(all_of_it_comes_back_and_bias_in_order),
        cmocka_unit_test(zero_is_not_absent),
        cmocka_unit_test(what_is_wrong_is_refused_by_field),
        cmocka_unit_test(too_much_bias_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
