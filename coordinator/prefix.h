/* prefix.h - prompts that begin alike: whole pages of prompt rows that a request takes over from earlier ones of its group instead
 * of computing them, and those that it leaves behind.
 *
 * Only prompt rows are shared (docs/numerics.md: row classes), and the last row of a prompt is always computed: its scores are
 * wanted. A request without keys (prefix_keys was not called: --prefix-cache off) shares nothing. */
#ifndef COORDINATOR_PREFIX_H
#define COORDINATOR_PREFIX_H

#include "coordinator/group.h"
#include "coordinator/page_key.h"

/* Names the whole pages of a prepared request that is on no group, for groups with such pages. */
void prefix_keys(struct request *request, int page_positions, const struct page_secret *secret);

/* Pages that a request on no group would take over here: as many of the global layers' as are there, with those of the local layers
 * in the window behind which it would go on, as far as there is room for both. *idle: the blocks that are nobody's of these. */
int prefix_match(const struct group *group, const struct request *request, int *idle);

/* Takes over what has come to be there, while no step has named the request's sequence yet. A page that the request holds for the
 * same rows becomes free. */
void prefix_adopt(struct group *group, struct request *request);

/* A step has named the request's sequence: it holds its local pages itself. */
void prefix_begun(struct group *group, struct request *request);

/* Whether an older request of the group, of those n in order of arrival, is about to compute the next page that this one could take
 * over. Then to wait for it takes no longer than to compute it beside it: the older one gets the rows of both. The oldest never
 * waits. */
bool prefix_waits(const struct group *group, const struct request *request, struct request *const *older, int n);

/* Writes into a span of the request, with ids and length filled in, what it takes over (its first one) and what it leaves behind.
 * The lists are malloc'ed. */
void prefix_fill(struct group *group, struct request *request, struct step_span *span);

/* The request leaves: its shared pages stay here. Returns how many of its blocks were shared. */
int prefix_leave(struct group *group, struct request *request);

#endif
