/* image_parts.h - what the picture decoders share; nobody else includes it */
#ifndef MODEL_IMAGE_PARTS_H
#define MODEL_IMAGE_PARTS_H

#include <stdbool.h>

#include "model/image.h"

struct decoding {
    const uint8_t *bytes;
    size_t size;
    int64_t max_pixels;
    bool too_large;  /* more than max_pixels */
    int orientation; /* EXIF, 1..8; 1 = upright */
    struct error *err;
};

/* Each fills in image (allocated by image_allocate) and the orientation. On failure the caller frees what is there. */
int image_decode_jpeg(struct image *image, struct decoding *d);
int image_decode_png(struct image *image, struct decoding *d);
int image_decode_webp(struct image *image, struct decoding *d);

/* Room for a picture of this size, if it is within the limits. */
int image_allocate(struct image *image, int64_t width, int64_t height, struct decoding *d);

/* rgb (count, 3) from rgba (count, 4), over white. */
void image_flatten(uint8_t *rgb, const uint8_t *rgba, size_t count);

/* The orientation in an EXIF block, with or without its "Exif\0\0"; 1 where it says nothing sensible. */
int exif_orientation(const uint8_t *block, size_t size);

#endif
