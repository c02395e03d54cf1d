/* kserve_parts.h - what the files of kserve.h share; nobody else includes it */
#ifndef PROTO_KSERVE_PARTS_H
#define PROTO_KSERVE_PARTS_H

#include "proto/kserve.h"
#include "proto/kserve.pb-c.h"

enum kserve_kind { KSERVE_BOOL, KSERVE_INT, KSERVE_REAL, KSERVE_TEXT };

struct kserve_value { /* of a parameter, a key of JSON, an element of a tensor */
    enum kserve_kind kind;
    int64_t integer; /* BOOL: 0 or 1 */
    double real;
    const void *bytes; /* TEXT: of the message, without a zero behind; never NULL */
    size_t size;
};

/* What may be given in three ways (kserve.h). */
struct kserve_option {
    const char *name;
    enum kserve_kind kind;
    size_t offset, width; /* of its field in struct kserve_request, or of an element of the list there */
    size_t count;         /* offset of that list's count; 0: there is one value, no list */
    int least;            /* of a whole number */
    unsigned given;       /* enum generate_given: it is there */
};
extern const struct kserve_option kserve_options[]; /* ends with a NULL name */

/* kserve_options.c. given: the options that came before, a bit each. */
int kserve_option_set(struct kserve_request *request, uint64_t *given, const char *name, const struct kserve_value *values,
                      size_t n, struct error *err);
/* sampling_parameters. */
int kserve_object_set(struct kserve_request *request, uint64_t *given, const struct kserve_value *json, struct error *err);
const char *kserve_datatype(enum kserve_kind kind); /* of the tensor that an option may be */

/* kserve_tensor.c: an INT, or a REAL where it is beyond int64: too large for every option. */
struct kserve_value kserve_unsigned(uint64_t number);
/* The elements (malloc'ed), which point into tensor and raw. raw is NULL where contents are in the message. */
int kserve_tensor_read(const Inference__ModelInferRequest__InferInputTensor *tensor, const ProtobufCBinaryData *raw,
                       struct kserve_value **values, size_t *n, struct error *err);

#endif
