/* network_parts.h - the inside of a struct network, for the files of train/ that are its parts; besides them only their test
 * includes it. Reading order: network.c (life and calls), batch.c (rows), projector.c, decoder_weights.c, decoder.c, objective.c
 * (head and losses). */
#ifndef TRAIN_NETWORK_PARTS_H
#define TRAIN_NETWORK_PARTS_H

#include "train/batch.h"
#include "train/network.h"
#include "train/parameters.h"

struct layer_parameters {
    int attention_norm, qkv, qkv_bias, q_norm, k_norm, o, attention_after, mlp_norm, gate_up, down, mlp_after;
};

/* What a layer leaves behind for its backward pass. Some only where the family has such norms. */
struct layer_state {
    float *attention_in;  /* (n, d) behind the norm */
    float *qkv_raw;       /* (n, (h + 2g) c) before the norms of queries and keys */
    float *qkv;           /* (n, (h + 2g) c) turned */
    float *attended;      /* (n, h c) */
    float *attention_out; /* (n, d) before the norm behind it */
    float *middle;        /* (n, d) the residual stream between the blocks */
    float *mlp_in;        /* (n, d) behind the norm */
    float *gate_up;       /* (n, 2 ff) */
    float *gated;         /* (n, ff) */
    float *mlp_out;       /* (n, d) before the norm behind it */
};

struct projector_state {
    float *features, *normed;          /* (feature_rows, merge * width) */
    float *inner, *active;             /* (feature_rows, inner width); resampler: keys and values (feature_rows, d) */
    float *out;                        /* (tokens, d) */
    float *query, *key, *value, *seen; /* resampler: (cross_rows, d) */
    float *chosen;                     /* resampler: (tokens, d) seen by the queries */
    /* Gradients of those of the same size. */
    float *d_out, *d_inner, *d_normed, *d_query, *d_key, *d_value, *d_seen;
};

/* Device memory of a call. */
struct activations {
    float *x; /* (layers + 1, n, d) the residual stream before each layer, and behind the last */
    struct layer_state *layers;
    float *dx, *d_normed;                               /* (n, d) */
    float *d_wide, *d_narrow;                           /* (n, max((h + 2g) c, 2 ff)), (n, max(h c, ff)) */
    float *last, *last_normed, *d_last, *d_last_normed; /* (n_scored, d) */
    float *scores, *capped;                             /* (score_rows, vocabulary); capped: only where scores have a cap */
    float *loss;                                        /* (n_scored) */
    struct projector_state projector;
    float *block;
    size_t floats;
};

struct network {
    const struct kernels *k;
    const struct grad_kernels *g;
    struct device *dev;
    struct model_config config;
    struct projector projector;
    bool recompute;
    float *frequency, *local_frequency; /* (c / 2) host, of global and local layers */
    float attention_scale, embed_scale;
    struct parameters parameters;
    int parts[PROJECTOR_PARTS]; /* of the projector: parameters, -1 where there is none */
    int embed, norm, head;      /* head = embed where they are tied */
    struct layer_parameters *layers;
    struct batch batch;
    struct activations a;
    int64_t steps;
    double flops;
};

/* Rows of scores that are computed at once: their number depends on the vocabulary alone, as it decides the order of sums. */
int objective_rows(const struct network *net);

/* Products, with their count of operations: weights `count` parameters from index i on. */
void net_linear(struct network *net, float *y, const float *x, int n, int i, int count, int bias);
/* Gradients of the same: the parameters' where they are trained, and unless it is NULL dx = or, with add, dx +=. */
void net_linear_backward(struct network *net, float *dx, bool add, const float *dy, const float *x, int n, int i, int count,
                         int bias);

void projector_add(struct network *net);
int projector_load(struct network *net, struct safetensors *st, uint64_t seed, struct error *err);
void projector_run(struct network *net, const struct train_sample *samples);
void projector_backward(struct network *net, const float *dx);

/* decoder_weights.c: the language model's parameters, behind those of the projector. */
void decoder_add(struct network *net);
int decoder_load(struct network *net, struct safetensors *st, struct error *err);

/* From the rows' ids and the pictures' embeddings to the last layer, and back. */
void decoder_forward(struct network *net, bool keep);
void decoder_backward(struct network *net);

/* The head over the scored rows: the sum of losses; with `backward` the gradients down to the last layer (a.dx). */
double objective_run(struct network *net, const struct train_objective *objective, bool backward);

#endif
