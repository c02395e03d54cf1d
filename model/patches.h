/* patches.h - an upright picture to the rows that a vision tower reads: resize (to a fixed size, or as Qwen's smart_resize finds
 * it), rescale and normalise, cut into patches in raster order of blocks (config->picture.block: 2 x 2 in Qwen2.5-VL, single
 * patches in Gemma3) */
#ifndef MODEL_PATCHES_H
#define MODEL_PATCHES_H

#include "model/config.h"
#include "model/image.h"

struct patches {
    int grid_h, grid_w; /* patches; multiples of merge */
    int width;          /* of a row: channels * temporal_patch * patch * patch */
    float *rows;        /* (grid_h * grid_w, width); malloc'ed */
};

/* The size to which a picture is resized: multiples of `factor` (patch * merge), pixels within [min, max], aspect ratio kept.
 * Halves round to even, as in Python. */
int patches_size(int height, int width, int factor, int64_t min_pixels, int64_t max_pixels, int *out_height, int *out_width,
                 struct error *err);

int patches_make(struct patches *patches, const struct image *image, const struct model_config *config, struct error *err);
void patches_free(struct patches *patches);

/* The same numbers as planes (channels, height, width), for patches in raster order. */
void patches_planes(float *planes, const struct patches *patches, const struct model_config *config);

/* Lines and columns of the tokens that a picture takes in a prompt: (grid_h, grid_w) / merge, or one line of a resampler's
 * queries. */
void patches_grid(const struct patches *patches, const struct model_config *config, int grid[2]);
/* Their product. */
int patches_tokens(const struct patches *patches, const struct model_config *config);

#endif
