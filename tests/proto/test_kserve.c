/* test_kserve.c - KServe's tensors, parameters and JSON become one question, however they are written; wrong ones are named */
#include "tests/proto/kserve_maker.h"

#include <stdio.h>

/* ---- good ones ---- */

static void a_question_about_pictures_is_a_turn_of_the_user(void **state)
{
    (void)state;
    struct maker m;
    maker_init(&m);
    m.message.n_outputs = 1;
    m.output.name = "text_output";
    m.message.model_version = "1";
    RAW(&m, "image", "BYTES", 2, "\3\0\0\0abc\2\0\0\0\0\1");
    RAW(&m, "text_input", "BYTES", 1, "\5\0\0\0What?");
    RAW(&m, "stream", "BOOL", 1, "\1");
    INT64(&m, "timeout", 2500000);
    STRING(&m, "system", "Be short.");
    struct kserve_request request = good(&m);
    const struct generate_request *asked = &request.asked;
    assert_true(request.stream && request.timeout == 2500000);
    assert_string_equal(asked->model, "scenes");
    assert_string_equal(asked->request_id, "");
    assert_int_equal(asked->n_turns, 2);
    assert_string_equal(asked->turns[0].role, "system");
    assert_string_equal(asked->turns[0].parts[0].text, "Be short.");
    assert_string_equal(asked->turns[1].role, "user");
    assert_int_equal(asked->turns[1].n_parts, 3);
    assert_null(asked->turns[1].parts[0].text);
    assert_null(asked->turns[1].parts[1].text);
    assert_string_equal(asked->turns[1].parts[2].text, "What?");
    assert_int_equal(asked->n_pictures, 2);
    assert_int_equal(asked->pictures[0].size, 3);
    assert_memory_equal(asked->pictures[0].bytes, "abc", 3);
    assert_memory_equal(asked->pictures[1].bytes, "\0\1", 2);
    assert_true(asked->given == 0 && asked->draft_tokens < 0 && asked->max_tokens == 0); /* absent */
    kserve_request_free(&request);
}

static void a_rendered_prompt_is_taken_as_it_is(void **state)
{
    (void)state;
    struct maker m;
    maker_init(&m);
    text_add(&m, "text_input", "<|im_start|>");
    PARAMETER(&m, "raw_prompt", BOOL, bool_param, 1);
    struct kserve_request request = good(&m);
    assert_string_equal(request.asked.prompt, "<|im_start|>");
    assert_null(request.asked.turns);
    assert_false(request.stream);
    kserve_request_free(&request);
}

/* The same parameters as parameters, as JSON (numbers and texts), as tensors. */
static void write_parameters(struct maker *m, int way)
{
    static int64_t tokens = 12;
    static double temperature = 0.5;
    static float penalty = 1.5f;
    static int32_t drafts = 3;
    static protobuf_c_boolean yes = 1;
    text_add(m, "text_input", "x");
    if (way == 0) {
        INT64(m, "max_tokens", tokens);
        PARAMETER(m, "temperature", DOUBLE, double_param, temperature);
        STRING(m, "repetition_penalty", "1.5");
        PARAMETER(m, "draft_tokens", UINT64, uint64_param, 3);
        PARAMETER(m, "ignore_eos", BOOL, bool_param, 1);
    } else if (way == 1) {
        text_add(m, "sampling_parameters",
                 "{\"max_tokens\": \"12\", \"temperature\": 0.5, \"repetition_penalty\": \"1.5\", \"draft_tokens\": 3, "
                 "\"ignore_eos\": \"true\"}");
    } else if (way == 2) {
        STRING(m, "sampling_parameters", "{\"max_tokens\": 12, \"temperature\": \"0.5\", \"ignore_eos\": true}");
        INT64(m, "draft_tokens", 3);
        PARAMETER(m, "repetition_penalty", DOUBLE, double_param, 1.5);
    } else {
        Inference__InferTensorContents *c = contents_add(m, "max_tokens", "INT64");
        c->n_int64_contents = 1, c->int64_contents = &tokens;
        c = contents_add(m, "temperature", "FP64");
        c->n_fp64_contents = 1, c->fp64_contents = &temperature;
        c = contents_add(m, "repetition_penalty", "FP32");
        c->n_fp32_contents = 1, c->fp32_contents = &penalty;
        c = contents_add(m, "draft_tokens", "INT8");
        c->n_int_contents = 1, c->int_contents = &drafts;
        c = contents_add(m, "ignore_eos", "BOOL");
        c->n_bool_contents = 1, c->bool_contents = &yes;
    }
}

static void parameters_mean_the_same_in_every_place(void **state)
{
    (void)state;
    for (int way = 0; way < 4; way++) {
        struct maker m;
        maker_init(&m);
        write_parameters(&m, way);
        struct kserve_request request = good(&m);
        const struct generate_request *asked = &request.asked;
        assert_int_equal(asked->max_tokens, 12);
        assert_int_equal(asked->given, GIVEN_TEMPERATURE | GIVEN_REPETITION_PENALTY);
        assert_true(asked->sampling.temperature == 0.5f && asked->sampling.repetition_penalty == 1.5f);
        assert_int_equal(asked->draft_tokens, 3);
        assert_true(asked->ignore_eos);
        kserve_request_free(&request);
    }
}

static void numbers_of_every_datatype_are_read(void **state)
{
    (void)state;
    static const struct row {
        const char *datatype, *bytes;
        size_t size;
    } rows[] = {{"INT8", "\7", 1},
                {"UINT8", "\7", 1},
                {"INT16", "\7\0", 2},
                {"UINT16", "\7", 2},
                {"INT32", "\7\0\0\0", 4},
                {"UINT32", "\7\0\0\0", 4},
                {"INT64", "\7\0\0\0\0\0\0\0", 8},
                {"UINT64", "\7\0\0\0\0\0\0\0", 8},
                {"FP32", "\0\0\xe0\x40", 4},
                {"FP64", "\0\0\0\0\0\0\x1c\x40", 8}};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct maker m;
        maker_init(&m);
        RAW(&m, "text_input", "BYTES", 1, "\0\0\0\0");
        raw_add(&m, "max_tokens", rows[i].datatype, 1, rows[i].bytes, rows[i].size);
        struct kserve_request request = good(&m);
        assert_int_equal(request.asked.max_tokens, 7);
        kserve_request_free(&request);
    }
}

static void sampling_is_taken_exactly(void **state)
{
    (void)state;
    static const char *const seeds[] = {"9007199254740993", "\"9007199254740993\""}; /* 2^53 + 1: no double has it */
    for (int i = 0; i < 2; i++) {
        struct maker m;
        char json[256];
        maker_init(&m);
        text_add(&m, "text_input", "x");
        snprintf(json, sizeof json, "{\"seed\": %s, \"top_k\": 0, \"top_p\": 0.5, \"min_p\": 0.25, \"mode\": \"rejection\"}",
                 seeds[i]);
        STRING(&m, "sampling_parameters", json);
        PARAMETER(&m, "presence_penalty", DOUBLE, double_param, -1.5);
        INT64(&m, "frequency_penalty", 2);
        struct kserve_request request = good(&m);
        const struct sampling *sampling = &request.asked.sampling;
        assert_true(sampling->seed == (UINT64_C(1) << 53) + 1);
        assert_true(sampling->top_k == 0 && sampling->top_p == 0.5f && sampling->min_p == 0.25f);
        assert_true(sampling->presence_penalty == -1.5f && sampling->frequency_penalty == 2);
        assert_int_equal(sampling->mode, SAMPLING_REJECTION);
        assert_int_equal(request.asked.given, GIVEN_SEED | GIVEN_TOP_K | GIVEN_TOP_P | GIVEN_MIN_P | GIVEN_MODE |
                                                  GIVEN_PRESENCE_PENALTY | GIVEN_FREQUENCY_PENALTY);
        kserve_request_free(&request);
    }
}

static void lists_have_any_number_of_values(void **state)
{
    (void)state;
    static const char *const ways[] = {"{\"stop\": [\"a\", \"\\n\"], \"stop_token_ids\": [7, \"8\"]}",
                                       "{\"stop\": \"a\", \"stop_token_ids\": 7}"};
    for (int way = 0; way < 3; way++) {
        struct maker m;
        maker_init(&m);
        RAW(&m, "text_input", "BYTES", 1, "\1\0\0\0x");
        if (way < 2) {
            STRING(&m, "sampling_parameters", (char *)ways[way]);
        } else {
            RAW(&m, "stop", "BYTES", 2, "\1\0\0\0a\1\0\0\0\n");
            RAW(&m, "stop_token_ids", "INT32", 2, "\7\0\0\0\10\0\0\0");
        }
        struct kserve_request request = good(&m);
        int n = way == 1 ? 1 : 2;
        assert_int_equal(request.asked.n_stop_strings, n);
        assert_int_equal(request.asked.n_stop_ids, n);
        assert_string_equal(request.asked.stop_strings[0], "a");
        assert_int_equal(request.asked.stop_ids[0], 7);
        assert_string_equal(request.asked.stop_strings[n - 1], n == 2 ? "\n" : "a");
        assert_int_equal(request.asked.stop_ids[n - 1], n == 2 ? 8 : 7);
        kserve_request_free(&request);
    }
}

/* ---- bad ones ---- */

static void a_wrong_parameter_is_named(void **state)
{
    (void)state;
    static const struct row {
        const char *json, *words;
    } rows[] = {
        {"{\"max_tokens\": 0}", "max_tokens: 0 is below 1"},
        {"{\"max_tokens\": 2.5}", "max_tokens: 2.5 is not a whole number from 1 to 1048576"},
        {"{\"max_tokens\": \"many\"}", "max_tokens: \"many\" is not a whole number"},
        {"{\"max_tokens\": \"\"}", "max_tokens: not a number"},
        {"{\"max_tokens\": \"nan\"}", "max_tokens: \"nan\" is not a whole number"},
        {"{\"max_tokens\": 9000000000}", "max_tokens: 9000000000 is above 1048576; a whole number from 1 to 1048576 is wanted"},
        {"{\"max_tokens\": 2000000}", "max_tokens: 2000000 is above 1048576"},
        {"{\"max_tokens\": true}", "max_tokens: not a number"},
        {"{\"max_tokens\": null}", "max_tokens: neither"},
        {"{\"temperature\": -0.1}", "temperature: -0.1 is below 0"},
        {"{\"temperature\": \"inf\"}", "temperature: inf is not a finite number"},
        {"{\"temperature\": 1e300}", "temperature: inf is not a finite number"},
        {"{\"repetition_penalty\": 0}", "repetition_penalty: 0 is not above 0"},
        {"{\"draft_tokens\": 17}", "draft_tokens: 17 is above 16"},
        {"{\"draft_tokens\": -1}", "draft_tokens: -1 is below 0"},
        {"{\"ignore_eos\": 1}", "ignore_eos: neither true nor false"},
        {"{\"system\": 5}", "system: not a text"},
        {"{\"timeout\": 0}", "timeout: 0 is below 1"},
        {"{\"exclude_input_in_output\": false}", "exclude_input_in_output: false"},
        {"{\"max_tokens\": [1, 2]}", "max_tokens: 2 values, not one"},
        {"{\"max_tokens\": [[1]]}", "max_tokens: neither"},
        {"{\"min_tokens\": 9, \"max_tokens\": 8}", "min_tokens"},
        {"{\"top_p\": 1.5}", "top_p: 1.5 is above 1"},
        {"{\"top_k\": -1}", "top_k: -1 is below 0"},
        {"{\"seed\": -1}", "seed: -1 is below 0"},
        {"{\"seed\": \"9223372036854775808\"}",
         "seed: \"9223372036854775808\" is not a whole number from 0 to 9223372036854775807"},
        {"{\"mode\": \"exact\"}", "mode: \"exact\" is not coupled or rejection"},
        {"{\"stop\": [\"a\", 5]}", "stop: not a text"},
        {"{\"stop\": [\"a\", \"\"]}", "stop_strings[1]: empty"},
        {"{\"stop_token_ids\": [-1]}", "stop_token_ids: -1 is below 0"},
        {"{\"best_of\": 2}", "sampling_parameters.best_of: unknown"},
        {"{\"max_tokens\": 1, \"max_tokens\": 2}", "sampling_parameters: not a JSON object: duplicate"},
        {"[1]", "sampling_parameters: not a JSON object"},
        {"{", "sampling_parameters: not a JSON object"},
        {"", "sampling_parameters: not a JSON object"},
        {"{\"raw_prompt\": true, \"system\": \"x\"}", "system: beside raw_prompt"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct maker m;
        maker_init(&m);
        text_add(&m, "text_input", "x");
        STRING(&m, "sampling_parameters", (char *)rows[i].json);
        expect_refusal(&m, rows[i].words);
    }
    struct maker m;
    maker_init(&m);
    text_add(&m, "text_input", "x");
    text_add(&m, "sampling_parameters", "{\"max_tokens\": 4}");
    INT64(&m, "max_tokens", 4);
    expect_refusal(&m, "max_tokens: given twice");
    m.message.n_parameters = 0;
    parameter_add(&m, "max_tokens");
    expect_refusal(&m, "parameters: max_tokens has no value");
    m.message.n_parameters = 0;
    PARAMETER(&m, "timeout", UINT64, uint64_param, UINT64_MAX);
    expect_refusal(&m, "timeout: 1.84467e+19 is not a whole number from 1 to 9223372036854775807");
    m.message.n_parameters = 0;
    PARAMETER(&m, "sampling_parameters", INT64, int64_param, 5);
    expect_refusal(&m, "sampling_parameters: not a text");
}

static void a_wrong_tensor_is_named(void **state)
{
    (void)state;
    static const struct row {
        const char *name, *datatype;
        int64_t shape;
        const char *bytes;
        size_t size;
        const char *words;
    } rows[] = {
#define ROW(name, datatype, shape, bytes, words) {name, datatype, shape, bytes, sizeof(bytes) - 1, words}
        ROW("text_input", "BYTES", 1, "\1\0\0\0x", "text_input: given twice"),
        ROW("image", "BYTES", 1, "\0\0\0\0", "image: element 0 is empty"),
        ROW("image", "BYTES", 2, "\1\0\0\0x", "image.raw_input_contents: 5 bytes end in element 1 of 2"),
        ROW("image", "BYTES", 1, "\2\0\0\0x", "image.raw_input_contents: element 0 of 2 bytes is longer than the 1"),
        ROW("image", "BYTES", 1, "\xff\xff\xff\xffx", "image.raw_input_contents: element 0 of 4294967295 bytes"),
        ROW("image", "BYTES", 1, "\1\0\0\0xy", "image.raw_input_contents: 1 bytes behind the last"),
        ROW("image", "BYTES", -1, "", "image.shape: -1 is below 0"),
        ROW("image", "BYTES", INT64_MAX, "", "image.shape: more than"),
        ROW("image", "UINT8", 1, "x", "image.datatype: \"UINT8\" is not BYTES"),
        ROW("image", "UINT8", 5000, "x", "image.datatype: \"UINT8\" is not BYTES"),
        ROW("sampling_parameters", "INT32", 1, "x", "sampling_parameters.datatype: \"INT32\" is not BYTES"),
        ROW("image", "BF16", 1, "xx", "image.datatype: \"BF16\""),
        ROW("max_tokens", "INT32", 1, "\1\0\0", "max_tokens.raw_input_contents: 3 bytes end"),
        ROW("max_tokens", "INT32", 2, "\1\0\0\0\1\0\0\0", "max_tokens: 2 values, not one"),
        ROW("max_tokens", "INT8", 1, "\xff", "max_tokens: -1 is below 1"),
        ROW("max_tokens", "UINT64", 1, "\xff\xff\xff\xff\xff\xff\xff\xff",
            "max_tokens: 1.84467e+19 is not a whole number from 1 to 1048576"),
        ROW("sampling_parameters", "BOOL", 1, "\1", "sampling_parameters.datatype: \"BOOL\" is not BYTES"),
        ROW("sampling_parameters", "BYTES", 0, "", "sampling_parameters: not one element"),
        ROW("system", "BYTES", 1, "\1\0\0\0\xff", "system: is not UTF-8"),
        ROW("colour", "INT32", 1, "\1\0\0\0", "colour: unknown; ModelMetadata"),
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct maker m;
        maker_init(&m);
        RAW(&m, "text_input", "BYTES", 1, "\1\0\0\0x");
        raw_add(&m, rows[i].name, rows[i].datatype, rows[i].shape, rows[i].bytes, rows[i].size);
        expect_refusal(&m, rows[i].words);
    }
}

static void a_wrong_whole_is_refused(void **state)
{
    (void)state;
    struct maker m;
    maker_init(&m);
    expect_refusal(&m, "text_input: missing");
    RAW(&m, "text_input", "BYTES", 1, "\2\0\0\0x\0");
    expect_refusal(&m, "text_input: is not UTF-8 without zero bytes");
    m.raw[0].data = (uint8_t *)"\2\0\0\0xy";
    m.message.model_version = "7";
    expect_refusal(&m, "model_version: \"7\"");
    m.message.model_version = "";
    m.message.n_outputs = 1;
    m.output.name = "logits";
    expect_refusal(&m, "outputs: \"logits\": unknown");
    m.message.n_outputs = 0;
    m.tensors[0].contents = &m.contents[0];
    expect_refusal(&m, "text_input.contents: given beside raw_input_contents");
    m.message.n_raw_input_contents = 0;
    expect_refusal(&m, "text_input.contents: 0 elements of BYTES for a shape of 1");
    m.message.n_raw_input_contents = 2;
    expect_refusal(&m, "raw_input_contents: 2 for 1 inputs");
    m.message.n_raw_input_contents = 1;
    m.tensors[0].contents = NULL;
    Inference__ModelInferRequest__InferInputTensor__ParametersEntry memory, *list[] = {&memory};
    inference__model_infer_request__infer_input_tensor__parameters_entry__init(&memory);
    memory.key = "shared_memory_region";
    m.tensors[0].n_parameters = 1;
    m.tensors[0].parameters = list;
    expect_refusal(&m, "text_input.parameters: shared_memory_region is not supported");
}

static int try_request(const void *data, size_t size, struct error *err)
{
    struct kserve_request request;
    int result = kserve_request_unpack(&request, data, size, err);
    assert_non_null(request.id);
    kserve_request_free(&request);
    return result;
}

static void damage_is_refused_or_harmless(void **state)
{
    (void)state;
    struct maker m;
    maker_init(&m);
    RAW(&m, "image", "BYTES", 2, "\3\0\0\0abc\2\0\0\0\0\1");
    RAW(&m, "text_input", "BYTES", 1, "\5\0\0\0What?");
    RAW(&m, "sampling_parameters", "BYTES", 1, "\x12\0\0\0{\"max_tokens\": 12}");
    INT64(&m, "draft_tokens", 3);
    struct kserve_request request = good(&m);
    kserve_request_free(&request);
    struct rpc_bytes bytes = packed(&m);
    bytes_damage(&bytes, try_request);
    free(bytes.data);
    bytes_garbage(try_request);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_question_about_pictures_is_a_turn_of_the_user),
        cmocka_unit_test(a_rendered_prompt_is_taken_as_it_is),
        cmocka_unit_test(parameters_mean_the_same_in_every_place),
        cmocka_unit_test(numbers_of_every_datatype_are_read),
        cmocka_unit_test(sampling_is_taken_exactly),
        cmocka_unit_test(lists_have_any_number_of_values),
        cmocka_unit_test(a_wrong_parameter_is_named),
        cmocka_unit_test(a_wrong_tensor_is_named),
        cmocka_unit_test(a_wrong_whole_is_refused),
        cmocka_unit_test(damage_is_refused_or_harmless),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
