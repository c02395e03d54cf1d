/* language.h - the inside of a struct model; for the files of model/ that are its parts: model.c (life and the step's checks),
 * forward.c (the transformer), scores.c (what comes after the head) */
#ifndef MODEL_LANGUAGE_H
#define MODEL_LANGUAGE_H

#include "model/kv_pages.h"
#include "model/model.h"
#include "model/shard.h"
#include "model/step.h"
#include "model/weights.h"

struct model {
    struct model_config config;
    struct shard shard;
    const struct kernels *k;
    struct device *dev;
    struct comm *comm;
    struct weights weights;
    struct kv_cache *kv;
    struct kv_pages pages;
    struct kv_place places[CONFIG_LAYERS]; /* of the layers, in kv */
    struct step step;
    uint64_t steps;        /* done and refused */
    float attention_scale; /* 1 / sqrt(c), or what the configuration has */
    float embed_scale;     /* of rows of the table */
    int max_rows;

    /* Activations, device memory, by row. Here h, g, ff are the shard's. */
    float *x;      /* (max_rows, d) the residual stream */
    float *y;      /* (max_rows, d) what goes into a block, and what comes out before it is added */
    float *wide;   /* (max_rows, max((h + 2g) c, 2 ff)): queries, keys, values side by side; gate, up */
    float *narrow; /* (max_rows, max(h c, ff)): attention's result; the gate's */

    /* Scores of this rank's vocabulary rows. */
    struct step_buffer scores;                /* (n_scored, shard.rows) device */
    struct step_buffer best_value, best_id;   /* (n_scored) device */
    struct step_buffer penalty, penalty_host; /* struct penalty_columns of scores.c */
};

/* x -> scores: the whole network over the rows of model->step; pictures are in order of step.host.picture. */
void forward(struct model *m, const struct span *spans, int n_spans);

/* Room for the scores and penalties of a step; and the penalties themselves, after the head. */
int scores_reserve(struct model *m, const struct span *spans, int n_spans, struct error *err);
void scores_penalize(struct model *m, const struct span *spans, int n_spans);
void scores_close(struct model *m);

#endif
