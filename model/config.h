/* config.h - a checkpoint's config.json, its preprocessor's settings and generation_config.json as plain numbers.
 * The layouts of config.json (published flat, nested text_config, rope_parameters) and their missing fields end here. */
#ifndef MODEL_CONFIG_H
#define MODEL_CONFIG_H

#include <stdbool.h>
#include <stdint.h>

#include "base/dtype.h"
#include "base/error.h"
#include "base/pan_and_scan.h"
#include "model/image.h"

enum { CONFIG_STOP_IDS = 8, CONFIG_LAYERS = 1024 };

enum projector_kind {
    PROJECTOR_MLP,
    PROJECTOR_LINEAR,
    PROJECTOR_RESAMPLER,
    PROJECTOR_PLAIN,
    PROJECTOR_KINDS
}; /* model/projector.h */

struct vision_config {
    int depth, d, heads, ff, out_d; /* blocks; widths */
    int patch, temporal_patch, channels;
    int merge;                   /* a token is made of merge x merge patches */
    int window;                  /* pixels; 0 = every block attends over the whole picture */
    uint8_t full_attention[128]; /* block i attends over the whole picture */
    float norm_eps;
};

struct picture_config { /* preprocessing */
    int side;           /* every picture becomes side x side pixels; 0 = it keeps its shape, within: */
    int64_t min_pixels, max_pixels;
    enum image_filter filter;
    int block; /* patches go in raster order of blocks of block x block, and in raster order within each */
    float mean[3], std[3];
    /* Pan-and-scan (model/views.h). crop_most 0: the family has none. */
    bool crops;                /* it is on */
    int crop_most, crop_least; /* crops of a picture; pixels of a crop's shorter side */
    double crop_ratio;         /* of a picture's longer side to the shorter, from which on it has crops */
};

struct generation_config { /* defaults of a request */
    int32_t stop_ids[CONFIG_STOP_IDS];
    int n_stop_ids;
    float temperature; /* 0 where do_sample is false */
    float top_p, min_p;
    int top_k;
    float repetition_penalty; /* 1 = none */
};

struct model_config {
    const struct family *family; /* model/family.h */
    char name[128];              /* last component of the folder */
    char default_system[1024];   /* system text of a conversation without one: the chat template's; without a template the family's;
                                    "": no system turn */
    int layers, d, h, g, c, ff;  /* LM: layers, width, query heads, key/value heads, head width, MLP width */
    int vocabulary;              /* rows of the head, padding included */
    bool tied;                   /* the head is the embedding table */
    float norm_eps;
    float rope_theta, rope_factor;  /* of global layers; positions are divided by the factor, 0 = 1 */
    int mrope_section[3];           /* frequencies per axis (time, height, width), sum c / 2; all zero = 1-D positions */
    int window;                     /* keys that a row of a local layer sees, its own included; 0 = all layers are global */
    uint8_t local[CONFIG_LAYERS];   /* layer i is local */
    float local_theta;              /* rope_theta of local layers */
    int query_scalar;               /* attention scores are divided by its square root; 0 = c */
    float attention_cap, score_cap; /* x becomes cap * tanh(x / cap), of attention's scores and of the head's; 0 = no cap */
    int max_positions;
    int32_t image_id, vision_start_id, vision_end_id; /* -1 where the family has none. image_id may lie beyond the vocabulary */
    bool has_vision;
    struct vision_config vision;
    enum projector_kind projector; /* member "massv": MLP, the family's own, where there is none */
    int queries;                   /* of a resampler: tokens of a picture */
    struct picture_config picture;
    struct generation_config generation;
};

/* Axes of a row's position: 3 (M-RoPE) or 1. */
static inline int config_axes(const struct model_config *config)
{
    return config->mrope_section[0] | config->mrope_section[1] | config->mrope_section[2] ? 3 : 1;
}

/* What attention's scores are multiplied by before the softmax. */
float config_attention_scale(const struct model_config *config);

/* What rows of the embedding table are multiplied by, rounded to numbers of `dtype`: 1, or where the family scales them sqrt(d).
 * The published models were trained with the factor rounded to the table's numbers; for computing as if in f32, DTYPE_F32. */
float config_embed_scale(const struct model_config *config, enum dtype dtype);

/* Tokens of a picture where all pictures have as many, else 0. */
static inline int config_picture_tokens(const struct model_config *config)
{
    if (config->projector == PROJECTOR_RESAMPLER)
        return config->queries;
    int side = config->picture.side ? config->picture.side / config->vision.patch / config->vision.merge : 0;
    return side * side;
}

/* Reads the folder `dir`. Errors name the file and the field. */
int config_read(struct model_config *config, const char *dir, struct error *err);

/* Turns pan-and-scan on or off, or leaves it as the checkpoint has it. On is an error where the family has none. */
int config_pan_and_scan(struct model_config *config, enum pan_and_scan choice, struct error *err);

#endif
