/* kserve_metadata.c - KServe responses about the service and its model */
#include <assert.h>
#include <string.h>

#include "proto/kserve_parts.h"
#include "proto/message.h"

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

enum { TENSORS_MAX = 48 };

struct metadata {
    Inference__ModelMetadataResponse__TensorMetadata tensors[TENSORS_MAX], *list[TENSORS_MAX];
    int64_t shapes[TENSORS_MAX][2];
    size_t n;
};

/* last: of the shape's dimensions; there is one, or -1 before it. */
static void tensor_add(struct metadata *metadata, const char *name, const char *datatype, int64_t last, size_t dimensions)
{
    size_t i = metadata->n++;
    assert(i < TENSORS_MAX);
    Inference__ModelMetadataResponse__TensorMetadata *tensor = &metadata->tensors[i];
    inference__model_metadata_response__tensor_metadata__init(tensor);
    metadata->shapes[i][0] = metadata->shapes[i][1] = -1;
    metadata->shapes[i][dimensions - 1] = last;
    tensor->name = message_text(name);
    tensor->datatype = message_text(datatype);
    tensor->n_shape = dimensions;
    tensor->shape = metadata->shapes[i];
    metadata->list[i] = tensor;
}

void kserve_model_pack(const char *model, struct rpc_bytes *bytes)
{
    Inference__ModelMetadataResponse m = INFERENCE__MODEL_METADATA_RESPONSE__INIT;
    struct metadata metadata = {.n = 0};
    char *versions[] = {message_text(KSERVE_VERSION)};
    tensor_add(&metadata, "text_input", "BYTES", 1, 1);
    tensor_add(&metadata, "image", "BYTES", -1, 1);
    tensor_add(&metadata, "sampling_parameters", "BYTES", 1, 1);
    for (const struct kserve_option *option = kserve_options; option->name; option++)
        tensor_add(&metadata, option->name, kserve_datatype(option->kind), option->count ? -1 : 1, 1);
    m.inputs = metadata.list;
    m.n_inputs = metadata.n;
    for (const struct kserve_tensor *output = kserve_outputs; output->name; output++)
        tensor_add(&metadata, output->name, output->datatype, -1, output->axis == KSERVE_PER_TOP ? 2 : 1);
    m.outputs = metadata.list + m.n_inputs;
    m.n_outputs = metadata.n - m.n_inputs;
    m.name = message_text(model);
    m.n_versions = 1;
    m.versions = versions;
    m.platform = message_text("massv");
    message_pack(&m.base, bytes);
}
