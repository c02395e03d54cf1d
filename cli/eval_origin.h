/* eval_origin.h - where figures come from: what must be known to make them again */
#ifndef CLI_EVAL_ORIGIN_H
#define CLI_EVAL_ORIGIN_H

#include "cli/eval.h"

struct eval_origin {
    char date[32];      /* UTC */
    char cpu[128];      /* of this machine */
    int cores;          /* that this process may use */
    char data_hash[33]; /* XXH3-128 of the file of prompts */
    char target_hash[33],
        drafter_hash[EVAL_SERVICES][33]; /* of private services' weights: names, shapes and bytes of all tensors */
};

/* Reads the weights of private services once. */
int eval_origin_find(struct eval_origin *origin, const struct eval_options *options, struct error *err);

#endif
