/* drafter.h - the small model that proposes tokens: a text-only LM, a whole VLM, or a MASSV drafter (the target's tower, an own
 * projector). It owns its positions and its cache. It lives on the coordinator's device; the scheduler's thread is the only one
 * that calls it, except drafter_features, which the preparing thread calls. A fault in here turns speculation off for a request,
 * never the service. */
#ifndef COORDINATOR_DRAFTER_H
#define COORDINATOR_DRAFTER_H

#include "base/sampling.h"
#include "kernels/kernels.h"
#include "model/config.h"
#include "model/drafter_fit.h"
#include "model/prompt.h"
#include "model/tokenizer.h"
#include "model/vision.h"

struct drafter;
struct draft_sequence;   /* one request in the drafter */
struct prepared_picture; /* prepare.h */

struct drafter_options {
    const struct kernels *kernels;
    struct device *device;        /* of drafter_propose */
    struct device *vision_device; /* of drafter_features */
    int kv_positions;
    bool share_prompts;           /* whole pages of prompts that begin alike are computed once */
    struct drafter_target target; /* only during drafter_open */
};

int drafter_open(struct drafter **drafter, const char *dir, const struct drafter_options *options, struct error *err);
void drafter_close(struct drafter *drafter);
enum drafter_kind drafter_kind(const struct drafter *drafter);
const char *drafter_name(const struct drafter *drafter);
/* Shape of drafter_features. */
int drafter_tokens(const struct drafter *drafter, const struct patches *patches);
int drafter_width(const struct drafter *drafter);

/* The drafter's features of one picture, (its tokens, its width), malloc'ed into *features (NULL for a text-only drafter). states:
 * the target tower's result, used as it is by a MASSV drafter; a VISION drafter runs its own tower on the patches. */
int drafter_features(struct drafter *drafter, const struct patches *patches, const struct vision_states *states, float **features,
                     struct error *err);

/* Starts a request: computes nothing yet. prompt: the target's; its pictures are the caller's and must live until its prompt is
 * computed or it ends. NULL with text when its prompt never fits the drafter's cache or context: the
 * request runs without drafts. Pages of the cache are taken as it grows. */
struct draft_sequence *drafter_begin(struct drafter *drafter, const struct prompt *prompt, const struct prepared_picture *pictures,
                                     int max_positions, struct error *err);
void drafter_end(struct drafter *drafter, struct draft_sequence *sequence);

/* Rows that it must compute before the next draft of an answer of so many tokens, but for one: 0 when it has followed so far. Rows
 * of its prompt that others have computed are none of them. */
int drafter_behind(const struct drafter *drafter, const struct draft_sequence *sequence, int n_tokens);

/* One request of a batch of proposals. tokens: all tokens of the answer so far (the drafter keeps the common prefix of what it
 * computed before and rolls the rest back; where its local layers have forgotten what they see there, it fails: an answer that only
 * grows never comes to that). Up to k drafts go to drafts; *n says how many (fewer when the context ends, 0 on a
 * fault: `failed`). */
struct proposal {
    struct draft_sequence *sequence;
    const int32_t *tokens;
    int n_tokens;
    int k;           /* at most so many; lowered where the chain ends at an id that the target does not have */
    int32_t *drafts; /* (k) */
    int n;
    bool refused;                    /* the cache has no room for it now: no drafts this time */
    bool failed;                     /* the sequence is of no more use: end it */
    const struct sampling *sampling; /* of the request, so that drafts are what the target is likely to choose; NULL = greedy */
    struct draft_weights *weights;   /* (k) what each draft was drawn from, where sampling_rejects */
    int caught_up;                   /* rows computed of those that it was behind */
    int found;                       /* rows of its prompt that need not be computed: others had */
    int began;                       /* rows of its prompt, where it had nothing of it before; else 0 */
};
/* Drafts for many sequences at once: one batched step for what is new, then one per further draft. At most prompt_rows rows of
 * prompts are computed; a request whose prompt is longer gets no drafts yet and goes on with it when it is asked for again. Returns
 * the rows of prompts that were computed. */
int drafter_propose(struct drafter *drafter, struct proposal *proposals, int count, int prompt_rows);

#endif
