/* kserve.h - the messages of kserve.proto: a question as tensors becomes a struct generate_request, and its answer a tensor again.
 *
 * Inputs are text_input (BYTES [1]), image (BYTES [n], picture files) and the options of kserve_options.c: each of those may be a
 * tensor, a parameter of the request, or a key of sampling_parameters, a JSON object in a string. Outputs are enum kserve_output.
 */
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

/* Tensors of an answer about n outputs of t tokens in all, those of the first output first. */
enum kserve_output {
    KSERVE_TEXT_OUTPUT,       /* BYTES [n] */
    KSERVE_TOKEN_IDS,         /* INT32 [t] */
    KSERVE_LOGPROBS,          /* FP32 [t], as massv.proto's TokenLogprobs */
    KSERVE_TOP_TOKEN_IDS,     /* INT32 [t, logprobs] */
    KSERVE_TOP_LOGPROBS,      /* FP32 [t, logprobs] */
    KSERVE_FINISH_REASON,     /* BYTES [n]; this and the next two: only of outputs that have ended */
    KSERVE_COMPLETION_TOKENS, /* INT32 [n]: how many of the t are each output's */
    KSERVE_SEED               /* UINT64 [n] */
};

struct kserve_request {
    char *id; /* "" where absent */
    struct generate_request asked;
    unsigned outputs;  /* a bit for each enum kserve_output that the answer shall have */
    char *system;      /* a turn before the question; NULL where absent */
    char *mode;        /* coupled, rejection; NULL where absent */
    char *bias;        /* JSON; NULL where absent */
    int logprobs;      /* of the most probable tokens; -1 = none at all */
    bool auto_drafts;  /* DRAFT_TOKENS_AUTO */
    char *traceparent; /* of this request, not of its call; NULL where absent */
    bool stream;       /* deltas, not one answer */
    bool raw_prompt;   /* text_input is already rendered by the chat template */
    int64_t timeout;   /* microseconds; 0 = absent */
    bool only_answer;  /* always so */
    bool empty_final;  /* the last delta may have no text, only figures */
};

/* An error names the tensor or parameter. Whatever it returns, id is there (as far as the bytes could be read) and
 * kserve_request_free must follow. */
int kserve_request_unpack(struct kserve_request *request, const void *data, size_t size, struct error *err);
void kserve_request_free(struct kserve_request *request);

struct kserve_part { /* of one output: all of it, or what has come since the last answer */
    int output;
    const char *text;
    const int32_t *ids;              /* (n) */
    const struct logprobs *logprobs; /* (n), or NULL: not asked for */
    int n;
    const struct generate_response *finished; /* its event; NULL: more will come */
};
struct kserve_answer {
    const char *model, *id;
    const struct kserve_part *parts; /* (n): of all outputs, or of one among several */
    int n;
    bool named;       /* says which output its one part is of */
    unsigned outputs; /* bits of enum kserve_output */
    int logprobs;     /* of the request */
    bool last;        /* no other answer to the request follows */
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
