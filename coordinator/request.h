/* request.h - one request's whole state, from arrival to its last token. Only the scheduler's thread touches it.
 *
 * A call that asks for n outputs is n requests with one number, one id and one client, made from one preparation; each finds its
 * place and runs by itself. The call ends with the last of them, or with the first that fails, which ends the others. */
#ifndef COORDINATOR_REQUEST_H
#define COORDINATOR_REQUEST_H

#include "coordinator/answer_text.h"
#include "coordinator/client.h"
#include "coordinator/drafter.h"
#include "coordinator/prepare.h"
#include "proto/generate.h"
#include "proto/step.h"
#include "speculate/acceptance.h"
#include "speculate/draft_length.h"

enum request_state {
    REQUEST_PREPARING, /* the preparing thread makes ids and picture features */
    REQUEST_QUEUED,    /* waits for a group with room, in order of arrival */
    REQUEST_RUNNING,   /* holds pages of a group; its rows are in that group's steps */
    REQUEST_ENDED      /* answered; forgotten at the end of the turn */
};
enum request_event {
    REQUEST_PREPARED,
    REQUEST_PLACED,
    REQUEST_GROUP_LOST,
    REQUEST_PREEMPTED, /* its pages are wanted by older requests */
    REQUEST_END        /* finished, refused, cancelled, too late */
};

struct group;
struct preparation;

/* A request may be what kills groups. One that was in two lost steps in a row runs alone until it makes a token, so that it takes
 * nobody along; one that was in six is given up. */
enum { LOSSES_SUSPECT = 2, LOSSES_MAX = 6 };

struct request {
    uint64_t number;             /* of the service; never used twice */
    char id[128];                /* the client's name for it, or made from the number */
    int output;                  /* which of the call's outputs */
    struct request *next_output; /* of the call; only until they have arrived */
    enum request_state state;
    struct client client; /* no calls for the warm-up */
    bool internal;        /* the warm-up: in no count and in no limit */

    /* What was asked, checked. */
    int max_tokens;           /* 0 until prepared where the client left it open */
    int draft_tokens;         /* K, or DRAFT_TOKENS_AUTO */
    struct sampling sampling; /* settled: settle.h */
    int32_t *stop_ids;        /* malloc'ed */
    int n_stop_ids;
    int min_tokens; /* no stop id and no stop string ends the answer before it has these */
    bool show_drafts;

    struct preparation *job;  /* while PREPARING */
    struct prepared prepared; /* kept to the end: a lost group is replayed from it */

    /* The answer so far. */
    int32_t *tokens; /* (max_tokens) */
    int n_tokens;
    const char *reason; /* stop, length; NULL while it goes on */
    struct answer_text text;

    /* On a group. */
    struct group *group;
    uint64_t sequence; /* its name there; another one for each placement */
    int blocks;        /* held, of shared global pages, too; never fewer than its sequence has there but for shared local ones */
    int computed;      /* positions in the group's cache that are right */
    bool in_flight;    /* has a span in the group's step */
    int losses;        /* groups that died in a step with its rows since its last token */

    /* The whole pages of its prompt, in the group's table and beyond (prefix.h). */
    uint64_t (*page_keys)[2]; /* (n_page_keys) */
    bool *page_shared;        /* (n_page_keys) the table counts it as a user */
    int n_page_keys, page_positions;
    int adopted;       /* the first pages, which earlier requests have computed: `computed` counts them */
    int pinned;        /* local pages [pinned, adopted) stay in the table for it until it has begun */
    bool begun;        /* a step has named its sequence */
    int cached_tokens; /* prompt tokens that were taken over on the way to the first token */

    /* Speculation. */
    struct draft_sequence *draft;
    int32_t drafts[DRAFT_TOKENS_MAX];                     /* of the step in flight */
    struct draft_weights draft_weights[DRAFT_TOKENS_MAX]; /* what they were drawn from, where sampling_rejects */
    int n_drafts;
    struct acceptance acceptance;
    struct draft_record draft_record;
    int quiet;          /* steps since the last with drafts */
    bool undrafted;     /* there will be no drafts any more */
    char inactive[256]; /* why there are none although they were asked for */

    /* Seconds of clock_seconds; 0 = not yet. */
    double arrived, deadline, queued, placed, first_token, last_token;
};

/* The only way to change state. An event that the state does not know is our bug. */
void request_apply(struct request *request, enum request_event event);

/* The most positions of the group's cache that the request ever needs: drafts never reach past max_tokens, and the last token is
 * not computed. */
int request_positions(const struct request *request);

/* Positions that are computed once the next step verifies: prompt and all tokens but the last. */
int request_known(const struct request *request);

bool request_stops_at(const struct request *request, int32_t token);

/* Frees everything that it owns, but its draft sequence and its place on a group, which the scheduler takes back before. */
void request_free(struct request *request);

#endif
