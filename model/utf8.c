/* utf8.c - UTF-8 as it arrives: whole, broken, or in pieces */
#include "model/utf8.h"

/* Bounds of the second byte (the Unicode Standard, table 3-7): no overlong forms, no surrogates, nothing above U+10FFFF. */
static void second_byte(unsigned char first, unsigned char *low, unsigned char *high)
{
    *low = first == 0xe0 ? 0xa0 : first == 0xf0 ? 0x90 : 0x80;
    *high = first == 0xed ? 0x9f : first == 0xf4 ? 0x8f : 0xbf;
}

enum utf8_kind utf8_next(const char *bytes, size_t size, size_t *length)
{
    const unsigned char *b = (const unsigned char *)bytes;
    *length = 1;
    if (b[0] < 0x80)
        return UTF8_WHOLE;
    if (b[0] < 0xc2 || b[0] > 0xf4)
        return UTF8_BROKEN;
    size_t want = b[0] < 0xe0 ? 2 : b[0] < 0xf0 ? 3 : 4;
    unsigned char low, high;
    second_byte(b[0], &low, &high);
    for (size_t i = 1; i < want; i++, low = 0x80, high = 0xbf) {
        if (i == size)
            return UTF8_CUT;
        if (b[i] < low || b[i] > high)
            return UTF8_BROKEN;
        *length = i + 1;
    }
    return UTF8_WHOLE;
}

size_t utf8_check(const char *bytes, size_t size)
{
    size_t at = 0, length;
    while (at < size && utf8_next(bytes + at, size - at, &length) == UTF8_WHOLE)
        at += length;
    return at;
}
