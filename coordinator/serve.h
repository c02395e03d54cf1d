/* serve.h - the whole coordinator: opens its parts, serves until a signal, drains, closes */
#ifndef COORDINATOR_SERVE_H
#define COORDINATOR_SERVE_H

#include "base/error.h"
#include "coordinator/options.h"

/* Returns after SIGTERM or SIGINT, which must be blocked in all threads; -1 when something could not be opened. */
int serve(const struct coordinator_options *options, struct error *err);

#endif
