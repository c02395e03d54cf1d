/* vision_parts.h - what the towers of the families are made of and share: vision.c opens and runs them, vision_weights.c reads
 * weights, vision_qwen.c and vision_siglip.c know one kind each. Besides them only family.c and the tests of vision include it.
 * Letters: n patches, d width, ff MLP width, heads of width c. */
#ifndef MODEL_VISION_PARTS_H
#define MODEL_VISION_PARTS_H

#include <stdbool.h>

#include "model/projector.h"
#include "model/vision.h"

/* Patches whose MLP is computed at once: a picture of 1,024 tokens. It bounds the widest activation and changes no result. */
enum { VISION_CHUNK = 4096 };

struct vision_layer { /* weights (out, in) with biases (out) */
    struct matrix *w;
    float *b; /* or NULL */
};

struct vision_norm {
    float *w, *b; /* (d); b NULL: root mean square, without a bias */
};

struct tower_block {
    struct vision_norm norm1, norm2;
    struct vision_layer qkv, proj; /* (3d, d): q, k, v; (d, d) */
    struct vision_layer up, down;  /* (ff, d), or (2ff, d): gate, up; (d, ff) */
};

struct tower {
    struct vision_config config;
    const struct tower_kind *kind;
    const struct kernels *k;
    struct device *dev;
    int chunk;                  /* VISION_CHUNK */
    struct vision_layer patch;  /* (d, a row of patches) */
    struct tower_block *blocks; /* (depth) */
    float *places;              /* (n_places, d) what is added to the patch at each place, or NULL */
    int n_places;
    struct vision_norm after; /* behind the last block, or NULLs */
};

/* ---- weights ---- */

struct vision_loader {
    struct safetensors *st;
    const struct kernels *k;
    struct device *dev;
    const char *prefix, *block; /* of all names; of those of a block: "blocks." */
    struct error *err;
    char name[256]; /* of the tensor at hand */
};

/* find_prefix: the prefix under which the checkpoint has `probe`; the first one where it has none, so that errors name that. Then
 * tensors prefix + rest, or prefix + block + number + rest where block >= 0. What is loaded is its owner's to free, after errors,
 * too. need: where it must have this shape. */
const char *vision_find_prefix(const struct safetensors *st, const char *const *prefixes, const char *probe);
const struct tensor *vision_need(struct vision_loader *l, int block, const char *rest, int64_t rows, int64_t cols);
int vision_load_vector(struct vision_loader *l, float **vector, int block, const char *rest, int n);
/* stem.weight and, if there shall be one, stem.bias. */
int vision_load_norm(struct vision_loader *l, struct vision_norm *norm, int block, const char *stem, int n, bool bias);
/* Weights and biases of `count` stems, each (rows, cols), below each other. */
int vision_load_layer(struct vision_loader *l, struct vision_layer *layer, int block, const char *const *stems, int count, int rows,
                      int cols, bool bias);
/* One matrix of the rows of `count` tensors, each (rows, cols), below each other. */
int vision_load_matrix(struct vision_loader *l, struct matrix **m, int block, const char *const *names, int count, int rows,
                       int cols);
/* The same of one tensor that is stored (cols, rows), unlike all others. */
int vision_load_turned(struct vision_loader *l, struct matrix **m, const char *name, int rows, int cols);
int vision_patch_width(const struct vision_config *v);

/* ---- one picture in the tower ---- */

enum { VISION_TAKEN = 16 };

struct vision_run { /* device memory */
    const struct tower *t;
    int n, chunk;                  /* patches; the most that go through wide and narrow of the MLP at once */
    float *x, *y;                  /* (n, d) */
    float *wide, *narrow;          /* (n, 3d) or (chunk, 2ff); (n, d) or (chunk, ff) */
    int32_t *first_all, *last_all; /* (n) the whole picture */
    void *taken[VISION_TAKEN];     /* all of the above and what a kind takes; freed at the end */
    int n_taken;
};

/* Device memory for count 4-byte elements, or NULL. */
void *vision_take(struct vision_run *r, size_t count);
/* y (n, d) = patches times the patch layer's weights. */
void vision_embed(struct vision_run *r, float *y, const struct patches *patches);

/* ---- kinds ---- */

struct tower_kind {
    const char *tower_probe;  /* the tensor that tells which of the family's prefixes a checkpoint has */
    const char *block;        /* names of blocks begin so */
    const char *const *parts; /* how the names of the tower's tensors begin; NULL-terminated */
    bool averaged;            /* a cell is the mean of its patches' rows; else they stand side by side */
    int (*load)(struct vision_loader *l, struct tower *t);
    int (*check)(const struct tower *t, const struct patches *patches, struct error *err);
    /* Patches to states in run->x; *window_index may be made (vision.h). */
    int (*run)(struct vision_run *r, const struct patches *patches, int32_t **window_index, struct error *err);
    /* As vision_cells. */
    int (*cells)(const struct vision_reader *r, const struct vision_states *states, float *cells, struct error *err);
};
extern const struct tower_kind tower_kind_qwen, tower_kind_siglip;

#endif
