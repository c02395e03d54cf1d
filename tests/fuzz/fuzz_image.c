/* fuzz_image.c - a picture file of any format, and a resize of what it holds */
#include "tests/fuzz/fuzz.h"

#include "model/image.h"

enum { PIXELS_MOST = 1 << 20 };

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct image image, small;
    struct error err;
    if (image_decode(&image, data, size, PIXELS_MOST, &err))
        return 0;
    if (image.width < 1 || image.height < 1 || (int64_t)image.width * image.height > PIXELS_MOST)
        abort();
    if (image_resize(&small, &image, 28, 28, IMAGE_BICUBIC, &err) == 0)
        image_free(&small);
    image_free(&image);
    return 0;
}
