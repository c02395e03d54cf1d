/* kserve.c - a KServe request: its tensors and parameters as a struct generate_request */
#include "proto/kserve.h"

#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "proto/kserve_parts.h"
#include "proto/message.h"

struct input { /* what the request's parts are put into */
    struct kserve_request *request;
    uint64_t given; /* options, a bit each */
    char *text;     /* text_input; NULL before */
};

/* ---- tensors ---- */

static char *text_copy(const struct kserve_value *value)
{
    char *text = mem_new(value->size + 1, 1);
    memcpy(text, value->bytes, value->size);
    return text;
}

static int text_take(struct input *input, const struct kserve_value *values, size_t n, struct error *err)
{
    if (input->text)
        return fail(err, "text_input: given twice");
    if (n != 1)
        return fail(err, "text_input: %zu elements, not one", n);
    if (!message_is_text(values->bytes, values->size))
        return fail(err, "text_input: is not UTF-8 without zero bytes");
    input->text = text_copy(values);
    return 0;
}

static int pictures_take(struct input *input, const struct kserve_value *values, size_t n, struct error *err)
{
    struct generate_request *asked = &input->request->asked;
    if (asked->pictures)
        return fail(err, "image: given twice");
    asked->pictures = mem_new(n, sizeof *asked->pictures);
    for (size_t i = 0; i < n; i++) {
        if (!values[i].size)
            return fail(err, "image: element %zu is empty", i);
        asked->pictures[i] = (struct generate_picture){mem_new(values[i].size, 1), values[i].size};
        memcpy(asked->pictures[i].bytes, values[i].bytes, values[i].size);
        asked->n_pictures = (int)i + 1;
    }
    return 0;
}

static int object_take(struct input *input, const struct kserve_value *values, size_t n, struct error *err)
{
    return n == 1 ? kserve_object_set(input->request, &input->given, values, err)
                  : fail(err, "sampling_parameters: not one element");
}

static int values_take(struct input *input, const char *name, const struct kserve_value *values, size_t n, struct error *err)
{
    if (strcmp(name, "text_input") == 0)
        return text_take(input, values, n, err);
    if (strcmp(name, "image") == 0)
        return pictures_take(input, values, n, err);
    if (strcmp(name, "sampling_parameters") == 0)
        return object_take(input, values, n, err);
    return kserve_option_set(input->request, &input->given, name, values, n, err);
}

/* Of what is no option: those may be of any datatype that says the same. */
static int datatype_check(const Inference__ModelInferRequest__InferInputTensor *tensor, struct error *err)
{
    static const char *const bytes[] = {"text_input", "image", "sampling_parameters"};
    for (size_t i = 0; i < sizeof bytes / sizeof *bytes; i++)
        if (strcmp(tensor->name, bytes[i]) == 0 && strcmp(tensor->datatype, "BYTES") != 0)
            return fail(err, "datatype: \"%.40s\" is not BYTES", tensor->datatype);
    return 0;
}

static int tensors_take(struct input *input, const Inference__ModelInferRequest *m, struct error *err)
{
    if (m->n_raw_input_contents && m->n_raw_input_contents != m->n_inputs)
        return fail(err, "raw_input_contents: %zu for %zu inputs", m->n_raw_input_contents, m->n_inputs);
    for (size_t i = 0; i < m->n_inputs; i++) {
        struct kserve_value *values;
        size_t n;
        const char *name = m->inputs[i]->name;
        if (datatype_check(m->inputs[i], err) ||
            kserve_tensor_read(m->inputs[i], m->n_raw_input_contents ? &m->raw_input_contents[i] : NULL, &values, &n, err))
            return message_within(err, "%.100s", name);
        int result = values_take(input, name, values, n, err);
        free(values);
        if (result)
            return -1;
    }
    return 0;
}

/* ---- parameters ---- */

static int parameter_value(struct kserve_value *value, const Inference__InferParameter *p)
{
    switch (p ? p->parameter_choice_case : INFERENCE__INFER_PARAMETER__PARAMETER_CHOICE__NOT_SET) {
    case INFERENCE__INFER_PARAMETER__PARAMETER_CHOICE_BOOL_PARAM:
        *value = (struct kserve_value){.kind = KSERVE_BOOL, .integer = p->bool_param != 0};
        return 0;
    case INFERENCE__INFER_PARAMETER__PARAMETER_CHOICE_INT64_PARAM:
        *value = (struct kserve_value){.kind = KSERVE_INT, .integer = p->int64_param};
        return 0;
    case INFERENCE__INFER_PARAMETER__PARAMETER_CHOICE_UINT64_PARAM:
        *value = kserve_unsigned(p->uint64_param);
        return 0;
    case INFERENCE__INFER_PARAMETER__PARAMETER_CHOICE_DOUBLE_PARAM:
        *value = (struct kserve_value){.kind = KSERVE_REAL, .real = p->double_param};
        return 0;
    case INFERENCE__INFER_PARAMETER__PARAMETER_CHOICE_STRING_PARAM:
        *value = (struct kserve_value){.kind = KSERVE_TEXT, .bytes = p->string_param, .size = strlen(p->string_param)};
        return 0;
    default:
        return -1;
    }
}

static int parameters_take(struct input *input, const Inference__ModelInferRequest *m, struct error *err)
{
    for (size_t i = 0; i < m->n_parameters; i++) {
        const char *name = m->parameters[i]->key;
        struct kserve_value value;
        if (parameter_value(&value, m->parameters[i]->value))
            return fail(err, "parameters: %.100s has no value", name);
        int result = strcmp(name, "sampling_parameters") == 0
                         ? kserve_object_set(input->request, &input->given, &value, err)
                         : kserve_option_set(input->request, &input->given, name, &value, 1, err);
        if (result)
            return -1;
    }
    return 0;
}

/* ---- the whole ---- */

/* The text is rendered already, or a turn of the user behind the pictures, as `massv generate` asks. */
static void question_make(struct kserve_request *request, char *text)
{
    struct generate_request *asked = &request->asked;
    if (request->raw_prompt) {
        asked->prompt = text;
        return;
    }
    int first = request->system != NULL;
    asked->n_turns = first + 1;
    asked->turns = mem_new((size_t)asked->n_turns, sizeof *asked->turns);
    for (int i = 0; i < asked->n_turns; i++) {
        struct generate_turn *turn = &asked->turns[i];
        bool system = i < first;
        turn->role = mem_string(system ? "system" : "user");
        turn->n_parts = system ? 1 : asked->n_pictures + 1;
        turn->parts = mem_new((size_t)turn->n_parts, sizeof *turn->parts);
        turn->parts[turn->n_parts - 1].text = system ? request->system : text;
    }
    request->system = NULL;
}

static int head_check(const Inference__ModelInferRequest *m, struct error *err)
{
    if (*m->model_version && strcmp(m->model_version, KSERVE_VERSION) != 0)
        return fail(err, "model_version: \"%.40s\" is not \"\" or \"" KSERVE_VERSION "\"", m->model_version);
    return 0;
}

/* ---- outputs ---- */

static int output_take(struct kserve_request *request, const Inference__ModelInferRequest__InferRequestedOutputTensor *m,
                       struct error *err)
{
    int i = 0;
    while (kserve_outputs[i].name && strcmp(kserve_outputs[i].name, m->name) != 0)
        i++;
    if (!kserve_outputs[i].name)
        return fail(err, "outputs: \"%.100s\": unknown; ModelMetadata lists the outputs", m->name);
    if (m->n_parameters)
        return fail(err, "outputs: %s.parameters: %.100s is not supported", m->name, m->parameters[0]->key);
    if ((i == KSERVE_LOGPROBS && request->logprobs < 0) || (kserve_outputs[i].axis == KSERVE_PER_TOP && request->logprobs < 1))
        return fail(err, "outputs: %s: the parameter logprobs must be %d at least", m->name, i == KSERVE_LOGPROBS ? 0 : 1);
    request->outputs |= 1u << i;
    return 0;
}

/* Those that are named; else the text, and what the options ask for. */
static int outputs_take(struct kserve_request *request, const Inference__ModelInferRequest *m, struct error *err)
{
    for (size_t i = 0; i < m->n_outputs; i++)
        if (output_take(request, m->outputs[i], err))
            return -1;
    if (m->n_outputs)
        return 0;
    request->outputs = 1u << KSERVE_TEXT_OUTPUT;
    if (request->logprobs >= 0)
        request->outputs |= 1u << KSERVE_TOKEN_IDS | 1u << KSERVE_LOGPROBS;
    if (request->logprobs > 0)
        request->outputs |= 1u << KSERVE_TOP_TOKEN_IDS | 1u << KSERVE_TOP_LOGPROBS;
    if (request->asked.n_outputs > 1)
        request->outputs |= 1u << KSERVE_FINISH_REASON | 1u << KSERVE_COMPLETION_TOKENS | 1u << KSERVE_SEED;
    return 0;
}

static int mode_take(struct sampling *sampling, const char *mode, struct error *err)
{
    bool coupled = strcmp(mode, "coupled") == 0;
    sampling->mode = coupled ? SAMPLING_COUPLED : SAMPLING_REJECTION;
    return coupled || strcmp(mode, "rejection") == 0 ? 0 : fail(err, "mode: \"%.40s\" is not coupled or rejection", mode);
}

static int rest_take(struct kserve_request *request, struct error *err)
{
    if (!request->only_answer)
        return fail(err, "exclude_input_in_output: false is not supported: text_output is the answer alone");
    if (request->mode && mode_take(&request->asked.sampling, request->mode, err))
        return -1;
    if (request->bias && kserve_bias_set(&request->asked.sampling, request->bias, err))
        return -1;
    if (request->auto_drafts && request->asked.draft_tokens != DRAFT_TOKENS_ABSENT)
        return fail(err, "auto_draft_tokens: beside draft_tokens");
    if (request->auto_drafts)
        request->asked.draft_tokens = DRAFT_TOKENS_AUTO;
    request->asked.sampling.logprobs = request->logprobs >= 0;
    request->asked.sampling.top_logprobs = request->logprobs > 0 ? request->logprobs : 0;
    if (request->system)
        return fail(err, "system: beside raw_prompt, which holds all turns");
    return generate_request_check(&request->asked, err);
}

static int request_take(struct kserve_request *request, const Inference__ModelInferRequest *m, struct error *err)
{
    struct input input = {.request = request};
    request->asked.request_id = mem_string("");
    request->asked.model = mem_string(m->model_name);
    if (head_check(m, err) || parameters_take(&input, m, err) || tensors_take(&input, m, err)) {
        free(input.text);
        return -1;
    }
    if (!input.text)
        return fail(err, "text_input: missing");
    question_make(request, input.text);
    return rest_take(request, err) || outputs_take(request, m, err) ? -1 : 0;
}

int kserve_request_unpack(struct kserve_request *request, const void *data, size_t size, struct error *err)
{
    *request = (struct kserve_request){
        .asked = {.draft_tokens = DRAFT_TOKENS_ABSENT}, .only_answer = true, .empty_final = true, .logprobs = -1};
    Inference__ModelInferRequest *m = message_unpack(&inference__model_infer_request__descriptor, data, size, err);
    request->id = mem_string(m ? m->id : "");
    if (!m)
        return -1;
    int result = request_take(request, m, err);
    inference__model_infer_request__free_unpacked(m, NULL);
    return result;
}

void kserve_request_free(struct kserve_request *request)
{
    generate_request_free(&request->asked);
    free(request->system);
    free(request->mode);
    free(request->bias);
    free(request->traceparent);
    free(request->id);
    *request = (struct kserve_request){.id = NULL};
}

int kserve_model_unpack(struct kserve_model *model, const void *data, size_t size, struct error *err)
{
    Inference__ModelMetadataRequest *m = message_unpack(&inference__model_metadata_request__descriptor, data, size, err);
    int result = m ? message_copy(model->name, sizeof model->name, "name", m->name, err) ||
                         message_copy(model->version, sizeof model->version, "version", m->version, err)
                   : -1;
    inference__model_metadata_request__free_unpacked(m, NULL);
    return result ? -1 : 0;
}
