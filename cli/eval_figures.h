/* eval_figures.h - from answers to figures: sums, means and intervals over prompts (docs/evaluation.md has every formula). No
 * clock, no network. */
#ifndef CLI_EVAL_FIGURES_H
#define CLI_EVAL_FIGURES_H

#include <stdbool.h>
#include <stdint.h>

#include "cli/bootstrap.h"
#include "speculate/acceptance.h"

struct eval_record { /* one whole answer */
    int tokens;
    struct acceptance acceptance;
    double seconds;                              /* the whole request, as the client saw it */
    double queue, image, prefill, first, decode; /* ms, as the service measured them */
};

struct eval_versus {        /* beside another config, on the same prompts */
    bool is_there;          /* else nothing below */
    struct interval total;  /* speed-up, picture and prompt included */
    struct interval decode; /* speed-up behind the first token */
    struct interval length; /* quotient of mean acceptance lengths */
};

struct eval_figures {
    int prompts;
    int64_t tokens;
    struct acceptance acceptance;
    struct interval length;        /* mean acceptance length: 1 + accepted / steps */
    struct interval total, decode; /* tokens/s; a request's speed, not that of a service with many */
    double tokens_mean;            /* of an answer */
    struct eval_record mean;       /* seconds and ms of a request; its other members are not used */
    struct eval_versus off, text;
};

/* records (n): a config's. off, text: those of the answers without drafts, and with text-only drafts; NULL where there are none.
 * wanted (n): the prompts that count. */
void eval_figures_make(struct eval_figures *figures, const struct eval_record *records, const struct eval_record *off,
                       const struct eval_record *text, const bool *wanted, int n, const struct bootstrap_options *options);

#endif
