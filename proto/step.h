/* step.h - the messages of worker.proto as plain structs: what coordinator and worker leader say to each other. Unpacking checks
 * lengths and ranges (a peer is not trusted); what a step means is checked by the worker. Packed bytes are malloc'ed. */
#ifndef PROTO_STEP_H
#define PROTO_STEP_H

#include <stdbool.h>
#include <stdint.h>

#include "base/sampling.h"
#include "proto/rpc.h"

#define ATTACH_PATH "/massv.worker.v1.Coordinator/Attach"

/* The environment variable that may hold the token of the workers' port, where no file is named. */
#define GROUP_TOKEN_VARIABLE "MASSV_GROUP_TOKEN"
#define GROUP_NAME_VARIABLE "MASSV_GROUP_NAME"

enum { STEP_PROTOCOL = 4 };

/* A key names a page of the global layers, and with its highest bit set the page of the same positions in the local layers. */
static inline bool step_key_local(const uint64_t key[2])
{
    return key[0] >> 63;
}
static inline void step_key_of(uint64_t to[2], const uint64_t key[2], bool local)
{
    to[0] = (key[0] & UINT64_MAX >> 1) | (uint64_t)local << 63;
    to[1] = key[1];
}

struct step_hello {
    uint32_t protocol;
    char version[32];
    uint64_t model_hash[2];
    char model[128];
    int ranks, pages, page_positions, max_rows;
    char host[64], device[96];
    char group[32]; /* what its launcher calls it (GROUP_NAME_VARIABLE); "" without one */
};

struct step_picture { /* rows of a span that are a picture's */
    uint64_t hash[2];
    int first, picture_row, count;
};

struct step_span {
    uint64_t sequence;
    int n;
    int32_t *ids;            /* (n) */
    int32_t (*positions)[3]; /* (n), or NULL: all three axes count up from `position` */
    int32_t position;
    int length; /* positions the sequence has before this span; the group truncates to it */
    bool generated;
    int drafts; /* the last `drafts` ids */
    bool want_token;
    struct step_picture *pictures;
    int n_pictures;
    struct sampling sampling;
    int answered;                  /* tokens of the answer before the first that this span gives: the last ids but the drafts */
    struct draft_weights *weights; /* (drafts), or NULL: what the drafts were drawn from */
    uint64_t (*adopt)[2]; /* (n_adopt) global keys of the kept pages that a new sequence begins with; they are its `length`. Where
                             the window of its first row begins in one of them, the local pages from there on are kept, too. */
    int n_adopt;
    uint64_t (*keep)[2]; /* (n_keep) keys for pages of prompt rows that this span completes: they stay when the */
    int32_t *keep_pages; /* sequence goes. (n_keep) their numbers in the sequence, ascending, the global page before the local */
    int n_keep;
};

struct step {
    uint64_t id;
    uint64_t *release;
    int n_release;
    struct step_span *spans;
    int n_spans;
    uint64_t (*forget)[2]; /* (n_forget) keys of pages that the group keeps no longer; done first */
    int n_forget;
};

struct step_piece { /* rows [first, first + n) of a picture's features, or `forget` */
    uint64_t hash[2];
    int rows, width, first, n;
    const float *features;
    bool forget;
};

struct step_verdict {
    uint64_t step;
    struct step_answer {
        int accepted;
        int32_t next;              /* -1 = no token wanted, or scores that are not numbers */
        struct logprobs *logprobs; /* (accepted + 1), or NULL */
    } * answers;
    int n_answers;
    double compute_ms;
    char error[256]; /* not empty: the step was refused and changed nothing */
};

enum step_kind { STEP_HELLO, STEP_VERDICT, STEP_HEARTBEAT, STEP_WELCOME, STEP_STEP, STEP_PIECE };

/* One message of either direction. */
struct step_message {
    enum step_kind kind;
    struct step_hello hello;
    struct step_verdict verdict;
    uint64_t heartbeat;
    int heartbeat_ms; /* welcome */
    struct step step;
    struct step_piece piece;
    void *owner; /* what an unpacked message points into */
};

/* kind decides the direction: HELLO, VERDICT and HEARTBEAT (from_group true) or WELCOME, STEP, PIECE and HEARTBEAT (false). */
void step_message_pack(const struct step_message *message, bool from_group, struct rpc_bytes *bytes);
int step_message_unpack(struct step_message *message, const void *data, size_t size, bool from_group, struct error *err);
void step_message_free(struct step_message *message);

#endif
