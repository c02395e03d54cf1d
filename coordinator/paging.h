/* paging.h - who holds pages of a group's cache: requests get what they need now, not what they may ever need.
 *
 * A request is placed when its known rows fit and every answer on the group still has a page to grow by. When pages run out
 * nevertheless, the youngest request gives its own back and waits in its old place; later its prompt rows are recomputed as prompt
 * rows and its tokens as generated rows (preemption by recomputation; Kwon et al. 2023, section 4.5). The oldest request of a group
 * is never taken off, and a request is only placed where all of its positions could ever fit: somebody always gets on. */
#ifndef COORDINATOR_PAGING_H
#define COORDINATOR_PAGING_H

#include "coordinator/group.h"

/* requests: all of the service, in order of arrival. */

/* Whether the request can begin on the group now. */
bool paging_admits(const struct group *group, struct request *const *requests, int n, const struct request *request);

/* Before a step: every answer of the group holds the pages of its next token, oldest first. Returns how many requests were taken
 * off for it. No step may be in flight. */
int paging_secure(struct group *group, struct request *const *requests, int n);

#endif
