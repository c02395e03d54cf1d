/* plan.h - the next step of a group: which rows of which requests it computes. Generated rows come first, so that running answers
 * do not stall, but leave a quarter of the group's max_rows to prompts that wait; those share what is left, or what the pace allows
 * beside answers. A request has at most one span in a step. A step behind a refused one has none: it says what the group lets go
 * of, and nothing that could be wrong with a request comes in its way. */
#ifndef COORDINATOR_PLAN_H
#define COORDINATOR_PLAN_H

#include "coordinator/drafting.h"

struct plan {
    struct step step;
    struct flight_span *spans; /* (step.n_spans) */
    struct drafting_counts drafting;
    double drafting_ms; /* that the drafter took */
};

/* requests: all of the service, in order of arrival; those that run on the group, which has no step in flight, are planned, and the
 * drafter is asked for those that verify. Each holds the pages of its next token (paging_secure). Takes over the group's releases
 * and words to forget pages. step.n_spans = step.n_release = step.n_forget = 0: nothing to do. */
void plan_make(struct plan *plan, struct group *group, struct request *const *requests, int n, struct drafting *drafting);

/* What the spans and ids took; not what the flight has: `spans`, release and forget. */
void plan_free(struct plan *plan);

#endif
