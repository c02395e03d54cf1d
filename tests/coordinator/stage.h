/* stage.h - a stage for the scheduler: clients, worker groups, a drafter and a preparing thread that are only arrays, and a target
 * whose next token is a sum over the tokens before it. Groups check every step as a worker does, and remember in which class each
 * position was computed. */
#ifndef TESTS_COORDINATOR_STAGE_H
#define TESTS_COORDINATOR_STAGE_H

#include "tests/check.h"

#include "coordinator/scheduler.h"

enum {
    STAGE_VOCABULARY = 94,
    STAGE_WIDTH = 4,
    STAGE_CLIENTS = 64,
    STAGE_GROUPS = 8,
    STAGE_SEQUENCES = 64,
    STAGE_TOKENS = 1024,
    STAGE_PAGE = 16,                         /* positions */
    STAGE_PAGES = STAGE_TOKENS / STAGE_PAGE, /* of a sequence */
    STAGE_KEPT = 256,
    STAGE_LAG = 3
};

struct stage_client {
    uint64_t number;
    int prompt_tokens; /* of the prompt event; 0 before */
    int32_t ids[STAGE_TOKENS];
    int n;
    int deltas;
    char text[4 * STAGE_TOKENS];
    char rejected[256]; /* of the last delta */
    bool accepted[STAGE_TOKENS];
    bool finished; /* the finished event */
    char reason[16], match[64], inactive[256];
    struct generate_speculation speculation;
    struct generate_usage usage;
    bool ended; /* the call */
    enum rpc_status status;
    char message[1024];
    size_t backlog;
    int outputs; /* of the call: each has a client of its own, the call is the first one's */
    int drops;
};

struct stage_sequence {
    uint64_t id;
    int32_t ids[STAGE_TOKENS];
    bool generated[STAGE_TOKENS]; /* class of each position */
    int pictured; /* where its first picture begins: rope positions behind lag by STAGE_LAG; STAGE_TOKENS = nowhere */
    int n;
    int pages[KV_KINDS][STAGE_PAGES]; /* names; a page that several sequences share has one; 0 = none, or gone */
    int n_pages;
    int first_local; /* local pages before it are gone */
};

struct stage_kept { /* a page under a key */
    uint64_t key[2];
    int page;
    int32_t ids[STAGE_PAGE];
    bool pictured;
};

struct stage_group {
    struct stage *stage;
    uint64_t number;
    bool welcomed, finished, dropped;
    enum rpc_status status;
    char message[1024];
    int page_positions, pages, max_rows;
    struct stage_sequence sequences[STAGE_SEQUENCES];
    int n_sequences, last_page;
    struct stage_kept kept[STAGE_KEPT];
    int n_kept, adopted, forgotten; /* pages */
    int most_blocks;                /* in use at once */
    int prompt_rows;
    struct {
        uint64_t hash;
        int here;
    } pictures[8];
    int n_pictures, pieces, forgets;
    struct step step; /* id 0: none in flight */
    uint64_t last_step;
    int steps, most_spans, prompt_rows_beside_answers;
    int most_prompt_rows_beside_answers; /* in one step */
    double step_ms, row_ms;              /* its steps take 1 ms and this for each prompt row; 0 = they tell no time */
};

struct stage {
    struct scheduler *scheduler;
    struct tokenizer *tokenizer;
    struct kv_layout layout; /* of its groups' caches */
    double now;
    struct stage_client clients[STAGE_CLIENTS];
    int n_clients;
    struct stage_group groups[STAGE_GROUPS];
    int n_groups;
    struct preparation *jobs; /* not yet prepared */
    int n_warm_ups, drained;
    struct health_info health;
    int whole;           /* tokens of every picture, which must be in one step; 0 = pictures may be cut */
    char group_told[64]; /* "NAME attached" or "NAME lost": what the launcher of groups with a name heard last */
    /* the drafter */
    int right; /* drafts that are the target's own tokens; the others are not */
    bool draft_refuses, draft_fails;
    int draft_sequences; /* alive */
    int most_drafts;
    int read_ahead, read_late; /* rows of prompts that the drafter read before the answer had begun, and after that */
};

struct stage_question {
    const char *id;
    int prompt; /* tokens */
    int seed;   /* of the prompt */
    int max_tokens, k;
    int32_t stop; /* 0 = none */
    char *stop_string;
    int min_tokens;
    int outputs;    /* 0 = 1 */
    int picture;    /* tokens of a picture in the middle of the prompt; 0 = none */
    double seconds; /* deadline; 0 = none */
};

/* options: what differs from the defaults (0 = default) of an identity.layout with one kind of pages, max_requests 32, max_waiting
 * 32, max_positions 512, wait_seconds 600, group_wait 60, step_seconds 10, stall_ms 50, message_limit 64 MiB. */
void stage_open(struct stage *stage, const struct scheduler_options *options);
void stage_close(struct stage *stage); /* checks that nothing was lost: calls dropped, draft sequences ended */

/* The client of the first output; those of the others stand behind it. */
struct stage_client *stage_ask(struct stage *stage, const struct stage_question *question);
void stage_prepare(struct stage *stage, const char *fault); /* all jobs that wait; fault NULL = they are good */
void stage_cancel(struct stage *stage, struct stage_client *client);
void stage_turn(struct stage *stage, double seconds); /* time passes, then a turn */

struct stage_group *stage_dial(struct stage *stage, int pages, int max_rows); /* pages of 16 positions */
void stage_hello(struct stage_group *group, const struct step_hello *hello);
struct step_hello stage_hello_of(const struct stage_group *group);
struct stage_group *stage_attach(struct stage *stage, int pages, int max_rows);
void stage_answer(struct stage_group *group); /* computes the step in flight, and a turn */
void stage_refuse(struct stage_group *group); /* or does not */
void stage_verdict(struct stage_group *group, const struct step_verdict *verdict);
void stage_beat(struct stage_group *group);
void stage_lose(struct stage_group *group);
/* Answers steps until nothing is in flight anywhere; returns the steps. */
int stage_run(struct stage *stage);

/* The target's answer to a question, token i of it. */
void stage_expect(const struct stage_question *question, int32_t *ids, int n);
/* The client has n tokens, those of the answer, and its call has ended well. */
void stage_check_answer(const struct stage_client *client, const struct stage_question *question, int n);

#endif
