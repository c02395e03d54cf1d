/* kserve.h - the messages of kserve.proto: a question as tensors becomes a struct generate_request, and its answer a tensor again.
 *
 * Inputs are text_input (BYTES [1]), image (BYTES [n], picture files) and the options of kserve_options.c: each of those may be a
 * tensor, a parameter of the request, or a key of sampling_parameters, a JSON object in a string. The one output is text_output. */
#ifndef PROTO_KSERVE_H
#define PROTO_KSERVE_H

#include "proto/generate.h"

#define KSERVE_LIVE_PATH "/inference.GRPCInferenceService/ServerLive"
#define KSERVE_READY_PATH "/inference.GRPCInferenceService/ServerReady"
#define KSERVE_MODEL_READY_PATH "/inference.GRPCInferenceService/ModelReady"
#define KSERVE_SERVER_PATH "/inference.GRPCInferenceService/ServerMetadata"
#define KSERVE_MODEL_PATH "/inference.GRPCInferenceService/ModelMetadata"
#define KSERVE_INFER_PATH "/inference.GRPCInferenceService/ModelInfer"
#define KSERVE_STREAM_PATH "/inference.GRPCInferenceService/ModelStreamInfer"

#define KSERVE_VERSION "1" /* of the one model; "" asks for any */

struct kserve_request {
    char *id; /* "" where absent */
    struct generate_request asked;
    char *system;     /* a turn before the question; NULL where absent */
    char *mode;       /* coupled, rejection; NULL where absent */
    bool stream;      /* deltas, not one answer */
    bool raw_prompt;  /* text_input is already rendered by the chat template */
    int64_t timeout;  /* microseconds; 0 = absent */
    bool only_answer; /* always so */
    bool empty_final; /* always so */
};

/* An error names the tensor or parameter. Whatever it returns, id is there (as far as the bytes could be read) and
 * kserve_request_free must follow. */
int kserve_request_unpack(struct kserve_request *request, const void *data, size_t size, struct error *err);
void kserve_request_free(struct kserve_request *request);

struct kserve_answer {
    const char *model, *id;
    const char *text;                         /* all of it, or what has come since the last answer */
    const struct generate_response *finished; /* NULL: more will come */
};
/* streamed: as ModelStreamInferResponse. */
void kserve_answer_pack(const struct kserve_answer *answer, bool streamed, struct rpc_bytes *bytes);
/* A ModelStreamInferResponse. */
void kserve_error_pack(const char *id, const char *text, struct rpc_bytes *bytes);

/* ServerLive, ServerReady and ModelReady have responses of the same bytes. */
void kserve_flag_pack(bool flag, struct rpc_bytes *bytes);
void kserve_server_pack(const char *version, struct rpc_bytes *bytes);
void kserve_model_pack(const char *model, struct rpc_bytes *bytes);
/* ModelReady and ModelMetadata ask alike. */
struct kserve_model {
    char name[GENERATE_NAME_MAX + 1], version[GENERATE_NAME_MAX + 1];
};
int kserve_model_unpack(struct kserve_model *model, const void *data, size_t size, struct error *err);

#endif
