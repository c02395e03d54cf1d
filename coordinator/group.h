/* group.h - one worker group as the scheduler sees it: what it said in its hello, the room it has left, the pictures it holds, the
 * step it works on. The wire behind it is a link (attach.c), or what a test puts there. Only the scheduler's thread comes here. */
#ifndef COORDINATOR_GROUP_H
#define COORDINATOR_GROUP_H

#include "coordinator/pace.h"
#include "coordinator/page_cache.h"
#include "coordinator/request.h"
#include "model/kv_layout.h"
#include "proto/step.h"
#include "speculate/draft_length.h"

struct link_calls { /* none of them blocks */
    void (*send)(void *call, const struct step_message *message);
    void (*finish)(void *call, enum rpc_status status, const char *message);
    void (*drop)(void *call);
};
struct link {
    const struct link_calls *calls;
    void *call;
    uint64_t number; /* of the coordinator; never used twice */
    char peer[96];
};

/* What a group must be to serve here. */
struct identity {
    char model[128];
    uint64_t fingerprint[2];
    int feature_width; /* d of the target: of picture features */
    int vocabulary;
    struct kv_layout layout; /* of the target's cache */
};

enum span_kind {
    SPAN_PROMPT, /* a chunk of the prompt; its last one gives the first token */
    SPAN_REPLAY, /* tokens of the answer that a lost group had computed, as generated rows */
    SPAN_VERIFY  /* the last token and its drafts */
};

struct flight { /* the step that the group works on; no step when id = 0 */
    uint64_t id;
    double since;       /* it was built and sent */
    double begun;       /* since, or when the step before it had ended if nobody waited between them */
    double drafting_ms; /* of it before it was sent */
    struct flight_span {
        struct request *request; /* NULL: it ended meanwhile */
        enum span_kind kind;
        int rows, drafts; /* the drafts are the request's */
        bool want_token;
        bool begins; /* the first of its sequence */
    } * spans;
    int n_spans;
    uint64_t *release; /* sequences that it lets go */
    int n_release;
    uint64_t (*forget)[2]; /* pages that it keeps no longer */
    int n_forget;
};

struct group_picture {
    uint64_t hash[2];
    int uses; /* by running requests */
    bool sent;
};

struct group {
    struct link link;
    bool attached; /* its hello was accepted */
    int place;     /* in the metrics; -1 = none */
    struct step_hello hello;
    double opened, heard;    /* when it dialled in, was last heard */
    struct kv_layout layout; /* of its cache, with its own page_positions */
    int blocks_free;         /* held by no request, and not in the cache */
    struct page_cache *cache;
    int first;        /* of the running requests: whose turn it is when rows are short */
    uint64_t owed;    /* number of a request that got no rows, or too few for its next picture: its turn is next; 0 = nobody */
    int owed_rows;    /* of the next step that answers leave to prompts */
    bool refused;     /* the last step was, and what it was to let go of goes alone */
    struct pace pace; /* of its steps */
    struct cost_curve beside; /* ms of a step without drafts by its requests, beside what the group computes */
    struct {                  /* what drafts add to that, beside what the drafter takes; older ones count less */
        double ms, drafts;
    } beside_drafts;
    double landed; /* when the last step ended; 0: there was nothing to do then */
    struct draft_length draft_length;
    struct flight flight;
    uint64_t *release; /* for the next step */
    int n_release;
    uint64_t (*forget)[2]; /* likewise: pages that were given up */
    int n_forget;
    struct group_picture *pictures;
    int n_pictures;
};

struct group *group_new(const struct link *link, double now);
void group_free(struct group *group); /* drops the link */

/* 0 if the group may serve; else the reason, with both sides named. */
int group_check(const struct identity *identity, const struct step_hello *hello, struct error *err);

/* What is wrong with a group that is silent or too slow: NULL while nothing is. */
enum { GROUP_HELLO_SECONDS = 10, GROUP_SILENCE_SECONDS = 3, GROUP_BEAT_MS = 500 };
const char *group_fault(const struct group *group, double step_seconds, double now);

/* Memory is counted in blocks (model/kv_layout.h). What a request of so many positions holds; all that the group has; and what
 * could be had: free ones, and what is only cached. */
int group_blocks(const struct group *group, int positions);
int group_blocks_all(const struct group *group);
int group_room(const struct group *group);

/* Positions that so many blocks are, were they all held in every layer. */
int64_t group_positions(const struct group *group, int blocks);

/* Makes so many blocks free, for which there must be room: idle pages of the cache are given up for it. */
void group_free_blocks(struct group *group, int blocks);

/* Makes the request hold the blocks of so many positions, its own included. false, and nothing is changed, when there is no room.
 * It keeps them until it leaves. */
bool group_hold(struct group *group, struct request *request, int positions);
/* The most positions that a request could hold alone here, and that this one could hold now. */
int group_most(const struct group *group);
int group_reach(const struct group *group, const struct request *request);

/* Takes a request in: the blocks of its known rows, for which there must be room but for those that it takes over (prefix.h), a new
 * sequence, its pictures. And lets it go; both sides forget it with the next step. */
void group_enter(struct group *group, struct request *request, uint64_t sequence);
void group_leave(struct group *group, struct request *request);

/* Makes sure that the group has the features of picture i of the request. */
void group_picture_send(struct group *group, const struct request *request, int i, int width, size_t message_limit);
/* Tells the group to drop pictures that no running request uses. */
void group_pictures_forget(struct group *group);

/* The step in flight changed nothing: what it was to let go of goes with the next one, alone. */
void group_refused(struct group *group);

void group_finish(struct group *group, enum rpc_status status, const char *message);

#endif
