/* error.c - the text of a failure */
#include "base/error.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

int fail(struct error *err, const char *format, ...)
{
    if (!err)
        return -1;
    va_list args;
    va_start(args, format);
    vsnprintf(err->text, sizeof err->text, format, args);
    va_end(args);
    return -1;
}

int fail_in(struct error *err, const char *format, ...)
{
    if (!err)
        return -1;
    char before[sizeof err->text];
    memcpy(before, err->text, sizeof before);
    va_list args;
    va_start(args, format);
    int n = vsnprintf(err->text, sizeof err->text, format, args);
    va_end(args);
    if (n >= 0 && (size_t)n < sizeof err->text)
        snprintf(err->text + n, sizeof err->text - (size_t)n, ": %s", before);
    return -1;
}
