/* drafter_parts.h - what drafter.c (opening, picture features), drafter_propose.c (sequences, proposals) and drafter_pages.c (who
 * has which pages of the cache) share */
#ifndef COORDINATOR_DRAFTER_PARTS_H
#define COORDINATOR_DRAFTER_PARTS_H

#include "cluster/comm.h"
#include "coordinator/drafter.h"
#include "coordinator/page_cache.h"
#include "coordinator/page_key.h"
#include "model/drafter_sight.h"
#include "model/kept_pages.h"
#include "model/model.h"
#include "proto/generate.h"
#include "speculate/sampler.h"

/* Rows of one step of the drafter's model: a prompt goes in chunks of this. */
enum { DRAFTER_ROWS = 512 };

/* Rows behind what is final of a sequence: those, and drafts and the token before them, which may be rolled back. */
enum { DRAFTER_ROWS_OPEN = DRAFTER_ROWS + DRAFT_TOKENS_MAX + 1 };

struct drafter {
    enum drafter_kind kind;
    struct model_config config, target;
    const struct kernels *kernels;
    struct drafter_sight sight;
    struct comm *comm; /* of one rank */
    struct model *model;
    struct sampler *sampler;
    float *row;      /* (vocabulary) for it */
    int blocks_free; /* held by no sequence, and not in `cache` */

    /* Whole pages of prompts: who uses them and which goes first, and where they are. */
    bool shares;
    struct page_secret secret;
    struct page_cache *cache;
    struct kept_pages *kept;
};

enum { FIRST_UNKNOWN = INT32_MIN };

struct draft_sequence {
    struct sequence *sequence;
    struct prompt prompt;                    /* the drafter's own */
    const struct prepared_picture *pictures; /* the prompt's; the caller's, until the prompt is computed */
    int32_t *ids;                            /* answer and drafts that were fed behind the prompt */
    int32_t (*positions)[3];                 /* of ids */
    int capacity;                            /* of ids */
    int limit;                               /* positions it may have */
    int32_t first;                           /* the draft behind the prompt, or FIRST_UNKNOWN */
    struct draft_weights first_weights;

    int held, blocks;    /* positions that it may fill, and blocks held for them: shared global pages, too */
    uint64_t (*keys)[2]; /* (n_keys) of the prompt's whole pages; NULL: it shares nothing */
    bool *shared;        /* (n_keys) the cache counts it as a user */
    int n_keys;
};

/* drafter_pages.c. A sequence holds the blocks of all positions that it may fill, so that a step never lacks any; the cache has
 * what is left. A page of prompt rows goes over to the cache when it is full, and stays there when its users have left, until
 * somebody wants its room. The sequence's local pages (model/kv_layout.h) are its own beside those of the cache, as in prefix.h. */
int64_t draft_blocks(const struct drafter *drafter, int positions);
void draft_pages_begin(struct drafter *drafter, struct draft_sequence *s);
void draft_pages_end(struct drafter *drafter, struct draft_sequence *s);

/* Makes it hold blocks for so many positions; false, and nothing is changed, when there is no room. */
bool draft_pages_hold(struct drafter *drafter, struct draft_sequence *s, int positions);

/* Rows in front of its prompt that it has or would take over. And takes them over, where they are more than it has: returns how
 * many more. */
int draft_pages_there(const struct drafter *drafter, const struct draft_sequence *s);
int draft_pages_adopt(struct drafter *drafter, struct draft_sequence *s);

/* Its newest n rows are of the prompt: the pages that they have filled go over to the cache. */
void draft_pages_keep(struct drafter *drafter, struct draft_sequence *s, int n);

/* Lets go of all that it has and holds. */
void draft_pages_drop(struct drafter *drafter, struct draft_sequence *s);

#endif
