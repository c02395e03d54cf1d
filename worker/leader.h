/* leader.h - rank 0: attaches the group to the coordinator and hands every message to all ranks */
#ifndef WORKER_LEADER_H
#define WORKER_LEADER_H

#include "worker/link.h"
#include "worker/order.h"

/* Until the coordinator dismisses the group or a signal asks it to end (0), or refuses it or stays away (-1 with text). The other
 * ranks are told the end in every case. */
int leader_run(const struct post *post, const struct link_options *options, struct error *err);

#endif
