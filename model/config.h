/* config.h - a checkpoint's config.json, its preprocessor's settings and generation_config.json as plain numbers.
 * The three layouts of config.json (published flat, nested text_config, rope_parameters) and their missing fields end here. */
#ifndef MODEL_CONFIG_H
#define MODEL_CONFIG_H

#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"

enum { CONFIG_STOP_IDS = 8 };

struct vision_config {
    int depth, d, heads, ff, out_d; /* blocks; widths */
    int patch, temporal_patch, merge, channels;
    int window;                  /* pixels */
    uint8_t full_attention[128]; /* block i attends over the whole picture */
};

struct picture_config { /* preprocessing */
    int64_t min_pixels, max_pixels;
    float mean[3], std[3];
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
    char default_system[1024];   /* system text of a conversation without one: the chat template's, else the family's */
    int layers, d, h, g, c, ff;  /* LM: layers, width, query heads, key/value heads, head width, MLP width */
    int vocabulary;              /* rows of the head, padding included */
    bool tied;                   /* the head is the embedding table */
    float norm_eps, rope_theta;
    int mrope_section[3]; /* frequencies per axis (time, height, width), sum c / 2; all zero = 1-D positions */
    int max_positions;
    int32_t image_id, vision_start_id, vision_end_id; /* -1 where the family has none */
    bool has_vision;
    struct vision_config vision;
    struct picture_config picture;
    struct generation_config generation;
};

/* Reads the folder `dir`. Errors name the file and the field. */
int config_read(struct model_config *config, const char *dir, struct error *err);

#endif
