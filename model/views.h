/* views.h - what a vision tower looks at in one picture: the whole of it and, with pan-and-scan (Gemma3; Gemma 3 technical report,
 * 2025), crops of a wide or tall one, each resized as the whole is. The crops are those of transformers'
 * image_processing_gemma3.py. */
#ifndef MODEL_VIEWS_H
#define MODEL_VIEWS_H

#include "model/patches.h"

struct views {
    int n;                   /* 1 + crops */
    struct patches *patches; /* (n) of one grid: the whole, then the crops from left to right, or from top to bottom */
};

/* How a picture stands in a prompt. */
struct picture_shape {
    int lines, columns; /* of its tokens, and of those of each crop */
    int crops;
};

/* The number of crops of a picture, and their size in pixels; the last one ends with the picture. 0: it has none. An error where
 * the least size that the checkpoint allows leaves the last one empty. */
int views_crops(const struct picture_config *picture, int width, int height, int *crop_width, int *crop_height, struct error *err);

int views_make(struct views *views, const struct image *image, const struct model_config *config, struct error *err);
void views_free(struct views *views); /* zeroes it; a zeroed one is legal */

struct picture_shape views_shape(const struct views *views, const struct model_config *config);

#endif
