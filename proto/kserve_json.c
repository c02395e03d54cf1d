/* kserve_json.c - the JSON in a KServe request: sampling_parameters, and logit_bias */
#include <limits.h>
#include <stdlib.h>
#include <string.h>

#include <jansson.h>

#include "base/memory.h"
#include "proto/kserve_parts.h"
#include "proto/message.h"

static int json_take(struct kserve_value *value, const json_t *json)
{
    switch (json_typeof(json)) {
    case JSON_TRUE:
    case JSON_FALSE:
        *value = (struct kserve_value){.kind = KSERVE_BOOL, .integer = json_is_true(json)};
        return 0;
    case JSON_INTEGER:
        *value = (struct kserve_value){.kind = KSERVE_INT, .integer = json_integer_value(json)};
        return 0;
    case JSON_REAL:
        *value = (struct kserve_value){.kind = KSERVE_REAL, .real = json_real_value(json)};
        return 0;
    case JSON_STRING:
        *value = (struct kserve_value){.kind = KSERVE_TEXT, .bytes = json_string_value(json), .size = json_string_length(json)};
        return 0;
    default:
        return -1; /* an array in an array, null */
    }
}

/* An object in the object: its text is the value. */
static int nested_set(struct kserve_request *request, uint64_t *given, const char *key, const json_t *member, struct error *err)
{
    char *text = json_dumps(member, JSON_COMPACT);
    struct kserve_value value = {.kind = KSERVE_OBJECT, .bytes = text ? text : "", .size = text ? strlen(text) : 0};
    int result = kserve_option_set(request, given, key, &value, 1, err);
    free(text);
    return result;
}

/* An array is a list of values, anything else a list of one. */
static int member_set(struct kserve_request *request, uint64_t *given, const char *key, const json_t *member, struct error *err)
{
    if (json_is_object(member))
        return nested_set(request, given, key, member, err);
    size_t n = json_is_array(member) ? json_array_size(member) : 1;
    struct kserve_value *values = mem_new(n, sizeof *values);
    int result = 0;
    for (size_t i = 0; i < n && !result; i++)
        if (json_take(&values[i], json_is_array(member) ? json_array_get(member, i) : member))
            result = fail(err, "%.100s: neither a number, a text nor true or false", key);
    if (!result)
        result = kserve_option_set(request, given, key, values, n, err);
    free(values);
    return result;
}

static int object_take(struct kserve_request *request, uint64_t *given, json_t *object, struct error *err)
{
    const char *key;
    json_t *member;
    json_object_foreach(object, key, member) if (member_set(request, given, key, member, err)) return -1;
    return 0;
}

int kserve_object_set(struct kserve_request *request, uint64_t *given, const struct kserve_value *json, struct error *err)
{
    json_error_t fault;
    if (json->kind != KSERVE_TEXT)
        return fail(err, "sampling_parameters: not a text");
    json_t *object = json_loadb(json->bytes, json->size, JSON_REJECT_DUPLICATES, &fault);
    if (!json_is_object(object)) {
        fail(err, "sampling_parameters: not a JSON object: %s", object ? "another value" : fault.text);
        json_decref(object);
        return -1;
    }
    int result = object_take(request, given, object, err);
    json_decref(object);
    return result ? message_within(err, "sampling_parameters") : 0;
}

/* ---- logit_bias ---- */

struct bias {
    int32_t id;
    float bias;
};

static int bias_order(const void *a, const void *b)
{
    const struct bias *x = a, *y = b;
    return (x->id > y->id) - (x->id < y->id);
}

/* The numbers may stand in quotes, as ids do. */
static int bias_read(json_t *object, struct bias *bias, struct error *err)
{
    static const struct kserve_option id_option = {.name = "token id",
                                                   .kind = KSERVE_INT,
                                                   .width = sizeof bias->id,
                                                   .most = INT_MAX},
                                      bias_option = {.name = "bias", .kind = KSERVE_REAL, .width = sizeof bias->bias};
    const char *key;
    json_t *member;
    json_object_foreach(object, key, member)
    {
        struct kserve_value id = {.kind = KSERVE_TEXT, .bytes = key, .size = strlen(key)}, value;
        if (json_take(&value, member))
            return fail(err, "\"%.40s\": neither a number nor a text", key);
        if (kserve_value_set(&bias->id, &id_option, &id, err) || kserve_value_set(&bias->bias, &bias_option, &value, err))
            return -1;
        bias++;
    }
    return 0;
}

static int bias_take(struct sampling *sampling, json_t *object, struct error *err)
{
    size_t n = json_object_size(object);
    struct bias *bias = mem_new(n, sizeof *bias);
    int result = bias_read(object, bias, err);
    if (!result && n) {
        int32_t *ids = mem_new(n, sizeof *ids);
        float *amounts = mem_new(n, sizeof *amounts);
        qsort(bias, n, sizeof *bias, bias_order);
        for (size_t i = 0; i < n; i++) {
            ids[i] = bias[i].id;
            amounts[i] = bias[i].bias;
        }
        sampling->bias_ids = ids;
        sampling->bias = amounts;
        sampling->n_bias = (int)n;
    }
    free(bias);
    return result;
}

int kserve_bias_set(struct sampling *sampling, const char *json, struct error *err)
{
    json_error_t fault;
    json_t *object = json_loads(json, JSON_REJECT_DUPLICATES, &fault);
    int result;
    if (!json_is_object(object))
        result = fail(err, "logit_bias: not a JSON object of token ids and numbers: %s", object ? "another value" : fault.text);
    else if (json_object_size(object) > SAMPLING_BIAS_IDS)
        result = fail(err, "logit_bias: %zu ids are above %d", json_object_size(object), SAMPLING_BIAS_IDS);
    else
        result = bias_take(sampling, object, err) ? message_within(err, "logit_bias") : 0;
    json_decref(object);
    return result;
}
