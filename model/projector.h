/* projector.h - the kinds of projector: what makes embeddings of a picture's cells, for the model that serves and for the network
 * that is trained.
 *
 * A cell is what the tower saw at one place of the grid of tokens: the `merge` tower rows of its patches side by side, `width`
 * numbers each (one row where the family averages them). Cells stand in raster order. What a family's own projector is made of
 * stands in its entry (model/family.h), what the others are made of in projector.c: one list of tensors each, which loading,
 * training and the estimate of a run's size go by.
 *   mlp        the family's own: the shape of the target's, so that the drafter is an ordinary checkpoint
 *   linear     norm of each tower row, Linear
 *   resampler  norm of each tower row; `queries` learned vectors attend to the picture's cells with the language model's number of
 *              query heads (Alayrac et al. 2022, Flamingo, 2.1; one layer); Linear. Every picture has `queries` tokens
 *   plain      Linear to the width of the language model, erf GELU, Linear (Liu et al. 2023, LLaVA-1.5) */
#ifndef MODEL_PROJECTOR_H
#define MODEL_PROJECTOR_H

#include "kernels/kernels.h"
#include "model/config.h"

extern const char *const projector_kind_names[PROJECTOR_KINDS]; /* "mlp", "linear", "resampler", "plain" */

/* The parts in the order in which training lists them. A resampler's first layer makes values, its second reads what was seen. */
enum projector_part {
    PART_NORM,        /* (width) */
    PART_QUERIES,     /* (queries, d) */
    PART_KEYS,        /* (d, merge width), without a bias, which would change no softmax */
    PART_FIRST,       /* (inner, merge width) */
    PART_FIRST_BIAS,  /* (inner) */
    PART_SECOND,      /* (d, inner), or (d, merge width) where it is the only layer */
    PART_SECOND_BIAS, /* (d) */
    PROJECTOR_PARTS
};

/* A family's own stands in its entry (model/family.h). */
struct projector_form {
    const char *names[PROJECTOR_PARTS]; /* of tensors; NULL: it has no such part */
    bool of_family;                     /* names stand behind one of the family's projector_prefixes */
    bool wide;                          /* inner is merge width, else d */
    bool turned;                        /* the second layer is stored (in, out), unlike all other layers */
    float norm_offset;                  /* added to the norm's weight */
};

extern const struct projector_form projector_form_qwen, projector_form_siglip;

struct projector {
    const struct projector_form *form;
    int merge, width, queries; /* queries: 0 unless it resamples */
    int d, heads;              /* of the language model */
    float norm_eps;
};

/* The projector of a configuration that sees: of its kind, behind its tower. */
struct projector projector_of(const struct model_config *config);
/* 0 where the numbers of a configuration make a projector; else -1 with the reason. */
int projector_check(const struct model_config *config, struct error *err);

/* Lines and columns of tokens that a picture of so many cells takes in a prompt: as many, or one line of queries. */
void projector_grid(const struct model_config *config, const int cells[2], int tokens[2]);

bool projector_has(const struct projector *p, enum projector_part part);
/* As it is stored; rows 0: a vector of cols. */
void projector_shape(const struct projector *p, enum projector_part part, int *rows, int *cols);
/* Width of its first layer's result; 0 without. */
int projector_inner(const struct projector *p);

/* Rows that one attention of a resampler runs over: of each picture its queries, then its cells. Query rows see all cells of their
 * picture, rows of cells nothing but themselves. The memory is the host's to fill in, then the device's. */
struct projector_cross {
    int32_t *query, *query_row; /* (tokens) which query, and the row where it stands */
    int32_t *key_row;           /* (cells) */
    int32_t *first, *last;      /* (tokens + cells) */
};
/* Fills in one picture of so many tokens and cells, whose rows begin at `begin`; `token` and `cell`: those before it. */
void projector_cross_picture(const struct projector_cross *cross, int tokens, int cells, int begin, int token, int cell);

/* Where the numbers of a projector are: a model and a network that is trained hold them differently. */
struct projector_weights {
    void *of;
    /* y (n, rows of the part) = x W^T + the bias that follows the part; KEYS, FIRST, SECOND. */
    void (*product)(void *of, float *y, const float *x, int n, enum projector_part part);
    /* y (n, d) = the learned queries of these indices. */
    void (*queries)(void *of, float *y, const int32_t *index, int n);
    const float *norm; /* device memory, or NULL */
};

/* Device memory of a pass over the cells of one or several pictures. What a kind does not use may be NULL. */
struct projector_work {
    int cells, tokens;     /* the same but for a resampler */
    const float *from;     /* (cells, merge width) */
    float *normed;         /* (cells, merge width); may be `from` */
    float *inner, *active; /* (cells, inner), one behind the GELU; may be one. Resampler: inner holds keys, then values */
    float *out;            /* (tokens, d); may be `from` where it is as large and there is a first layer */
    /* Resampler. query, key and value (tokens + cells, d) are numbers already, zeros say; rows that stand for something are
     * overwritten. seen (tokens + cells, d), chosen (tokens, d). */
    float *query, *key, *value, *seen, *chosen;
    struct projector_cross cross; /* on the device */
};

/* The embeddings of the pictures' tokens, to work->out. */
void projector_forward(const struct projector *p, const struct projector_weights *weights, const struct projector_work *work,
                       const struct kernels *k, struct device *dev);
/* The attention of a resampler over its rows; the backward pass wants the same. */
struct attention projector_attention(const struct projector *p, const struct projector_cross *cross);

#endif
