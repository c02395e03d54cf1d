/* image.c - a picture file to upright RGB: finds the format by its first bytes, checks limits, turns what a camera left lying */
#include "model/image.h"

#include <stdlib.h>
#include <string.h>

#include "model/image_parts.h"

enum { SIDE_MAX = 1 << 20 }; /* pixels; three bytes of a row of them stay far within an int */

int image_allocate(struct image *image, int64_t width, int64_t height, struct decoding *d)
{
    if (width < 1 || height < 1 || width > SIDE_MAX || height > SIDE_MAX)
        return fail(d->err, "the picture says it is %lld x %lld pixels; sides of 1 to %d are possible", (long long)width,
                    (long long)height, SIDE_MAX);
    d->too_large = width * height > d->max_pixels;
    if (d->too_large)
        return fail(d->err, "the picture has %lld x %lld pixels; at most %lld are accepted", (long long)width, (long long)height,
                    (long long)d->max_pixels);
    image->width = (int)width;
    image->height = (int)height;
    image->rgb = malloc((size_t)(width * height) * 3);
    return image->rgb ? 0 : fail(d->err, "no memory for a picture of %lld x %lld pixels", (long long)width, (long long)height);
}

void image_free(struct image *image)
{
    free(image->rgb);
    memset(image, 0, sizeof *image);
}

void image_flatten(uint8_t *rgb, const uint8_t *rgba, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        unsigned alpha = rgba[4 * i + 3];
        for (size_t c = 0; c < 3; c++)
            rgb[3 * i + c] = (uint8_t)((rgba[4 * i + c] * alpha + 255 * (255 - alpha) + 127) / 255);
    }
}

/* Pixel (x, y) of the upright picture is pixel (*from_x, *from_y) of the stored one, w x h (EXIF 2.3, 4.6.4 A). */
static void orient(int orientation, int w, int h, int x, int y, int *from_x, int *from_y)
{
    bool swap = orientation >= 5;
    bool mirror_x = orientation == 2 || orientation == 3 || orientation == 7 || orientation == 8;
    bool mirror_y = orientation == 3 || orientation == 4 || orientation == 6 || orientation == 7;
    *from_x = swap ? y : x;
    *from_y = swap ? x : y;
    if (mirror_x)
        *from_x = w - 1 - *from_x;
    if (mirror_y)
        *from_y = h - 1 - *from_y;
}

static int turn_upright(struct image *image, struct decoding *d)
{
    if (d->orientation <= 1 || d->orientation > 8)
        return 0;
    bool swap = d->orientation >= 5;
    struct image out;
    if (image_allocate(&out, swap ? image->height : image->width, swap ? image->width : image->height, d))
        return -1;
    uint8_t *to = out.rgb;
    for (int y = 0; y < out.height; y++)
        for (int x = 0; x < out.width; x++, to += 3) {
            int from_x, from_y;
            orient(d->orientation, image->width, image->height, x, y, &from_x, &from_y);
            memcpy(to, image->rgb + 3 * ((size_t)from_y * (size_t)image->width + (size_t)from_x), 3);
        }
    image_free(image);
    *image = out;
    return 0;
}

static const struct format {
    const char *name;
    int at, size; /* of the magic bytes */
    const char *magic;
    int (*decode)(struct image *image, struct decoding *d);
} formats[] = {
    {"JPEG", 0, 3, "\xff\xd8\xff", image_decode_jpeg},
    {"PNG", 0, 8, "\x89PNG\r\n\x1a\n", image_decode_png},
    {"WebP", 8, 4, "WEBP", image_decode_webp},
};

static const struct format *format_of(const uint8_t *bytes, size_t size)
{
    for (size_t i = 0; i < sizeof formats / sizeof *formats; i++) {
        const struct format *f = &formats[i];
        if (size >= (size_t)(f->at + f->size) && memcmp(bytes + f->at, f->magic, (size_t)f->size) == 0)
            return f;
    }
    return NULL;
}

int image_decode(struct image *image, const void *bytes, size_t size, int64_t max_pixels, struct error *err)
{
    struct decoding d = {.bytes = bytes, .size = size, .max_pixels = max_pixels, .orientation = 1, .err = err};
    struct image decoded = {.rgb = NULL};
    if (size == 0)
        return fail(err, "the picture is empty (0 bytes)");
    const struct format *format = format_of(d.bytes, size);
    if (!format) {
        uint8_t head[4] = {0};
        memcpy(head, bytes, size < 4 ? size : 4);
        return fail(err, "the picture is no JPEG, PNG or WebP file (%zu bytes, first %02x %02x %02x %02x)", size, head[0], head[1],
                    head[2], head[3]);
    }
    if (format->decode(&decoded, &d) || turn_upright(&decoded, &d)) {
        image_free(&decoded);
        fail_in(err, "%s", format->name);
        return d.too_large ? IMAGE_TOO_LARGE : -1;
    }
    *image = decoded;
    return 0;
}
