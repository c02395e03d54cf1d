/* kserve_answer.c - KServe responses: text_output, the figures of an answer as parameters, metadata */
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "proto/kserve_parts.h"
#include "proto/message.h"

/* ---- answers ---- */

enum { PARAMETERS_MAX = 10 };

struct answer { /* the parts of a response that is being put together */
    Inference__ModelInferResponse message;
    Inference__ModelInferResponse__InferOutputTensor output;
    Inference__ModelInferResponse__ParametersEntry entries[PARAMETERS_MAX], *parameters[PARAMETERS_MAX];
    Inference__InferParameter values[PARAMETERS_MAX];
};

static Inference__InferParameter *parameter_add(struct answer *a, const char *name)
{
    size_t i = a->message.n_parameters++;
    assert(i < PARAMETERS_MAX);
    inference__model_infer_response__parameters_entry__init(&a->entries[i]);
    inference__infer_parameter__init(&a->values[i]);
    a->entries[i].key = message_text(name);
    a->entries[i].value = &a->values[i];
    a->parameters[i] = &a->entries[i];
    return &a->values[i];
}

static void bool_add(struct answer *a, const char *name, bool value)
{
    Inference__InferParameter *p = parameter_add(a, name);
    p->parameter_choice_case = INFERENCE__INFER_PARAMETER__PARAMETER_CHOICE_BOOL_PARAM;
    p->bool_param = value;
}

static void count_add(struct answer *a, const char *name, uint64_t value)
{
    Inference__InferParameter *p = parameter_add(a, name);
    p->parameter_choice_case = INFERENCE__INFER_PARAMETER__PARAMETER_CHOICE_INT64_PARAM;
    p->int64_param = (int64_t)value;
}

static void figures_add(struct answer *a, const struct generate_response *finished)
{
    Inference__InferParameter *reason = parameter_add(a, "finish_reason");
    reason->parameter_choice_case = INFERENCE__INFER_PARAMETER__PARAMETER_CHOICE_STRING_PARAM;
    reason->string_param = message_text(finished->reason);
    count_add(a, "prompt_tokens", (uint64_t)finished->usage.prompt_tokens);
    count_add(a, "image_tokens", (uint64_t)finished->usage.image_tokens);
    count_add(a, "completion_tokens", (uint64_t)finished->usage.completion_tokens);
    count_add(a, "cached_tokens", (uint64_t)finished->usage.cached_tokens);
    count_add(a, "seed", finished->seed);
    count_add(a, "steps", finished->speculation.steps);
    count_add(a, "drafted", finished->speculation.drafted);
    count_add(a, "accepted", finished->speculation.accepted);
}

static void head_make(struct answer *a, const char *model, const char *id)
{
    inference__model_infer_response__init(&a->message);
    inference__model_infer_response__infer_output_tensor__init(&a->output);
    a->message.model_name = message_text(model);
    a->message.model_version = message_text(*model ? KSERVE_VERSION : "");
    a->message.id = message_text(id);
    a->message.parameters = a->parameters;
}

static void response_pack(Inference__ModelInferResponse *message, const char *error, bool streamed, struct rpc_bytes *bytes)
{
    Inference__ModelStreamInferResponse stream = INFERENCE__MODEL_STREAM_INFER_RESPONSE__INIT;
    stream.infer_response = message;
    stream.error_message = message_text(error);
    message_pack(streamed ? &stream.base : &message->base, bytes);
}

void kserve_answer_pack(const struct kserve_answer *answer, bool streamed, struct rpc_bytes *bytes)
{
    struct answer a;
    size_t size = strlen(answer->text);
    uint8_t *element = mem_new(size + 4, 1);
    int64_t one = 1;
    Inference__ModelInferResponse__InferOutputTensor *outputs[] = {&a.output};
    ProtobufCBinaryData raw = {size + 4, element};
    for (unsigned i = 0; i < 4; i++)
        element[i] = (uint8_t)(size >> 8 * i);
    memcpy(element + 4, answer->text, size);
    head_make(&a, answer->model, answer->id);
    a.output.name = message_text("text_output");
    a.output.datatype = message_text(kserve_datatype(KSERVE_TEXT));
    a.output.n_shape = a.message.n_outputs = a.message.n_raw_output_contents = 1;
    a.output.shape = &one;
    a.message.outputs = outputs;
    a.message.raw_output_contents = &raw;
    if (streamed)
        bool_add(&a, "triton_final_response", answer->finished != NULL);
    if (answer->finished)
        figures_add(&a, answer->finished);
    response_pack(&a.message, "", streamed, bytes);
    free(element);
}

void kserve_error_pack(const char *id, const char *text, struct rpc_bytes *bytes)
{
    struct answer a;
    head_make(&a, "", id); /* whose request failed; nothing else */
    response_pack(&a.message, text, true, bytes);
}

/* ---- what there is ---- */

void kserve_flag_pack(bool flag, struct rpc_bytes *bytes)
{
    Inference__ServerLiveResponse m = INFERENCE__SERVER_LIVE_RESPONSE__INIT;
    m.live = flag;
    message_pack(&m.base, bytes);
}

void kserve_server_pack(const char *version, struct rpc_bytes *bytes)
{
    Inference__ServerMetadataResponse m = INFERENCE__SERVER_METADATA_RESPONSE__INIT;
    m.name = message_text("massv");
    m.version = message_text(version);
    message_pack(&m.base, bytes);
}

enum { TENSORS_MAX = 32 }; /* more than there are options */

struct metadata {
    Inference__ModelMetadataResponse__TensorMetadata tensors[TENSORS_MAX], *list[TENSORS_MAX];
    int64_t shapes[TENSORS_MAX];
    size_t n;
};

static void tensor_add(struct metadata *metadata, const char *name, enum kserve_kind kind, int64_t shape)
{
    size_t i = metadata->n++;
    Inference__ModelMetadataResponse__TensorMetadata *tensor = &metadata->tensors[i];
    inference__model_metadata_response__tensor_metadata__init(tensor);
    metadata->shapes[i] = shape;
    tensor->name = message_text(name);
    tensor->datatype = message_text(kserve_datatype(kind));
    tensor->n_shape = 1;
    tensor->shape = &metadata->shapes[i];
    metadata->list[i] = tensor;
}

void kserve_model_pack(const char *model, struct rpc_bytes *bytes)
{
    Inference__ModelMetadataResponse m = INFERENCE__MODEL_METADATA_RESPONSE__INIT;
    struct metadata metadata = {.n = 0};
    char *versions[] = {message_text(KSERVE_VERSION)};
    tensor_add(&metadata, "text_input", KSERVE_TEXT, 1);
    tensor_add(&metadata, "image", KSERVE_TEXT, -1);
    tensor_add(&metadata, "sampling_parameters", KSERVE_TEXT, 1);
    for (const struct kserve_option *option = kserve_options; option->name; option++)
        tensor_add(&metadata, option->name, option->kind, option->count ? -1 : 1);
    m.inputs = metadata.list;
    m.n_inputs = metadata.n;
    tensor_add(&metadata, "text_output", KSERVE_TEXT, 1);
    m.outputs = metadata.list + m.n_inputs;
    m.n_outputs = 1;
    m.name = message_text(model);
    m.n_versions = 1;
    m.versions = versions;
    m.platform = message_text("massv");
    message_pack(&m.base, bytes);
}
