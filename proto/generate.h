/* generate.h - the messages of massv.proto as plain structs: what the service and its clients handle. Unpacking checks everything
 * that can be checked without a model (presence, ranges, counts), naming the field; strings are valid UTF-8 without zero bytes.
 * pack functions return malloc'ed bytes; unpack functions fill a struct that its free function releases. */
#ifndef PROTO_GENERATE_H
#define PROTO_GENERATE_H

#include <stdbool.h>
#include <stdint.h>

#include "base/sampling.h"
#include "proto/rpc.h"

#define GENERATE_PATH "/massv.v1.Inference/Generate"
#define SERVER_INFO_PATH "/massv.v1.Control/GetServerInfo"
#define LOAD_PATH "/massv.v1.Control/GetLoad"
#define MODEL_INFO_PATH "/massv.v1.Control/GetModelInfo"
#define HEALTH_PATH "/massv.v1.Control/Health"
#define ABORT_PATH "/massv.v1.Control/Abort"

enum {
    DRAFT_TOKENS_MAX = 16,
    DRAFT_TOKENS_DEFAULT = 5,
    DRAFT_TOKENS_ABSENT = -1,
    DRAFT_TOKENS_AUTO = -2, /* as many as pay, step by step */
    MAX_TOKENS_DEFAULT = 256,
    GENERATE_OUTPUTS_MAX = 16,
    GENERATE_TOKENS_MAX = 1 << 20, /* of max_tokens and min_tokens */
    GENERATE_NAME_MAX = 127        /* bytes of request_id and of model */
};

struct generate_part {
    char *text; /* NULL = a picture */
};
struct generate_turn {
    char *role;
    struct generate_part *parts;
    int n_parts;
};
struct generate_picture {
    uint8_t *bytes;
    size_t size;
};

/* What a request says of its sampling; the rest is the model's default. */
enum generate_given {
    GIVEN_TEMPERATURE = 1 << 0,
    GIVEN_TOP_P = 1 << 1,
    GIVEN_TOP_K = 1 << 2,
    GIVEN_MIN_P = 1 << 3,
    GIVEN_REPETITION_PENALTY = 1 << 4,
    GIVEN_PRESENCE_PENALTY = 1 << 5,
    GIVEN_FREQUENCY_PENALTY = 1 << 6,
    GIVEN_SEED = 1 << 7,
    GIVEN_MODE = 1 << 8
};

struct generate_request {
    char *request_id, *model; /* "" where absent */
    char *prompt;             /* exactly one of prompt, ids, turns is there */
    int32_t *ids;
    int n_ids;
    struct generate_turn *turns;
    int n_turns;
    struct generate_picture *pictures;
    int n_pictures;
    struct sampling sampling; /* bias_ids and bias are malloc'ed; logprobs are off where absent */
    unsigned given;           /* enum generate_given: which of its numbers are there */
    int max_tokens;           /* 0 = absent */
    int32_t *stop_ids;
    int n_stop_ids;
    char **stop_strings;
    int n_stop_strings;
    int min_tokens; /* 0 = none */
    bool ignore_eos;
    bool drafts;
    int n_outputs;    /* 0 = absent: 1 */
    int draft_tokens; /* 0..DRAFT_TOKENS_MAX, DRAFT_TOKENS_ABSENT, DRAFT_TOKENS_AUTO */
};

struct generate_usage {
    int prompt_tokens, image_tokens, completion_tokens, cached_tokens;
};
struct generate_speculation {
    int draft_tokens_per_step; /* or DRAFT_TOKENS_AUTO */
    uint64_t steps, drafted, accepted;
    uint64_t accepted_per_position[DRAFT_TOKENS_MAX];
    const char *drafter, *inactive;
};
struct generate_timing {
    double queue, image, prefill, first_token, decode, total; /* ms */
};

enum generate_event { GENERATE_PROMPT, GENERATE_TOKEN, GENERATE_FINISHED };

struct generate_response {
    const char *request_id;
    enum generate_event event;
    int output; /* which of the request's outputs; 0 for GENERATE_PROMPT */
    /* GENERATE_PROMPT: usage's prompt_tokens and image_tokens, and the grids. */
    const int (*grids)[2];
    int n_grids;
    /* GENERATE_TOKEN */
    const int32_t *ids;
    int n_ids;
    const char *text;
    const bool *accepted;            /* (n_ids), or NULL */
    const char *const *token_texts;  /* (n_ids), or NULL */
    const char *rejected_text;       /* "" or the text */
    const struct logprobs *logprobs; /* (n_ids), or NULL */
    /* GENERATE_FINISHED */
    const char *reason;
    const char *stop_match; /* "" unless the reason is stop */
    struct generate_usage usage;
    struct generate_speculation speculation;
    struct generate_timing timing;
    uint64_t seed;
    void *owner; /* of an unpacked message */
};

int generate_request_pack(const struct generate_request *request, struct rpc_bytes *bytes, struct error *err);
int generate_request_unpack(struct generate_request *request, const void *data, size_t size, struct error *err);
/* What unpack checks, for a request that came from elsewhere; its texts are UTF-8. */
int generate_request_check(const struct generate_request *request, struct error *err);
void generate_request_free(struct generate_request *request);

void generate_response_pack(const struct generate_response *response, struct rpc_bytes *bytes);
int generate_response_unpack(struct generate_response *response, const void *data, size_t size, struct error *err);
void generate_response_free(struct generate_response *response);

enum { ACTIVITY_GROUPS = 32 };
struct group_activity {
    int group; /* its place */
    char host[64], device[96];
    int ranks, running;
    bool attached;
    uint64_t steps;
    double kv_usage, step_seconds, compute_seconds;
};
struct server_activity { /* massv.proto says what each is */
    double uptime, kv_usage, kv_cached;
    uint64_t prompt_tokens, generation_tokens, answered, failed, draft_rounds, drafted, accepted, prefix_queries, prefix_hits;
    struct group_activity groups[ACTIVITY_GROUPS];
    int n_groups;
};
struct server_info {
    char version[32];
    int groups, ranks_per_group;
    int64_t kv_positions;
    int running, waiting, draft_tokens;
    uint64_t preemptions;
    char device[96];
    char group_devices[8][96]; /* of the first groups */
    struct server_activity activity;
};
struct load_info {
    int running, max_running, waiting, max_waiting;
    int64_t kv_positions, kv_positions_reserved, kv_positions_cached;
};
struct model_info {
    char model[128], family[32], drafter[128], drafter_kind[16];
    int max_positions, vocabulary;
    char fingerprint[40]; /* 32 hexadecimal digits */
};
struct health_info {
    char state[16];
    char reason[256]; /* "" when READY */
};

void server_info_pack(const struct server_info *info, struct rpc_bytes *bytes);
int server_info_unpack(struct server_info *info, const void *data, size_t size, struct error *err);
void load_info_pack(const struct load_info *info, struct rpc_bytes *bytes);
int load_info_unpack(struct load_info *info, const void *data, size_t size, struct error *err);
void model_info_pack(const struct model_info *info, struct rpc_bytes *bytes);
int model_info_unpack(struct model_info *info, const void *data, size_t size, struct error *err);
void health_info_pack(const struct health_info *info, struct rpc_bytes *bytes);
int health_info_unpack(struct health_info *info, const void *data, size_t size, struct error *err);
void abort_request_pack(const char *request_id, struct rpc_bytes *bytes);
int abort_request_unpack(char request_id[GENERATE_NAME_MAX + 1], const void *data, size_t size, struct error *err);
void abort_response_pack(bool aborted, struct rpc_bytes *bytes);
int abort_response_unpack(bool *aborted, const void *data, size_t size, struct error *err);

#endif
