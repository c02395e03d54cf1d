/* kserve_parts.h - what the files of kserve.h share; nobody else includes it */
#ifndef PROTO_KSERVE_PARTS_H
#define PROTO_KSERVE_PARTS_H

#include "proto/kserve.h"
#include "proto/kserve.pb-c.h"

enum kserve_kind { KSERVE_BOOL, KSERVE_INT, KSERVE_REAL, KSERVE_TEXT, KSERVE_OBJECT }; /* OBJECT: of JSON, as its text */

struct kserve_value { /* of a parameter, a key of JSON, an element of a tensor */
    enum kserve_kind kind;
    int64_t integer; /* BOOL: 0 or 1 */
    double real;
    const void *bytes; /* TEXT, OBJECT: without a zero behind; never NULL */
    size_t size;
};

/* What may be given in three ways (kserve.h). */
struct kserve_option {
    const char *name;
    enum kserve_kind kind;
    size_t offset, width; /* of its field in struct kserve_request, or of an element of the list there */
    size_t count;         /* offset of that list's count; 0: there is one value, no list */
    int64_t least, most;  /* of a whole number */
    unsigned given;       /* enum generate_given: it is there */
};
extern const struct kserve_option kserve_options[]; /* ends with a NULL name */

/* kserve_options.c. given: the options that came before, a bit each. */
int kserve_option_set(struct kserve_request *request, uint64_t *given, const char *name, const struct kserve_value *values,
                      size_t n, struct error *err);
/* A value of the option's kind into its field. */
int kserve_value_set(void *field, const struct kserve_option *option, const struct kserve_value *value, struct error *err);
const char *kserve_datatype(enum kserve_kind kind); /* of the tensor that an option may be */

/* kserve_json.c: sampling_parameters; and logit_bias, an object of token ids and numbers, to `sampling`, ids ascending. */
int kserve_object_set(struct kserve_request *request, uint64_t *given, const struct kserve_value *json, struct error *err);
int kserve_bias_set(struct sampling *sampling, const char *json, struct error *err);

/* kserve_answer.c, in the order of enum kserve_output; ends with a NULL name. */
struct kserve_tensor {
    const char *name, *datatype;
    enum kserve_axis { KSERVE_PER_OUTPUT, KSERVE_PER_TOKEN, KSERVE_PER_TOP } axis;
};
extern const struct kserve_tensor kserve_outputs[];

/* kserve_tensor.c: an INT, or a REAL where it is beyond int64: too large for every option. */
struct kserve_value kserve_unsigned(uint64_t number);
/* The elements (malloc'ed), which point into tensor and raw. raw is NULL where contents are in the message. */
int kserve_tensor_read(const Inference__ModelInferRequest__InferInputTensor *tensor, const ProtobufCBinaryData *raw,
                       struct kserve_value **values, size_t *n, struct error *err);

#endif
