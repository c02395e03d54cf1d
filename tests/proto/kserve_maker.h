/* kserve_maker.h - KServe requests that are put together part by part, and what becomes of them */
#ifndef TESTS_PROTO_KSERVE_MAKER_H
#define TESTS_PROTO_KSERVE_MAKER_H

#include "proto/kserve.h"
#include "proto/kserve.pb-c.h"
#include "tests/proto/bytes.h"

enum { PARTS = 8 };

struct maker { /* a request that is being put together */
    Inference__ModelInferRequest message;
    Inference__ModelInferRequest__InferInputTensor tensors[PARTS], *inputs[PARTS];
    Inference__InferTensorContents contents[PARTS];
    ProtobufCBinaryData raw[PARTS], texts[PARTS];
    int64_t shapes[PARTS];
    Inference__ModelInferRequest__ParametersEntry entries[PARTS], *parameters[PARTS];
    Inference__InferParameter values[PARTS];
    Inference__ModelInferRequest__InferRequestedOutputTensor output, *outputs[1];
};

static inline void maker_init(struct maker *m)
{
    memset(m, 0, sizeof *m);
    inference__model_infer_request__init(&m->message);
    inference__model_infer_request__infer_requested_output_tensor__init(&m->output);
    m->message.inputs = m->inputs;
    m->message.parameters = m->parameters;
    m->message.raw_input_contents = m->raw;
    m->message.outputs = m->outputs;
    m->outputs[0] = &m->output;
    m->message.model_name = "scenes";
    m->message.id = "q1";
}

static inline size_t tensor_add(struct maker *m, const char *name, const char *datatype, int64_t shape)
{
    size_t i = m->message.n_inputs++;
    inference__model_infer_request__infer_input_tensor__init(&m->tensors[i]);
    inference__infer_tensor_contents__init(&m->contents[i]);
    m->shapes[i] = shape;
    m->tensors[i].name = (char *)name;
    m->tensors[i].datatype = (char *)datatype;
    m->tensors[i].n_shape = 1;
    m->tensors[i].shape = &m->shapes[i];
    m->inputs[i] = &m->tensors[i];
    return i;
}

static inline void raw_add(struct maker *m, const char *name, const char *datatype, int64_t shape, const char *bytes, size_t size)
{
    size_t i = tensor_add(m, name, datatype, shape);
    m->raw[i] = (ProtobufCBinaryData){size, (uint8_t *)bytes};
    m->message.n_raw_input_contents++;
}
#define RAW(m, name, datatype, shape, bytes) raw_add(m, name, datatype, shape, bytes, sizeof(bytes) - 1)

static inline Inference__InferTensorContents *contents_add(struct maker *m, const char *name, const char *datatype)
{
    size_t i = tensor_add(m, name, datatype, 1);
    m->tensors[i].contents = &m->contents[i];
    return &m->contents[i];
}

static inline void text_add(struct maker *m, const char *name, const char *text)
{
    Inference__InferTensorContents *contents = contents_add(m, name, "BYTES");
    ProtobufCBinaryData *element = &m->texts[m->message.n_inputs - 1];
    *element = (ProtobufCBinaryData){strlen(text), (uint8_t *)text};
    contents->n_bytes_contents = 1;
    contents->bytes_contents = element;
}

static inline Inference__InferParameter *parameter_add(struct maker *m, const char *name)
{
    size_t i = m->message.n_parameters++;
    inference__model_infer_request__parameters_entry__init(&m->entries[i]);
    inference__infer_parameter__init(&m->values[i]);
    m->entries[i].key = (char *)name;
    m->entries[i].value = &m->values[i];
    m->parameters[i] = &m->entries[i];
    return &m->values[i];
}

#define PARAMETER(m, name, CASE, field, what)                                                                                      \
    do {                                                                                                                           \
        Inference__InferParameter *parameter_ = parameter_add(m, name);                                                            \
        parameter_->parameter_choice_case = INFERENCE__INFER_PARAMETER__PARAMETER_CHOICE_##CASE##_PARAM;                           \
        parameter_->field = what;                                                                                                  \
    } while (0)
#define INT64(m, name, what) PARAMETER(m, name, INT64, int64_param, what)
#define STRING(m, name, what) PARAMETER(m, name, STRING, string_param, what)

static inline struct rpc_bytes packed(const struct maker *m)
{
    struct rpc_bytes bytes;
    bytes.size = inference__model_infer_request__get_packed_size(&m->message);
    bytes.data = mem_new(bytes.size, 1);
    inference__model_infer_request__pack(&m->message, bytes.data);
    return bytes;
}

static inline int made(const struct maker *m, struct kserve_request *request, struct error *err)
{
    struct rpc_bytes bytes = packed(m);
    int result = kserve_request_unpack(request, bytes.data, bytes.size, err);
    free(bytes.data); /* nothing points into the bytes */
    assert_string_equal(request->id, m->message.id);
    return result;
}

static inline struct kserve_request good(const struct maker *m)
{
    struct kserve_request request;
    struct error err;
    if (made(m, &request, &err) != 0)
        fail_msg("%s", err.text);
    return request;
}

static inline void expect_refusal(const struct maker *m, const char *words)
{
    struct kserve_request request;
    struct error err = {""};
    if (made(m, &request, &err) == 0)
        fail_msg("accepted; it should say \"%s\"", words);
    if (!strstr(err.text, words))
        fail_msg("\"%s\" does not say \"%s\"", err.text, words);
    kserve_request_free(&request);
}

#endif
