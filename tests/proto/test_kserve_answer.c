/* test_kserve_answer.c - what KServe clients read: text_output, the figures beside it, the inputs that there are */
#include "tests/check.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "proto/kserve.h"
#include "proto/kserve.pb-c.h"

#define BIT(output) (1u << KSERVE_##output)

static Inference__ModelInferResponse *answered(const struct kserve_answer *answer)
{
    struct rpc_bytes bytes;
    kserve_answer_pack(answer, false, &bytes);
    Inference__ModelInferResponse *m = inference__model_infer_response__unpack(NULL, bytes.size, bytes.data);
    free(bytes.data);
    assert_non_null(m);
    return m;
}

static void answers_are_tensors_with_their_figures(void **state)
{
    (void)state;
    const struct generate_response finished = {.event = GENERATE_FINISHED,
                                               .reason = "stop",
                                               .usage = {.prompt_tokens = 5, .completion_tokens = 9},
                                               .speculation = {.accepted = 4}};
    const struct kserve_part part = {.text = "Grüße", .finished = &finished};
    const struct kserve_answer answer = {.model = "scenes", .id = "q1", .parts = &part, .n = 1, .outputs = BIT(TEXT_OUTPUT)};
    Inference__ModelInferResponse *m = answered(&answer);
    assert_string_equal(m->id, "q1");
    assert_string_equal(m->model_name, "scenes");
    assert_int_equal(m->n_outputs, 1);
    assert_string_equal(m->outputs[0]->name, "text_output");
    assert_string_equal(m->outputs[0]->datatype, "BYTES");
    assert_int_equal(m->raw_output_contents[0].len, 11);
    assert_memory_equal(m->raw_output_contents[0].data,
                        "\7\0\0\0Gr\xc3\xbc\xc3\x9f"
                        "e",
                        11);
    assert_int_equal(m->n_parameters, 9);
    assert_string_equal(m->parameters[0]->key, "finish_reason");
    assert_string_equal(m->parameters[0]->value->string_param, "stop");
    assert_string_equal(m->parameters[1]->key, "seed");
    assert_string_equal(m->parameters[8]->key, "accepted");
    assert_int_equal(m->parameters[8]->value->int64_param, 4);
    inference__model_infer_response__free_unpacked(m, NULL);
}

struct expected {
    const char *name, *datatype;
    int64_t shape[2]; /* 0: not there */
    const void *bytes;
    size_t size;
};

static void check_outputs(const Inference__ModelInferResponse *m, const struct expected *expected, size_t n)
{
    assert_int_equal(m->n_outputs, n);
    assert_int_equal(m->n_raw_output_contents, n);
    for (size_t i = 0; i < n; i++, expected++) {
        const Inference__ModelInferResponse__InferOutputTensor *tensor = m->outputs[i];
        assert_string_equal(tensor->name, expected->name);
        assert_string_equal(tensor->datatype, expected->datatype);
        assert_int_equal(tensor->n_shape, expected->shape[1] ? 2 : 1);
        assert_memory_equal(tensor->shape, expected->shape, tensor->n_shape * sizeof *tensor->shape);
        assert_int_equal(m->raw_output_contents[i].len, expected->size);
        if (expected->size)
            assert_memory_equal(m->raw_output_contents[i].data, expected->bytes, expected->size);
    }
}

/* Three tokens of one output, none of the other, and one of the last. */
static void several_outputs_stand_one_behind_the_other(void **state)
{
    (void)state;
    const struct logprobs logprobs[4] = {{.chosen = -1, .top_ids = {7, 8}, .top = {-0.5f, -1}, .n_top = 2},
                                         {.chosen = -2, .top_ids = {9}, .top = {-0.25f}, .n_top = 1},
                                         {.chosen = 0, .top_ids = {1, 2}, .top = {0, -4}, .n_top = 2},
                                         {.chosen = -3, .top_ids = {5, 6}, .top = {-2, -3}, .n_top = 2}};
    const int32_t ids[4] = {8, 300, 1, 6};
    const struct generate_response ends[3] = {
        {.reason = "stop", .usage = {5, 0, 3, 2}, .speculation = {.steps = 2, .drafted = 4, .accepted = 1}, .seed = 7},
        {.reason = "length", .usage = {5, 0, 0, 4}, .seed = 8},
        {.reason = "length", .usage = {5, 0, 1, 4}, .speculation = {.steps = 1, .drafted = 1}, .seed = UINT64_C(1) << 40}};
    const struct kserve_part parts[3] = {
        {0, "abc", ids, logprobs, 3, &ends[0]}, {1, "", NULL, NULL, 0, &ends[1]}, {2, "d", ids + 3, logprobs + 3, 1, &ends[2]}};
    const struct kserve_answer answer = {
        .model = "scenes", .id = "q1", .parts = parts, .n = 3, .outputs = (BIT(SEED) << 1) - 1, .logprobs = 2};
    Inference__ModelInferResponse *m = answered(&answer);
    const int32_t tops[8] = {7, 8, 9, -1, 1, 2, 5, 6}, counts[3] = {3, 0, 1};
    const float chosen[4] = {-1, -2, 0, -3}, top[8] = {-0.5f, -1, -0.25f, -INFINITY, 0, -4, -2, -3};
    const uint64_t seeds[3] = {7, 8, UINT64_C(1) << 40};
    const char texts[] = "\3\0\0\0abc\0\0\0\0\1\0\0\0d", reasons[] = "\4\0\0\0stop\6\0\0\0length\6\0\0\0length";
    const struct expected expected[] = {{"text_output", "BYTES", {3, 0}, texts, sizeof texts - 1},
                                        {"token_ids", "INT32", {4, 0}, ids, sizeof ids},
                                        {"logprobs", "FP32", {4, 0}, chosen, sizeof chosen},
                                        {"top_token_ids", "INT32", {4, 2}, tops, sizeof tops},
                                        {"top_logprobs", "FP32", {4, 2}, top, sizeof top},
                                        {"finish_reason", "BYTES", {3, 0}, reasons, sizeof reasons - 1},
                                        {"completion_tokens", "INT32", {3, 0}, counts, sizeof counts},
                                        {"seed", "UINT64", {3, 0}, seeds, sizeof seeds}};
    check_outputs(m, expected, sizeof expected / sizeof *expected);
    static const struct figure {
        const char *name;
        int64_t value;
    } figures[] = {{"prompt_tokens", 5}, {"image_tokens", 0}, {"cached_tokens", 2}, {"completion_tokens", 4},
                   {"steps", 3},         {"drafted", 5},      {"accepted", 1}}; /* and no reason or seed of all */
    assert_int_equal(m->n_parameters, sizeof figures / sizeof *figures);
    for (size_t i = 0; i < m->n_parameters; i++) {
        assert_string_equal(m->parameters[i]->key, figures[i].name);
        assert_int_equal(m->parameters[i]->value->int64_param, figures[i].value);
    }
    inference__model_infer_response__free_unpacked(m, NULL);
}

static void a_delta_of_one_among_several_says_which(void **state)
{
    (void)state;
    const int32_t id = 9;
    const struct kserve_part part = {.output = 3, .text = "x", .ids = &id, .n = 1};
    const struct kserve_answer answer = {.model = "scenes",
                                         .id = "q1",
                                         .parts = &part,
                                         .n = 1,
                                         .named = true,
                                         .outputs = BIT(TOKEN_IDS) | BIT(FINISH_REASON) | BIT(SEED),
                                         .logprobs = -1};
    Inference__ModelInferResponse *m = answered(&answer);
    const struct expected expected[] = {{"token_ids", "INT32", {1, 0}, &id, sizeof id}}; /* it has not ended */
    check_outputs(m, expected, 1);
    assert_int_equal(m->n_parameters, 1);
    assert_string_equal(m->parameters[0]->key, "output_index");
    assert_int_equal(m->parameters[0]->value->int64_param, 3);
    inference__model_infer_response__free_unpacked(m, NULL);
}

static void streamed_answers_say_whether_they_are_the_last(void **state)
{
    (void)state;
    const struct generate_response finished = {.event = GENERATE_FINISHED, .reason = "length"};
    for (int last = 0; last < 2; last++) {
        struct rpc_bytes bytes;
        const struct kserve_part part = {.text = "", .finished = last ? &finished : NULL};
        const struct kserve_answer answer = {
            .model = "scenes", .id = "q1", .parts = &part, .n = 1, .outputs = BIT(TEXT_OUTPUT), .last = last};
        kserve_answer_pack(&answer, true, &bytes);
        Inference__ModelStreamInferResponse *m = inference__model_stream_infer_response__unpack(NULL, bytes.size, bytes.data);
        free(bytes.data);
        assert_string_equal(m->error_message, "");
        assert_string_equal(m->infer_response->parameters[0]->key, "triton_final_response");
        assert_int_equal(m->infer_response->parameters[0]->value->bool_param, last);
        inference__model_stream_infer_response__free_unpacked(m, NULL);
    }
    struct rpc_bytes bytes;
    kserve_error_pack("q1", "UNAVAILABLE: gone", &bytes);
    const char expected[] = "\x0a\x11UNAVAILABLE: gone\x12\x04\x1a\x02q1";
    assert_int_equal(bytes.size, sizeof expected - 1);
    assert_memory_equal(bytes.data, expected, bytes.size);
    free(bytes.data);
}

static void metadata_lists_what_is_read(void **state)
{
    (void)state;
    struct rpc_bytes bytes;
    kserve_model_pack("scenes", &bytes);
    Inference__ModelMetadataResponse *m = inference__model_metadata_response__unpack(NULL, bytes.size, bytes.data);
    free(bytes.data);
    assert_string_equal(m->name, "scenes");
    assert_string_equal(m->inputs[0]->name, "text_input");
    assert_string_equal(m->inputs[1]->name, "image");
    assert_int_equal(m->inputs[1]->shape[0], -1);
    static const char *const names[] = {"text_output",  "token_ids",     "logprobs",          "top_token_ids",
                                        "top_logprobs", "finish_reason", "completion_tokens", "seed"};
    assert_true(m->n_inputs > 10 && m->n_outputs == sizeof names / sizeof *names);
    for (size_t i = 0; i < m->n_outputs; i++) {
        assert_string_equal(m->outputs[i]->name, names[i]);
        assert_int_equal(m->outputs[i]->n_shape, strncmp(names[i], "top_", 4) == 0 ? 2 : 1);
        assert_int_equal(m->outputs[i]->shape[0], -1);
    }
    inference__model_metadata_response__free_unpacked(m, NULL);
    struct kserve_model model;
    assert_int_equal(kserve_model_unpack(&model, "\x0a\x01m\x12\x01\x31", 6, NULL), 0);
    assert_string_equal(model.name, "m");
    assert_string_equal(model.version, "1");
    assert_int_equal(kserve_model_unpack(&model, "\x0a\x05m", 3, NULL), -1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(answers_are_tensors_with_their_figures),
        cmocka_unit_test(several_outputs_stand_one_behind_the_other),
        cmocka_unit_test(a_delta_of_one_among_several_says_which),
        cmocka_unit_test(streamed_answers_say_whether_they_are_the_last),
        cmocka_unit_test(metadata_lists_what_is_read),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
