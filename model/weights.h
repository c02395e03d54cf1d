/* weights.h - one rank's weights of a language model on its device: read from a checkpoint slice by slice, or random */
#ifndef MODEL_WEIGHTS_H
#define MODEL_WEIGHTS_H

#include "kernels/kernels.h"
#include "model/config.h"
#include "model/safetensors.h"
#include "model/shard.h"

struct layer_weights {                  /* of this rank: h, g, ff are the shard's */
    float *attention_norm, *mlp_norm;   /* (d) before the blocks */
    float *attention_after, *mlp_after; /* (d) behind them, or NULL */
    struct matrix *qkv;                 /* ((h + 2g) c, d): queries, keys, values */
    float *qkv_bias;                    /* ((h + 2g) c), or NULL */
    float *q_norm, *k_norm;             /* (c), or NULL */
    struct matrix *o;                   /* (d, h c) */
    struct matrix *gate_up;             /* (2 ff, d): gate, up */
    struct matrix *down;                /* (d, ff) */
};

struct weights {
    const struct kernels *k;
    struct device *dev;
    struct matrix *embed; /* (rows, d) */
    enum dtype embed_dtype;
    struct matrix *head; /* (rows, d); the same as embed where the model ties them */
    float *norm;         /* (d) before the head */
    int n_layers;
    struct layer_weights *layers;
};

struct weights_source {
    struct safetensors *st; /* NULL: random numbers of fill_dtype */
    enum dtype fill_dtype;
};

/* Host memory beside the weights is bounded by a few megabytes. After an error, weights_free is still due. */
int weights_load(struct weights *w, const struct weights_source *source, const struct model_config *config,
                 const struct shard *shard, const struct kernels *k, struct device *dev, struct error *err);
void weights_free(struct weights *w);

#endif
