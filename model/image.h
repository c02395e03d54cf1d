/* image.h - a picture file to upright RGB, and the resize of Pillow.
 * JPEG (libjpeg-turbo, islow DCT, fancy upsampling), PNG and WebP through their libraries. EXIF orientation is applied;
 * transparency is laid over white, (c * a + 255 * (255 - a) + 127) / 255; grey becomes R = G = B; 16-bit samples keep their high
 * byte. */
#ifndef MODEL_IMAGE_H
#define MODEL_IMAGE_H

#include <stddef.h>
#include <stdint.h>

#include "base/error.h"

struct image {
    int width, height;
    uint8_t *rgb; /* (height, width, 3); malloc'ed */
};

/* Decodes size bytes of a picture with at most max_pixels pixels (checked before decoding): 0, IMAGE_TOO_LARGE where it has more,
 * -1 for every other fault; err says why. */
enum { IMAGE_TOO_LARGE = 1 };
int image_decode(struct image *image, const void *bytes, size_t size, int64_t max_pixels, struct error *err);
void image_free(struct image *image);

enum image_filter { IMAGE_BILINEAR, IMAGE_BICUBIC };

/* Antialiased resize in Pillow's integer arithmetic, horizontal pass first (Pillow up to 12); a pass that changes nothing is
 * skipped. */
int image_resize(struct image *out, const struct image *in, int width, int height, enum image_filter filter, struct error *err);

#endif
