/* test_kserve_options.c - what a KServe request says of its tokens and its answer beside the text */
#include "tests/proto/kserve_maker.h"

static void a_bias_is_an_object_wherever_it_stands(void **state)
{
    (void)state;
    static const char *const ways[] = {"{\"logit_bias\": {\"70\": -1.5, \"3\": \"100\"}}",
                                       "{\"logit_bias\": \"{\\\"70\\\": -1.5, \\\"3\\\": 100}\"}", "{\"70\": -1.5, \"3\": 1e2}"};
    for (int way = 0; way < 4; way++) {
        struct maker m;
        maker_init(&m);
        text_add(&m, "text_input", "x");
        if (way < 2)
            STRING(&m, "sampling_parameters", (char *)ways[way]);
        else if (way == 2)
            STRING(&m, "logit_bias", (char *)ways[2]);
        else
            text_add(&m, "logit_bias", ways[2]);
        struct kserve_request request = good(&m);
        const struct sampling *sampling = &request.asked.sampling;
        assert_int_equal(sampling->n_bias, 2);
        assert_int_equal(sampling->bias_ids[0], 3); /* ascending */
        assert_int_equal(sampling->bias_ids[1], 70);
        assert_true(sampling->bias[0] == 100 && sampling->bias[1] == -1.5f);
        kserve_request_free(&request);
    }
    struct maker m;
    maker_init(&m);
    text_add(&m, "text_input", "x");
    STRING(&m, "logit_bias", "{}");
    struct kserve_request request = good(&m);
    assert_int_equal(request.asked.sampling.n_bias, 0);
    kserve_request_free(&request);
}

static void a_wrong_option_is_named(void **state)
{
    (void)state;
    static const struct row {
        const char *json, *words;
    } rows[] = {
        {"{\"logit_bias\": {\"x\": 1}}", "logit_bias.token id: \"x\" is not a whole number"},
        {"{\"logit_bias\": {\"-1\": 1}}", "logit_bias.token id: -1 is below 0"},
        {"{\"logit_bias\": {\"5\": 101}}", "bias: 101 is above 100"},
        {"{\"logit_bias\": {\"5\": \"nan\"}}", "bias: nan is not a finite number"},
        {"{\"logit_bias\": {\"5\": null}}", "logit_bias.\"5\": neither a number nor a text"},
        {"{\"logit_bias\": {\"5\": 1, \"05\": 1}}", "token_id 5 is given twice"},
        {"{\"logit_bias\": {\"5\": 1, \"5\": 1}}", "sampling_parameters: not a JSON object: duplicate"},
        {"{\"logit_bias\": [5, 1]}", "logit_bias: 2 values, not one"},
        {"{\"logit_bias\": 5}", "logit_bias: not a text"},
        {"{\"logit_bias\": \"5\"}", "logit_bias: not a JSON object of token ids and numbers"},
        {"{\"system\": {\"a\": 1}}", "system: not a text"},
        {"{\"max_tokens\": {\"a\": 1}}", "max_tokens: not a number"},
        {"{\"logprobs\": -1}", "logprobs: -1 is below 0"},
        {"{\"logprobs\": 21}", "logprobs: 21 is above 20"},
        {"{\"n\": 0}", "n: 0 is below 1"},
        {"{\"n\": 17}", "n: 17 is above 16"},
        {"{\"auto_draft_tokens\": true, \"draft_tokens\": 3}", "auto_draft_tokens: beside draft_tokens"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct maker m;
        maker_init(&m);
        text_add(&m, "text_input", "x");
        STRING(&m, "sampling_parameters", (char *)rows[i].json);
        expect_refusal(&m, rows[i].words);
    }
}

static void what_is_asked_is_asked_of_the_service(void **state)
{
    (void)state;
    struct maker m;
    maker_init(&m);
    text_add(&m, "text_input", "x");
    INT64(&m, "logprobs", 2);
    INT64(&m, "n", 3);
    PARAMETER(&m, "auto_draft_tokens", BOOL, bool_param, 1);
    PARAMETER(&m, "triton_enable_empty_final_response", BOOL, bool_param, 0);
    STRING(&m, "traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01");
    struct kserve_request request = good(&m);
    assert_true(request.asked.sampling.logprobs && request.asked.sampling.top_logprobs == 2);
    assert_int_equal(request.asked.n_outputs, 3);
    assert_int_equal(request.asked.draft_tokens, DRAFT_TOKENS_AUTO);
    assert_string_equal(request.traceparent, "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01");
    assert_false(request.empty_final);
    kserve_request_free(&request);
    maker_init(&m);
    text_add(&m, "text_input", "x");
    request = good(&m);
    assert_false(request.asked.sampling.logprobs);
    assert_true(request.empty_final && !request.traceparent && request.asked.n_outputs == 0);
    kserve_request_free(&request);
}

#define BIT(output) (1u << KSERVE_##output)

static void outputs_follow_from_the_options_or_are_named(void **state)
{
    (void)state;
    const struct row {
        int logprobs, n; /* -1, 0: absent */
        char *named;
        unsigned outputs;
    } rows[] = {{-1, 0, NULL, BIT(TEXT_OUTPUT)},
                {-1, 1, NULL, BIT(TEXT_OUTPUT)},
                {0, 0, NULL, BIT(TEXT_OUTPUT) | BIT(TOKEN_IDS) | BIT(LOGPROBS)},
                {1, 0, NULL, BIT(TEXT_OUTPUT) | BIT(TOKEN_IDS) | BIT(LOGPROBS) | BIT(TOP_TOKEN_IDS) | BIT(TOP_LOGPROBS)},
                {-1, 2, NULL, BIT(TEXT_OUTPUT) | BIT(FINISH_REASON) | BIT(COMPLETION_TOKENS) | BIT(SEED)},
                {-1, 2, "text_output", BIT(TEXT_OUTPUT)},
                {-1, 0, "token_ids", BIT(TOKEN_IDS)},
                {-1, 0, "finish_reason", BIT(FINISH_REASON)},
                {5, 0, "top_logprobs", BIT(TOP_LOGPROBS)}};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct maker m;
        maker_init(&m);
        text_add(&m, "text_input", "x");
        if (rows[i].logprobs >= 0)
            INT64(&m, "logprobs", rows[i].logprobs);
        if (rows[i].n)
            INT64(&m, "n", rows[i].n);
        m.message.n_outputs = rows[i].named != NULL;
        m.output.name = rows[i].named;
        struct kserve_request request = good(&m);
        assert_int_equal(request.outputs, rows[i].outputs);
        kserve_request_free(&request);
    }
}

static void an_output_that_is_not_there_is_refused(void **state)
{
    (void)state;
    const struct row {
        int logprobs;
        char *named;
        const char *words;
    } rows[] = {{-1, "logprobs", "outputs: logprobs: the parameter logprobs must be 0 at least"},
                {0, "top_logprobs", "outputs: top_logprobs: the parameter logprobs must be 1 at least"},
                {-1, "top_token_ids", "outputs: top_token_ids: the parameter logprobs must be 1 at least"},
                {0, "colour", "outputs: \"colour\": unknown; ModelMetadata lists the outputs"}};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct maker m;
        maker_init(&m);
        text_add(&m, "text_input", "x");
        if (rows[i].logprobs >= 0)
            INT64(&m, "logprobs", rows[i].logprobs);
        m.message.n_outputs = 1;
        m.output.name = rows[i].named;
        expect_refusal(&m, rows[i].words);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_bias_is_an_object_wherever_it_stands), cmocka_unit_test(a_wrong_option_is_named),
        cmocka_unit_test(what_is_asked_is_asked_of_the_service),  cmocka_unit_test(outputs_follow_from_the_options_or_are_named),
        cmocka_unit_test(an_output_that_is_not_there_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
