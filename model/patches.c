/* patches.c - an upright picture to the rows that a vision tower reads */
#include "model/patches.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "model/projector.h"

enum { ASPECT_MAX = 200, PIXELS_MAX = 1 << 28 }; /* of the family's processor; what a grid of ints can hold with ease */

int patches_size(int height, int width, int factor, int64_t min_pixels, int64_t max_pixels, int *out_height, int *out_width,
                 struct error *err)
{
    int longer = height > width ? height : width, shorter = height > width ? width : height;
    if (shorter < 1)
        return fail(err, "a picture of %d x %d pixels is empty", width, height);
    if ((double)longer / shorter > ASPECT_MAX)
        return fail(err, "a picture of %d x %d pixels is too thin: sides may differ by a factor of at most %d", width, height,
                    ASPECT_MAX);
    double area = (double)height * width;
    double h = rint((double)height / factor) * factor, w = rint((double)width / factor) * factor;
    if (h * w > (double)max_pixels) {
        double beta = sqrt(area / (double)max_pixels);
        h = fmax(factor, floor(height / beta / factor) * factor);
        w = fmax(factor, floor(width / beta / factor) * factor);
    } else if (h * w < (double)min_pixels) {
        double beta = sqrt((double)min_pixels / area);
        h = ceil(height * beta / factor) * factor;
        w = ceil(width * beta / factor) * factor;
    }
    if (!(h >= factor && w >= factor && h * w <= PIXELS_MAX))
        return fail(err, "a picture of %d x %d pixels cannot be resized within min_pixels %lld and max_pixels %lld", width, height,
                    (long long)min_pixels, (long long)max_pixels);
    *out_height = (int)h;
    *out_width = (int)w;
    return 0;
}

/* Value of a byte in channel c: rescaled in double, rounded to float, normalised in float, as the reference does. */
static void make_values(float values[3][256], const struct picture_config *picture)
{
    for (int c = 0; c < 3; c++)
        for (int byte = 0; byte < 256; byte++)
            values[c][byte] = ((float)(byte * (1 / 255.0)) - picture->mean[c]) / picture->std[c];
}

/* One row: channel, frame, line, column. A still picture is every frame of it. */
static void fill_row(float *row, const uint8_t *corner, size_t stride, const struct vision_config *v, float values[3][256])
{
    for (int c = 0; c < 3; c++)
        for (int t = 0; t < v->temporal_patch; t++)
            for (int y = 0; y < v->patch; y++)
                for (int x = 0; x < v->patch; x++)
                    *row++ = values[c][corner[(size_t)y * stride + 3 * (size_t)x + (size_t)c]];
}

static int fill_rows(struct patches *patches, const struct image *resized, const struct model_config *config, struct error *err)
{
    const struct vision_config *v = &config->vision;
    float values[3][256];
    make_values(values, &config->picture);
    size_t patch = (size_t)v->patch, side = (size_t)config->picture.block, stride = 3 * (size_t)resized->width;
    struct patches made = {resized->height / v->patch, resized->width / v->patch,
                           v->channels * v->temporal_patch * v->patch * v->patch, NULL};
    size_t n = (size_t)made.grid_h * (size_t)made.grid_w, lines = (size_t)made.grid_h / side, columns = (size_t)made.grid_w / side;
    made.rows = malloc(n * (size_t)made.width * sizeof *made.rows);
    if (!made.rows)
        return fail(err, "no memory for %zu patches of a picture", n);
    float *row = made.rows;
    for (size_t block = 0; block < lines * columns; block++)
        for (size_t inner = 0; inner < side * side; inner++, row += made.width) {
            size_t y = block / columns * side + inner / side, x = block % columns * side + inner % side;
            fill_row(row, resized->rgb + y * patch * stride + x * patch * 3, stride, v, values);
        }
    *patches = made;
    return 0;
}

int patches_make(struct patches *patches, const struct image *image, const struct model_config *config, struct error *err)
{
    const struct picture_config *p = &config->picture;
    int width = p->side, height = p->side;
    struct image resized;
    if ((!p->side && patches_size(image->height, image->width, config->vision.patch * config->vision.merge, p->min_pixels,
                                  p->max_pixels, &height, &width, err)) ||
        image_resize(&resized, image, width, height, p->filter, err))
        return -1;
    int rc = fill_rows(patches, &resized, config, err);
    image_free(&resized);
    return rc;
}

void patches_planes(float *planes, const struct patches *patches, const struct model_config *config)
{
    size_t patch = (size_t)config->vision.patch, columns = (size_t)patches->grid_w, width = columns * patch;
    size_t plane = (size_t)patches->grid_h * patch * width;
    const float *from = patches->rows;
    for (size_t row = 0; row < (size_t)patches->grid_h * columns; row++)
        for (size_t c = 0; c < (size_t)config->vision.channels; c++)
            for (size_t y = 0; y < patch; y++, from += patch)
                memcpy(planes + c * plane + (row / columns * patch + y) * width + row % columns * patch, from,
                       patch * sizeof *from);
}

void patches_free(struct patches *patches)
{
    free(patches->rows);
    memset(patches, 0, sizeof *patches);
}

void patches_grid(const struct patches *patches, const struct model_config *config, int grid[2])
{
    const int cells[] = {patches->grid_h / config->vision.merge, patches->grid_w / config->vision.merge};
    projector_grid(config, cells, grid);
}

int patches_tokens(const struct patches *patches, const struct model_config *config)
{
    int grid[2];
    patches_grid(patches, config, grid);
    return grid[0] * grid[1];
}
