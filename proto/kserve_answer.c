/* kserve_answer.c - KServe answers: tensors of texts and tokens, figures as parameters */
#include <assert.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "proto/kserve_parts.h"
#include "proto/message.h"

/* ---- outputs ---- */

const struct kserve_tensor kserve_outputs[] = {
    [KSERVE_TEXT_OUTPUT] = {"text_output", "BYTES", KSERVE_PER_OUTPUT},
    [KSERVE_TOKEN_IDS] = {"token_ids", "INT32", KSERVE_PER_TOKEN},
    [KSERVE_LOGPROBS] = {"logprobs", "FP32", KSERVE_PER_TOKEN},
    [KSERVE_TOP_TOKEN_IDS] = {"top_token_ids", "INT32", KSERVE_PER_TOP},
    [KSERVE_TOP_LOGPROBS] = {"top_logprobs", "FP32", KSERVE_PER_TOP},
    [KSERVE_FINISH_REASON] = {"finish_reason", "BYTES", KSERVE_PER_OUTPUT},
    [KSERVE_COMPLETION_TOKENS] = {"completion_tokens", "INT32", KSERVE_PER_OUTPUT},
    [KSERVE_SEED] = {"seed", "UINT64", KSERVE_PER_OUTPUT},
    {0},
};
enum { OUTPUTS_MAX = sizeof kserve_outputs / sizeof *kserve_outputs - 1 };

struct elements { /* of a tensor, as raw_output_contents has them */
    uint8_t *data;
    size_t size;
};

static void bytes_put(struct elements *e, const void *bytes, size_t size)
{
    e->data = mem_grow(e->data, e->size + size, 1);
    if (size)
        memcpy(e->data + e->size, bytes, size);
    e->size += size;
}

/* The low `width` bytes, little-endian. */
static void bits_put(struct elements *e, uint64_t bits, size_t width)
{
    uint8_t bytes[8];
    for (size_t i = 0; i < width; i++)
        bytes[i] = (uint8_t)(bits >> 8 * i);
    bytes_put(e, bytes, width);
}

static void real_put(struct elements *e, float number)
{
    uint32_t bits;
    memcpy(&bits, &number, sizeof bits);
    bits_put(e, bits, sizeof bits);
}

static void text_put(struct elements *e, const char *text)
{
    bits_put(e, strlen(text), 4);
    bytes_put(e, text, strlen(text));
}

static void part_put(struct elements *e, enum kserve_output output, const struct kserve_part *part)
{
    if (output == KSERVE_TEXT_OUTPUT)
        text_put(e, part->text);
    else if (output == KSERVE_FINISH_REASON)
        text_put(e, part->finished->reason);
    else if (output == KSERVE_COMPLETION_TOKENS)
        bits_put(e, (uint64_t)part->finished->usage.completion_tokens, 4);
    else
        bits_put(e, part->finished->seed, 8);
}

/* Where a model has fewer tokens than are asked for, the rest is -1 with probability 0. */
static void token_put(struct elements *e, enum kserve_output output, const struct kserve_part *part, int i, int top)
{
    const struct logprobs *l = part->logprobs ? &part->logprobs[i] : NULL;
    if (output == KSERVE_TOKEN_IDS)
        bits_put(e, (uint32_t)part->ids[i], 4);
    else if (output == KSERVE_LOGPROBS)
        real_put(e, l->chosen);
    for (int k = 0; k < top && output == KSERVE_TOP_TOKEN_IDS; k++)
        bits_put(e, (uint32_t)(k < l->n_top ? l->top_ids[k] : -1), 4);
    for (int k = 0; k < top && output == KSERVE_TOP_LOGPROBS; k++)
        real_put(e, k < l->n_top ? l->top[k] : -INFINITY);
}

/* ---- answers ---- */

enum { PARAMETERS_MAX = 11 };

struct answer { /* the parts of a response that is being put together */
    Inference__ModelInferResponse message;
    Inference__ModelInferResponse__InferOutputTensor tensors[OUTPUTS_MAX], *outputs[OUTPUTS_MAX];
    int64_t shapes[OUTPUTS_MAX][2];
    ProtobufCBinaryData raw[OUTPUTS_MAX];
    Inference__ModelInferResponse__ParametersEntry entries[PARAMETERS_MAX], *parameters[PARAMETERS_MAX];
    Inference__InferParameter values[PARAMETERS_MAX];
};

static void output_add(struct answer *a, enum kserve_output output, const struct kserve_answer *answer)
{
    const struct kserve_tensor *kind = &kserve_outputs[output];
    size_t at = a->message.n_outputs++;
    Inference__ModelInferResponse__InferOutputTensor *tensor = a->outputs[at] = &a->tensors[at];
    struct elements e = {NULL, 0};
    int64_t count = 0;
    for (int p = 0; p < answer->n; p++) {
        const struct kserve_part *part = &answer->parts[p];
        int n = kind->axis == KSERVE_PER_OUTPUT ? 1 : part->n;
        for (int i = 0; i < n; i++) {
            if (kind->axis == KSERVE_PER_OUTPUT)
                part_put(&e, output, part);
            else
                token_put(&e, output, part, i, answer->logprobs);
        }
        count += n;
    }
    inference__model_infer_response__infer_output_tensor__init(tensor);
    tensor->name = message_text(kind->name);
    tensor->datatype = message_text(kind->datatype);
    a->shapes[at][0] = count;
    a->shapes[at][1] = answer->logprobs;
    tensor->shape = a->shapes[at];
    tensor->n_shape = kind->axis == KSERVE_PER_TOP ? 2 : 1;
    a->raw[at] = (ProtobufCBinaryData){e.size, e.data};
    a->message.n_raw_output_contents = a->message.n_outputs;
}

/* Ends of outputs have tensors of their own where all of the answer's outputs have ended. */
static void outputs_add(struct answer *a, const struct kserve_answer *answer)
{
    bool ended = true;
    for (int i = 0; i < answer->n; i++)
        ended = ended && answer->parts[i].finished;
    for (int output = 0; output < OUTPUTS_MAX; output++)
        if (answer->outputs >> output & 1 && (ended || output < KSERVE_FINISH_REASON))
            output_add(a, (enum kserve_output)output, answer);
}

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

/* Sums over outputs; what each has of its own only where there is one. */
static void figures_add(struct answer *a, const struct kserve_part *parts, int n)
{
    const struct generate_response *first = parts[0].finished;
    struct generate_speculation sum = {.steps = 0};
    int tokens = 0;
    for (int i = 0; i < n; i++) {
        const struct generate_response *f = parts[i].finished;
        tokens += f->usage.completion_tokens;
        sum.steps += f->speculation.steps;
        sum.drafted += f->speculation.drafted;
        sum.accepted += f->speculation.accepted;
    }
    if (n == 1) {
        Inference__InferParameter *reason = parameter_add(a, "finish_reason");
        reason->parameter_choice_case = INFERENCE__INFER_PARAMETER__PARAMETER_CHOICE_STRING_PARAM;
        reason->string_param = message_text(first->reason);
        count_add(a, "seed", first->seed);
    }
    count_add(a, "prompt_tokens", (uint64_t)first->usage.prompt_tokens);
    count_add(a, "image_tokens", (uint64_t)first->usage.image_tokens);
    count_add(a, "cached_tokens", (uint64_t)first->usage.cached_tokens);
    count_add(a, "completion_tokens", (uint64_t)tokens);
    count_add(a, "steps", sum.steps);
    count_add(a, "drafted", sum.drafted);
    count_add(a, "accepted", sum.accepted);
}

static void head_make(struct answer *a, const char *model, const char *id)
{
    inference__model_infer_response__init(&a->message);
    a->message.model_name = message_text(model);
    a->message.model_version = message_text(*model ? KSERVE_VERSION : "");
    a->message.id = message_text(id);
    a->message.parameters = a->parameters;
    a->message.outputs = a->outputs;
    a->message.raw_output_contents = a->raw;
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
    head_make(&a, answer->model, answer->id);
    outputs_add(&a, answer);
    if (streamed)
        bool_add(&a, "triton_final_response", answer->last);
    if (answer->named)
        count_add(&a, "output_index", (uint64_t)answer->parts[0].output);
    if (answer->parts[0].finished)
        figures_add(&a, answer->parts, answer->n);
    response_pack(&a.message, "", streamed, bytes);
    for (size_t i = 0; i < a.message.n_outputs; i++)
        free(a.raw[i].data);
}

void kserve_error_pack(const char *id, const char *text, struct rpc_bytes *bytes)
{
    struct answer a;
    head_make(&a, "", id); /* whose request failed; nothing else */
    response_pack(&a.message, text, true, bytes);
}
