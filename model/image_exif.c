/* image_exif.c - which way is up, from an EXIF block */
#include <libexif/exif-data.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "model/image_parts.h"

enum { BLOCK_MAX = 1 << 20 }; /* bytes; a JPEG segment has 64 KiB */

static int orientation_of(ExifData *data)
{
    ExifEntry *entry = exif_content_get_entry(data->ifd[EXIF_IFD_0], EXIF_TAG_ORIENTATION);
    if (!entry || entry->format != EXIF_FORMAT_SHORT || entry->size < 2)
        return 1;
    int value = exif_get_short(entry->data, exif_data_get_byte_order(data));
    return value >= 1 && value <= 8 ? value : 1;
}

int exif_orientation(const uint8_t *block, size_t size)
{
    static const uint8_t head[6] = "Exif\0";
    if (size < 8 || size > BLOCK_MAX)
        return 1;
    size_t skip = memcmp(block, head, sizeof head) == 0 ? sizeof head : 0;
    uint8_t *whole = mem_new(size + sizeof head, 1); /* libexif wants the head; PNG and WebP leave it out */
    memcpy(whole, head, sizeof head);
    memcpy(whole + sizeof head, block + skip, size - skip);
    ExifData *data = exif_data_new_from_data(whole, (unsigned)(size - skip + sizeof head));
    int orientation = data ? orientation_of(data) : 1;
    if (data)
        exif_data_unref(data);
    free(whole);
    return orientation;
}
