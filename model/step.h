/* step.h - one ragged batch as the device wants it: spans of many sequences laid out row by row, prompt rows first */
#ifndef MODEL_STEP_H
#define MODEL_STEP_H

#include "kernels/kernels.h"
#include "model/config.h"
#include "model/kv_pages.h"
#include "model/model.h"

/* The columns of a step, one entry per row. Once in host memory, once on the device. */
struct step_angles {
    float *cosine, *sine; /* (max_rows, c / 2) */
};

struct step_columns {
    int32_t *ids, *sequence;             /* (max_rows) */
    int32_t *slot;                       /* (blocks, max_rows) where the row stands in each block of its pages */
    int32_t *first, *local_first, *last; /* (max_rows) the keys that a row sees, in global and in local layers (kernels.h) */
    int32_t *scored;                     /* (n_scored) the rows that get scores, prompt rows first */
    int32_t *picture;                    /* (n_picture) the rows that are a picture's */
    struct step_angles global, local;    /* rotary angles of the kinds of layers */
};

struct step_buffer { /* memory that grows, on the device or (k NULL) on the host */
    void *p;
    size_t bytes;
};

struct step {
    const struct kernels *k;
    struct device *dev;
    const struct model_config *config;
    float *frequency, *local_frequency; /* (c / 2) angle per position */
    struct kv_layout layout;
    int max_rows;
    struct rows rows, scored_rows; /* how many, by class */
    int n_pictures;                /* picture rows */
    struct step_columns host, device;
    void *host_block, *device_block;
    struct step_buffer host_pages, device_pages; /* (blocks, sequences, pages_per_sequence) */
    int pages_per_sequence, n_sequences;
    int *order; /* (n_scored) scored row in order of spans -> where it stands in `scored` */
};

int step_open(struct step *step, const struct model_config *config, int max_rows, const struct kernels *k, struct device *dev,
              struct error *err);
void step_close(struct step *step);

/* Makes buffer at least this large; contents are lost. -1 where there is no memory. */
int step_buffer_reserve(struct step_buffer *buffer, size_t bytes, const struct kernels *k, struct device *dev, struct error *err);
void step_buffer_free(struct step_buffer *buffer, const struct kernels *k, struct device *dev);

/* Lays out checked spans, whose sequences are already lengthened by their rows. step_reserve has made room. */
int step_reserve(struct step *step, const struct span *spans, int n_spans, struct error *err);
void step_make(struct step *step, const struct span *spans, int n_spans, const struct kv_pages *pages);

/* The part of a step that kernels take for attention in the layers of one block (struct kv_place). */
struct kv_rows step_kv_rows(const struct step *step, int block);

static inline int rows_count(struct rows rows)
{
    return rows.prompt + rows.generated;
}

#endif
