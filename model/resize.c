/* resize.c - the antialiased resize of Pillow (src/libImaging/Resample.c, up to version 12), bit for bit: weights in double, then
 * integers of 22 bits, the horizontal pass first, rounded to bytes between the passes */
#include <math.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "model/image.h"

enum { WEIGHT_BITS = 22, HALF = 1 << (WEIGHT_BITS - 1) };

static double bicubic(double x)
{
    const double a = -0.5;
    x = fabs(x);
    if (x < 1)
        return ((a + 2) * x - (a + 3)) * x * x + 1;
    return x < 2 ? (((x - 5) * x + 8) * x - 4) * a : 0;
}

static double bilinear(double x)
{
    x = fabs(x);
    return x < 1 ? 1 - x : 0;
}

/* One axis: output i is the sum over k < count[i] of weight[i * room + k] * input[first[i] + k]. */
struct axis {
    int n, room;
    int *first, *count;
    int32_t *weights;
};

static void axis_free(struct axis *axis)
{
    free(axis->first);
    free(axis->count);
    free(axis->weights);
}

static int32_t quantise(double weight)
{
    return (int32_t)(weight * (1 << WEIGHT_BITS) + (weight < 0 ? -0.5 : 0.5));
}

static void axis_make(struct axis *axis, int in, int out, enum image_filter filter)
{
    double scale = (double)in / out, stretch = scale < 1 ? 1 : scale;
    double support = (filter == IMAGE_BICUBIC ? 2 : 1) * stretch, shrink = 1 / stretch;
    axis->n = out;
    axis->room = 2 * (int)ceil(support) + 1;
    axis->first = mem_new((size_t)out, sizeof *axis->first);
    axis->count = mem_new((size_t)out, sizeof *axis->count);
    axis->weights = mem_new((size_t)out * (size_t)axis->room, sizeof *axis->weights);
    double *exact = mem_new((size_t)axis->room, sizeof *exact);
    for (int i = 0; i < out; i++) {
        double centre = (i + 0.5) * scale, sum = 0;
        int low = (int)(centre - support + 0.5), high = (int)(centre + support + 0.5);
        low = low < 0 ? 0 : low;
        high = high > in ? in : high;
        axis->first[i] = low;
        axis->count[i] = high - low;
        for (int k = 0; k < high - low; k++) {
            double x = (k + low - centre + 0.5) * shrink;
            sum += exact[k] = filter == IMAGE_BICUBIC ? bicubic(x) : bilinear(x);
        }
        for (int k = 0; k < high - low; k++)
            axis->weights[(size_t)i * (size_t)axis->room + (size_t)k] = quantise(sum != 0 ? exact[k] / sum : exact[k]);
    }
    free(exact);
}

static uint8_t rounded(int32_t sum)
{
    sum >>= WEIGHT_BITS;
    return (uint8_t)(sum < 0 ? 0 : sum > 255 ? 255 : sum);
}

static void pass_horizontal(uint8_t *out, const uint8_t *in, int width, int height, const struct axis *axis)
{
    for (int y = 0; y < height; y++)
        for (int x = 0; x < axis->n; x++, out += 3) {
            const uint8_t *from = in + 3 * ((size_t)y * (size_t)width + (size_t)axis->first[x]);
            const int32_t *weights = axis->weights + (size_t)x * (size_t)axis->room;
            int32_t red = HALF, green = HALF, blue = HALF;
            for (int k = 0; k < axis->count[x]; k++, from += 3) {
                red += from[0] * weights[k];
                green += from[1] * weights[k];
                blue += from[2] * weights[k];
            }
            out[0] = rounded(red);
            out[1] = rounded(green);
            out[2] = rounded(blue);
        }
}

/* Line by line of the input, so that memory is read in order. */
static void pass_vertical(uint8_t *out, const uint8_t *in, int width, const struct axis *axis)
{
    size_t stride = 3 * (size_t)width;
    int32_t *sums = mem_new(stride, sizeof *sums); /* one line of the output */
    for (int y = 0; y < axis->n; y++, out += stride) {
        const uint8_t *from = in + (size_t)axis->first[y] * stride;
        for (size_t c = 0; c < stride; c++)
            sums[c] = HALF;
        for (int k = 0; k < axis->count[y]; k++, from += stride) {
            int32_t weight = axis->weights[(size_t)y * (size_t)axis->room + (size_t)k];
            for (size_t c = 0; c < stride; c++)
                sums[c] += from[c] * weight;
        }
        for (size_t c = 0; c < stride; c++)
            out[c] = rounded(sums[c]);
    }
    free(sums);
}

/* A pass makes *image into one of the other size. */
static int run_pass(struct image *image, int size, bool horizontal, enum image_filter filter, struct error *err)
{
    int width = horizontal ? size : image->width, height = horizontal ? image->height : size;
    uint8_t *out = malloc((size_t)width * (size_t)height * 3);
    if (!out)
        return fail(err, "no memory to resize a picture to %d x %d pixels", width, height);
    struct axis axis;
    axis_make(&axis, horizontal ? image->width : image->height, size, filter);
    if (horizontal)
        pass_horizontal(out, image->rgb, image->width, height, &axis);
    else
        pass_vertical(out, image->rgb, width, &axis);
    axis_free(&axis);
    image_free(image);
    *image = (struct image){width, height, out};
    return 0;
}

int image_resize(struct image *out, const struct image *in, int width, int height, enum image_filter filter, struct error *err)
{
    if (width < 1 || height < 1)
        return fail(err, "a picture cannot be resized to %d x %d pixels", width, height);
    size_t size = (size_t)in->width * (size_t)in->height * 3;
    struct image work = {in->width, in->height, malloc(size)};
    if (!work.rgb)
        return fail(err, "no memory to resize a picture of %d x %d pixels", in->width, in->height);
    memcpy(work.rgb, in->rgb, size);
    if ((width != work.width && run_pass(&work, width, true, filter, err)) ||
        (height != work.height && run_pass(&work, height, false, filter, err))) {
        image_free(&work);
        return -1;
    }
    *out = work;
    return 0;
}
