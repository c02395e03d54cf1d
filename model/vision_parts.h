/* vision_parts.h - what the files of tower and merger share; besides them only their test includes it */
#ifndef MODEL_VISION_PARTS_H
#define MODEL_VISION_PARTS_H

#include "model/vision.h"

/* Patches whose MLP is computed at once: a picture of 1,024 tokens. It bounds the widest activation and changes no result. */
enum { VISION_CHUNK = 4096 };

#define VISION_EPS 1e-6f /* of every norm; fixed in the reference, not in config.json */

struct vision_layer { /* weights (out, in) with biases (out) */
    struct matrix *w;
    float *b; /* or NULL */
};

struct tower_block {
    float *norm1, *norm2;                         /* (d) */
    struct vision_layer qkv, proj, gate_up, down; /* (3d, d): q, k, v; (d, d); (2ff, d): gate, up; (d, ff) */
};

struct tower {
    struct vision_config config;
    const struct kernels *k;
    struct device *dev;
    int chunk;                  /* VISION_CHUNK */
    struct matrix *patch_embed; /* (d, a row of patches) */
    struct tower_block *blocks; /* (depth) */
};

struct merger {
    struct vision_config config;
    const struct kernels *k;
    struct device *dev;
    float *norm;                 /* (d) */
    struct vision_layer in, out; /* (merge^2 d, merge^2 d); (out_d, merge^2 d) */
};

#endif
