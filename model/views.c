/* views.c - a picture and its crops */
#include "model/views.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"

/* The longer side in as many parts as it has lengths of the shorter one (halves count), of crop_least pixels and more if that
 * leaves two, within the bounds. */
static int crops_count(const struct picture_config *p, int longer, int shorter)
{
    int most = longer / p->crop_least;
    double n = floor((double)longer / shorter + 0.5);
    n = n < most ? n : most;
    n = n > 2 ? n : 2;
    return n < p->crop_most ? (int)n : p->crop_most;
}

int views_crops(const struct picture_config *p, int width, int height, int *crop_width, int *crop_height, struct error *err)
{
    bool wide = width >= height;
    int longer = wide ? width : height, shorter = wide ? height : width;
    if (!p->crops || shorter < 1 || (double)longer / shorter < p->crop_ratio)
        return 0;
    int n = crops_count(p, longer, shorter), size = (int)(((int64_t)longer + n - 1) / n);
    if ((size < shorter ? size : shorter) < p->crop_least)
        return 0;
    if ((int64_t)size * (n - 1) >= longer)
        return fail(err, "a picture of %d x %d pixels cannot be cut into %d crops of %d pixels (pan_and_scan_min_crop_size %d)",
                    width, height, n, size, p->crop_least);
    *crop_width = wide ? size : width;
    *crop_height = wide ? height : size;
    return n;
}

static int crop_make(struct patches *patches, const struct image *image, int x, int y, int width, int height,
                     const struct model_config *config, struct error *err)
{
    struct image crop = {width < image->width - x ? width : image->width - x,
                         height < image->height - y ? height : image->height - y, NULL};
    size_t row = (size_t)crop.width * 3;
    crop.rgb = malloc(row * (size_t)crop.height);
    if (!crop.rgb)
        return fail(err, "no memory for a crop of %d x %d pixels", crop.width, crop.height);
    for (int line = 0; line < crop.height; line++)
        memcpy(crop.rgb + (size_t)line * row, image->rgb + ((size_t)(y + line) * (size_t)image->width + (size_t)x) * 3, row);
    int rc = patches_make(patches, &crop, config, err);
    image_free(&crop);
    return rc;
}

int views_make(struct views *views, const struct image *image, const struct model_config *config, struct error *err)
{
    int width = 0, height = 0, crops = views_crops(&config->picture, image->width, image->height, &width, &height, err);
    if (crops < 0)
        return -1;
    *views = (struct views){1 + crops, mem_new((size_t)crops + 1, sizeof *views->patches)};
    int rc = patches_make(&views->patches[0], image, config, err);
    for (int i = 0; i < crops && rc == 0; i++) {
        int x = width < image->width ? i * width : 0, y = height < image->height ? i * height : 0;
        rc = crop_make(&views->patches[1 + i], image, x, y, width, height, config, err);
    }
    if (rc)
        views_free(views);
    return rc;
}

void views_free(struct views *views)
{
    for (int i = 0; i < views->n; i++)
        patches_free(&views->patches[i]);
    free(views->patches);
    *views = (struct views){0};
}

struct picture_shape views_shape(const struct views *views, const struct model_config *config)
{
    int grid[2];
    patches_grid(&views->patches[0], config, grid);
    return (struct picture_shape){grid[0], grid[1], views->n - 1};
}
