/* log_flags.h - --log-format and --log-level, the same for every program that logs: a child of its argp */
#ifndef BASE_LOG_FLAGS_H
#define BASE_LOG_FLAGS_H

#include <argp.h>

extern const struct argp log_argp; /* takes no input: what it parses becomes the state of base/log.h */

#endif
