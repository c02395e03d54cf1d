/* utf8.h - UTF-8 as it arrives: whole, broken, or in pieces */
#ifndef MODEL_UTF8_H
#define MODEL_UTF8_H

#include <stddef.h>

/* The sequence at the start of `bytes` (size > 0): its length in *length, which for a broken one is that of the part to replace by
 * one U+FFFD (the Unicode Standard, 3.9, "maximal subparts"). UTF8_CUT: right so far, but the bytes end before it does. */
enum utf8_kind { UTF8_WHOLE, UTF8_BROKEN, UTF8_CUT };
enum utf8_kind utf8_next(const char *bytes, size_t size, size_t *length);

/* Index of the first byte that is not UTF-8, or size. */
size_t utf8_check(const char *bytes, size_t size);

/* What stands for a broken sequence: U+FFFD. */
#define UTF8_REPLACEMENT "\xef\xbf\xbd"

#endif
