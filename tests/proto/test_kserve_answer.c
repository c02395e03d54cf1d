/* test_kserve_answer.c - what KServe clients read: text_output, the figures beside it, the inputs that there are */
#include "tests/check.h"

#include <stdlib.h>
#include <string.h>

#include "proto/kserve.h"
#include "proto/kserve.pb-c.h"

static void answers_are_tensors_with_their_figures(void **state)
{
    (void)state;
    const struct generate_response finished = {.event = GENERATE_FINISHED,
                                               .reason = "stop",
                                               .usage = {.prompt_tokens = 5, .completion_tokens = 9},
                                               .speculation = {.accepted = 4}};
    struct kserve_answer answer = {"scenes", "q1", "Grüße", &finished};
    struct rpc_bytes bytes;
    kserve_answer_pack(&answer, false, &bytes);
    Inference__ModelInferResponse *m = inference__model_infer_response__unpack(NULL, bytes.size, bytes.data);
    free(bytes.data);
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
    assert_string_equal(m->parameters[8]->key, "accepted");
    assert_int_equal(m->parameters[8]->value->int64_param, 4);
    inference__model_infer_response__free_unpacked(m, NULL);
}

static void streamed_answers_say_whether_they_are_the_last(void **state)
{
    (void)state;
    const struct generate_response finished = {.event = GENERATE_FINISHED, .reason = "length"};
    for (int last = 0; last < 2; last++) {
        struct rpc_bytes bytes;
        kserve_answer_pack(&(struct kserve_answer){"scenes", "q1", "", last ? &finished : NULL}, true, &bytes);
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
    assert_string_equal(m->outputs[0]->name, "text_output");
    assert_true(m->n_inputs > 10 && m->n_outputs == 1);
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
        cmocka_unit_test(streamed_answers_say_whether_they_are_the_last),
        cmocka_unit_test(metadata_lists_what_is_read),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
