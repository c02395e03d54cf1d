/* load_figures.h - what a load test says: the figures of docs/bench.md from the times of its requests. No clock, no network. */
#ifndef CLI_LOAD_FIGURES_H
#define CLI_LOAD_FIGURES_H

#include "proto/rpc.h"
#include "speculate/acceptance.h"

enum { LOAD_STATUSES = RPC_UNAUTHENTICATED + 1 };

struct load_record {    /* one request; seconds of one clock */
    double scheduled;   /* when it was to be sent: every latency counts from here */
    double sent, ended; /* when it was; when its call was over */
    double first, last; /* its first and last message with tokens; 0 = none came */
    double *gaps;       /* (n_gaps) between messages with tokens; malloc'ed */
    int n_gaps;
    int prompt_tokens, tokens;
    enum rpc_status status; /* RPC_OK: it completed */
    char words[160];        /* of another status */
    struct acceptance acceptance;
};
void load_records_free(struct load_record *records, int n);

/* Poisson arrivals: n times from 0 on, `rate` a second, a function of the seed. */
void load_arrivals(double *at, int n, double rate, uint64_t seed);
/* Which of n inputs request i takes: uniform, a function of the seed. */
int load_choice(uint64_t seed, int i, int n);

struct load_spread {
    double mean, p50, p90, p99; /* percentiles interpolate between neighbours; all 0 of no values */
};
/* Sorts the values. */
struct load_spread load_spread_of(double *values, int n);

struct load_limits { /* of a good request, ms; 0 = no limit */
    double ttft, tpot, e2e;
};

struct load_figures {
    int requests, completed;
    int ended[LOAD_STATUSES];         /* requests by status */
    const char *words[LOAD_STATUSES]; /* of the first of them; the records' */
    double seconds;                   /* from the first scheduled send to the last end */
    int64_t prompt_tokens, output_tokens;
    double requests_per_s, output_tokens_per_s, good_per_s; /* of those that completed */
    struct load_spread ttft, tpot, itl, e2e, lag;           /* ms */
    struct load_spread stream_rate;                         /* tokens/s of each answer */
    struct acceptance acceptance;
};

void load_figures_make(struct load_figures *figures, const struct load_record *records, int n, const struct load_limits *limits);

#endif
