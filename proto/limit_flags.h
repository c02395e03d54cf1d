/* limit_flags.h - what a service takes upon itself: the flags of massv-coordinator, and of massv up, which hands them on to it */
#ifndef PROTO_LIMIT_FLAGS_H
#define PROTO_LIMIT_FLAGS_H

#include <argp.h>

#include "base/pan_and_scan.h"

struct service_limits {
    int draft_tokens; /* per step, where a request does not say; DRAFT_TOKENS_AUTO: as many as pay */
    int max_requests, max_waiting, max_wait_seconds;
    int message_limit; /* MiB */
    int max_picture_pixels;
    int max_prompt_tokens; /* 0 = what the context leaves */
    int max_positions;     /* 0 = the model's */
    int draft_positions;   /* of the drafter's cache, over all requests */
    int drain_seconds, group_wait_seconds;
    int stall_ms;     /* that entering prompts may add to a step of answers */
    int prefix_cache; /* 1 = prompts that begin like earlier ones are not computed again; 0 = they are */
    int pan_and_scan; /* an enum pan_and_scan */
};

enum { LIMIT_FLAGS = 14, LIMIT_TEXT = 16 };

/* A child parser whose input (child_inputs) is a struct service_limits: it fills in the defaults, then what is given. */
extern const struct argp limit_argp;

void limits_default(struct service_limits *limits);

/* The flag of limit i, 0 to LIMIT_FLAGS - 1, and its value as it is written; NULL where that is the default. */
const char *limit_flag(const struct service_limits *limits, int i, char value[LIMIT_TEXT]);

/* The word behind --draft-tokens: a number, or auto. */
int draft_tokens_flag(const struct argp_state *state, const char *text);

/* The word behind --pan-and-scan. */
enum pan_and_scan pan_and_scan_flag(const struct argp_state *state, const char *text);

#endif
