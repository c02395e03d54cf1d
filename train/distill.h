/* distill.h - the target's answers to a file of questions, through a running service, into a file that only grows */
#ifndef TRAIN_DISTILL_H
#define TRAIN_DISTILL_H

#include <stdbool.h>

#include "proto/rpc.h"
#include "train/distill_plan.h"

struct distill_options {
    const char *address, *data, *out;
    const char *pictures; /* folder where relative paths of pictures in the data begin; NULL = beside the file */
    struct rpc_security_files security;
    struct distill_settings settings;
    int in_flight, draft_tokens; /* draft_tokens -1: the service's */
    int limit;                   /* questions of the data; 0 = all */
    int timeout, retry_seconds;  /* of one answer; of a service that is away or has no room, since it was last well */
    bool skip_errors;            /* else the first question that cannot be asked, or is refused, ends the run */
};

enum { DISTILL_STATUSES = RPC_UNAUTHENTICATED + 1 };

struct distill_report {
    bool begun;               /* to ask: service, data and file are what they should be */
    int wanted, before, made; /* answers: in all, by earlier runs, by this one */
    int unusable;             /* questions that cannot be asked, for what stands in the data */
    struct error first_unusable;
    int skipped[DISTILL_STATUSES];
    struct error first[DISTILL_STATUSES]; /* what was said of the first of them */
    int retries;
    long cut; /* bytes of a torn line */
    int64_t tokens;
    uint64_t steps, drafted, accepted;
    double seconds;
};

/* 0: every answer is there, or was skipped; 1: a signal came (base/signals.h); -1. In all three what was made is in the file. */
int distill_run(struct distill_report *report, const struct distill_options *options, struct error *err);

#endif
