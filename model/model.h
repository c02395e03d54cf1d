/* model.h - a language model's shard on this rank: weights, paged key/value cache, sequences, and the one function that runs it.
 *
 * `model_extend` appends rows to sequences and computes them: a prompt chunk, one token and a verification are the same call. A
 * step takes a ragged batch of many sequences. Every rank of the communicator makes the same calls with the same arguments
 * (collective). Shards (tensor parallelism; Shoeybi et al. 2019, Megatron-LM): query heads, MLP columns and vocabulary rows are cut
 * over ranks, key/value heads too, or replicated where ranks outnumber them; two sums over ranks per layer, in rank order. */
#ifndef MODEL_MODEL_H
#define MODEL_MODEL_H

#include "cluster/comm.h"
#include "kernels/kernels.h"
#include "model/config.h"
#include "model/kv_layout.h"
#include "model/safetensors.h"

struct model;
struct sequence; /* positions of one request in the cache */

enum { MODEL_PAGE_POSITIONS = 64, MODEL_ROWS = 512 /* of a step, where nothing else is said */ };

struct model_options {
    const struct kernels *kernels;
    struct device *device;
    struct comm *comm;
    int kv_positions; /* capacity of the cache over all sequences; rounded up to pages */
    int max_rows;     /* largest step; 0 = MODEL_ROWS */
    const char *fill; /* NULL: weights from the checkpoint; "random": random weights of the configured shapes, no file is read
                         (benchmarks) */
    enum dtype fill_dtype;
};

/* dir's weights with config's shapes; `layers` of config may be lowered for benchmarks with random weights. st may be NULL with
 * fill. */
int model_open(struct model **model, struct safetensors *st, const struct model_config *config, const struct model_options *options,
               struct error *err);
void model_close(struct model *model);

/* Which rank counts can hold this model: 0 if `ranks` can, else -1 saying why not. */
int model_ranks_possible(const struct model_config *config, int ranks, struct error *err);

/* Weight bytes of one rank of `ranks`, with weights of `dtype`; bytes of one cache position in all layers, and of the cache of one
 * sequence of so many positions, computed in steps of at most `rows`: less where local layers forget. */
int64_t model_shard_bytes(const struct model_config *config, int ranks, enum dtype dtype);
int64_t model_position_bytes(const struct model_config *config, int ranks);
int64_t model_sequence_bytes(const struct model_config *config, int ranks, int positions, int rows);

/* Sequences. NULL is legal to release. A sequence of n positions uses ceil(n / MODEL_PAGE_POSITIONS) pages of each kind that the
 * layout has (kv_layout.h), but for local pages that are gone: sequence_settle promises that it is never cut before `length` again,
 * so that those go which no row from there on sees. */
struct sequence *sequence_new(struct model *model);
void sequence_release(struct model *model, struct sequence *sequence);
int sequence_length(const struct sequence *sequence);
/* Forgets all positions from `length` on (the roll-back of speculation). */
void sequence_truncate(struct model *model, struct sequence *sequence, int length);
void sequence_settle(struct model *model, struct sequence *sequence, int length);
/* Whether it can be cut to `length` and go on from there. */
bool sequence_reaches(const struct model *model, const struct sequence *sequence, int length);
const struct kv_layout *model_layout(const struct model *model);
int model_blocks(const struct model *model); /* the pages of kv_positions, of all kinds */
int model_blocks_free(const struct model *model);

/* Pages by number, [0, model_blocks), so that their contents outlive a sequence and serve others. Page i of a sequence holds its
 * positions from i * MODEL_PAGE_POSITIONS on. Whoever holds a page must drop it; one that several use must not be written again:
 * no sequence may be cut within it and lengthened. sequence_adopt lengthens a sequence of whole pages by one that is in use, of
 * each kind; the local one is -1 where rows behind the last adopted page do not see it, and where the layout has none. */
int32_t sequence_page(const struct sequence *sequence, enum kv_kind kind, int i);
void sequence_adopt(struct model *model, struct sequence *sequence, const int32_t page[KV_KINDS]);
int model_page_blocks(const struct model *model, int32_t page);
void model_page_hold(struct model *model, int32_t page);
void model_page_drop(struct model *model, int32_t page);
int model_page_uses(const struct model *model, int32_t page);

/* Rows to append to one sequence. Positions are the caller's (M-RoPE: time, height, width; a text-only model uses the first). */
struct span {
    struct sequence *sequence;
    int n;
    const int32_t *ids;            /* (n) */
    const int32_t (*positions)[3]; /* (n) */
    bool generated;                /* class of the rows (kernels.h): false = prompt rows */
    int n_scored; /* the last n_scored rows get scores: 1 at a prompt's end, k + 1 in a verification, 0 in a chunk */
    /* Picture rows: embeddings that replace those of the ids. features (count, d) host memory; first = row within this span. A
     * picture that must be whole (model/family.h) is all in one span, or the rest of one whose first rows are in the cache from
     * such a span. */
    const struct span_picture {
        int first, count;
        const float *features;
    } * pictures;
    int n_pictures;
    /* Repetition penalty of the scored rows; 1 = none. History: ids of the whole sequence before this span (n_history), for the
     * penalty only. */
    float repetition_penalty;
    const int32_t *history;
    int n_history;
};

/* Appends and computes the spans; -1 (nothing appended) when pages run out, a sequence is named twice, or rows exceed max_rows.
 * Picture ids and rows are the caller's to match. */
int model_extend(struct model *model, const struct span *spans, int n_spans, struct error *err);

/* After model_extend: its scored rows, in order of spans. Collective: every rank calls the same one, every rank gets the result.
 * model_best: the id of the largest score over the whole vocabulary, lowest id on ties, without gathering scores; -1 where all are
 * NaN. model_scores_row: the scores (vocabulary) of scored row i to host memory, gathered. model_scores: of all rows.
 * model_scores_part, not collective: what this rank has of row i, columns [*first, *first + the result). */
int model_scored_rows(const struct model *model);
void model_best(struct model *model, int32_t *ids);
int model_scores_part(struct model *model, int i, float *scores, int *first);
void model_scores_row(struct model *model, int i, float *scores);
void model_scores(struct model *model, float *scores);

#endif
