/* drafting.h - the drafts of a step: how many each request gets (speculate/draft_length.h, with what was measured here), and asking
 * the drafter for them */
#ifndef COORDINATOR_DRAFTING_H
#define COORDINATOR_DRAFTING_H

#include "coordinator/draft_source.h"
#include "coordinator/group.h"

struct drafting { /* what all groups share */
    const struct draft_source *source;
    double stall_ms;            /* that the drafter's prompts may add to a step beside answers */
    struct pace pace;           /* of the drafter's rounds */
    struct draft_record record; /* what targets accepted of all requests */
};

struct drafting_counts {
    int faults;             /* requests that have lost their drafts */
    int refusals;           /* requests that the drafter had no room for in this step */
    int probes;             /* requests that drafted to learn from it */
    int ahead;              /* rows of prompts that the drafter read while the group worked */
    int prompt_rows, found; /* of requests whose prompts it began to read; those of them that it need not compute */
};

/* spans: verifications of one row each. Gives them `drafts` and as many more rows, as far as pages and `room` rows allow; returns
 * the first span whose drafts the room cut short, or n. */
int drafting_lengths(struct drafting *drafting, struct group *group, struct flight_span *spans, int n, int room,
                     struct drafting_counts *counts);

/* Asks the drafter for all of them at once, and puts right how many there are. Returns ms. */
double drafting_ask(struct drafting *drafting, struct flight_span *spans, int n, struct drafting_counts *counts);

/* While the group works on the step that has just been sent, the drafter has nothing else to do: it reads the prompts of that step,
 * as far as that is done well before the group is. Not where drafts do not pay now. */
void drafting_ahead(struct drafting *drafting, const struct group *group, struct drafting_counts *counts);

/* A step of so many verifications, with so many drafts in all, took ms beside what the group computed and the drafter took. */
void drafting_beside(struct group *group, int requests, int drafts, double ms);

/* The target's answer to a verification. */
void drafting_learn(struct drafting *drafting, const struct flight_span *span, int accepted);

#endif
