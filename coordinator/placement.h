/* placement.h - which worker group a request goes to: where it costs least to answer it, by what the groups' steps have taken so
 * far, what runs there already, and what of its prompt is there. */
#ifndef COORDINATOR_PLACEMENT_H
#define COORDINATOR_PLACEMENT_H

#include "coordinator/group.h"

/* Milliseconds of the group for a request that is on no group: the prompt rows that stand in front of its first token, then an
 * answer of PLACEMENT_ANSWER tokens beside those that run there, both the dearer the fuller the cache is (preemption is nearer).
 * known: a pace for a group that has taken no steps yet, from another one; NULL = no group has, and all count as equal.
 * requests: all of the service. */
enum { PLACEMENT_ANSWER = 64 };
double placement_burden(const struct group *group, const struct pace *known, struct request *const *requests, int n,
                        const struct request *request);

/* Whether the pace says what a prompt row and a run of answers take. */
bool placement_knows(const struct pace *pace);

#endif
