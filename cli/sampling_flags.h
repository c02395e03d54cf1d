/* sampling_flags.h - the flags that say how tokens are chosen, for every command that asks a service: a child of the command's argp
 */
#ifndef CLI_SAMPLING_FLAGS_H
#define CLI_SAMPLING_FLAGS_H

#include "cli/cli.h"
#include "proto/generate.h"

struct sampling_flags {
    struct sampling sampling; /* its bias is below */
    unsigned given;           /* enum generate_given */
    int32_t bias_ids[CLI_LIST];
    float bias[CLI_LIST];
};

/* Its input is a zeroed struct sampling_flags. */
extern const struct argp sampling_flags_argp;

/* Copies them into a request. */
void sampling_flags_take(struct generate_request *request, const struct sampling_flags *flags);

#endif
