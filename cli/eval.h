/* eval.h - massv eval: what is compared, what was asked and what came back. The parts, in the order in which they work: eval_flags
 * (the user's wishes), eval_services (who answers), eval_plan (what is asked of whom, in which order), eval_run (asking),
 * eval_check (are the texts the same), eval_figures (sums and intervals), eval_tvd (distributions), eval_json, eval_report,
 * eval_plots (what is written). */
#ifndef CLI_EVAL_H
#define CLI_EVAL_H

#include "base/sampling.h"
#include "cli/bootstrap.h"
#include "proto/generate.h"
#include "proto/questions.h"

enum { EVAL_SERVICES = 16, EVAL_DRAFTS = 16, EVAL_TEMPERATURES = 8, EVAL_NAME = 64, EVAL_TRIES = 4 };

#define EVAL_OFF "off" /* the name of answers without drafts */

struct eval_named { /* NAME=VALUE */
    char name[EVAL_NAME];
    const char *value;
};

struct eval_options {
    struct eval_named addresses[EVAL_SERVICES], drafters[EVAL_SERVICES];
    int n_addresses, n_drafters;
    const char *target; /* of private services; NULL: the addresses' */
    int ranks, threads;
    bool one_at_a_time; /* private services */
    struct rpc_security_files security;

    const char *data, *out;
    int limit; /* 0 = all lines */
    int max_tokens, concurrency, timeout;
    char compare[EVAL_SERVICES + 1][EVAL_NAME];
    int n_compare; /* 0 = all there are */
    int drafts[EVAL_DRAFTS], n_drafts;
    float temperatures[EVAL_TEMPERATURES];
    int n_temperatures;
    bool modes[2]; /* by enum sampling_mode: which verify at temperatures above 0 */
    uint64_t seed;
    struct bootstrap_options bootstrap;
    bool tvd, json;
    char *command; /* line */
};

struct eval_service { /* where the answers of one drafter come from */
    char name[EVAL_NAME];
    const char *address;    /* the user's or the private service's; NULL while that does not run */
    const char *drafter;    /* folder, of a private service with one */
    struct service *own;    /* the private one */
    struct model_info info; /* once it was asked */
    struct server_info server;
};

struct eval_condition { /* how the target chooses its tokens: answers of one condition are compared with each other */
    float temperature;
    enum sampling_mode mode; /* COUPLED at temperature 0, where there is no difference */
};

struct eval_config { /* one column: a drafter at a draft length under a condition */
    int service, condition;
    int draft_tokens; /* 0: off */
};

struct eval_answer {
    enum rpc_status status; /* RPC_OK: whole */
    int tries;              /* 0: never asked */
    char words[200];        /* of another status, or why it ran without drafts */
    uint64_t seed;
    char *text, *reason; /* malloc'ed, NULL unless whole */
    int32_t *ids;
    double seconds; /* from sending to the last message, as the client saw it */
    struct generate_usage usage;
    struct generate_speculation speculation; /* without its strings */
    struct generate_timing timing;
};

struct eval {
    const struct eval_options *options;
    struct questions questions;
    struct eval_service services[EVAL_SERVICES];
    int n_services;
    struct eval_condition conditions[2 * EVAL_TEMPERATURES];
    int n_conditions;
    struct eval_config *configs; /* by condition; off first, then by service and draft length */
    int n_configs;
    struct eval_answer *answers; /* (n_configs, questions.n) */
    double *busy;                /* (n_configs) s in which requests of the config were under way */
    int asked, whole;            /* requests that ended, and of them those with a whole answer */
    uint64_t mark;               /* of the next request's picture (question_pack_fresh): a service sees each but once */
    double seconds;              /* of asking */
    bool interrupted;
    char stopped[400]; /* why the rest was not asked, or "" */
};

static inline struct eval_answer *eval_answer_at(const struct eval *e, int config, int question)
{
    return &e->answers[config * e->questions.n + question];
}

/* "off", or the drafter's name. */
static inline const char *eval_config_name(const struct eval *e, int config)
{
    const struct eval_config *c = &e->configs[config];
    return c->draft_tokens ? e->services[c->service].name : EVAL_OFF;
}

/* "greedy (T = 0)", "T = 1, coupled" */
void eval_condition_words(char *words, size_t size, const struct eval_condition *condition);
/* "greedy", "t1-coupled": part of a file's name. */
void eval_condition_stem(char *stem, size_t size, const struct eval_condition *condition);

/* ---- eval_flags.c: ends the process on wrong usage */
void eval_flags_parse(struct eval_options *options, int argc, char **argv);

/* ---- eval_services.c */
/* Names all services; asks those with addresses who they are. All must serve one target. */
int eval_services_find(struct eval *e, struct error *err);
/* Starts private services [first, first + n). 1 when a signal came. */
int eval_services_start(struct eval *e, int first, int n, struct error *err);
void eval_services_stop(struct eval *e, int first, int n);
/* -1 when a private one has died. */
int eval_services_watch(struct eval *e, struct error *err);
/* The service whose drafter is text-only; -1 without one. */
int eval_service_text(const struct eval *e);

/* ---- eval_plan.c */
struct eval_job {
    int config, question;
    int block; /* jobs of one block may be under way together; the next block begins when all of them have ended */
};
int eval_plan_configs(struct eval *e, struct error *err);
/* Every question to every config of services [first, first + n): concurrency 1 goes question by question, each time beginning with
 * the next config; else in blocks of several questions of one config. Returns how many; malloc'ed. */
int eval_plan_jobs(const struct eval *e, int first, int n, struct eval_job **jobs);

/* ---- eval_run.c */
/* 0 also when some answers failed; 1 when a signal came, -1 when the rest cannot be asked: e->stopped says why. */
int eval_run(struct eval *e, const struct eval_job *jobs, int n, int done_before, int total);
/* One request of each kind that the service gets, in no figure. 1 when a signal came, -1 where it can answer nobody. */
int eval_warm_up(struct eval *e, int service, struct error *err);
void eval_answer_clear(struct eval_answer *answer);

/* ---- eval_check.c */
struct eval_difference {
    int question, config, other; /* other: the first config of the condition, with which it was compared */
    int at;                      /* the first token that differs */
};
/* Answers of a condition whose text is a function of prompt and seed (greedy, coupled) must be the same in all configs. *compared:
 * pairs of whole answers. Returns how many differ; the first `room` of them in list. */
int eval_check_texts(const struct eval *e, struct eval_difference *list, int room, int *compared);

#endif
