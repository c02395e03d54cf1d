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
    int room = (int)sizeof err->text - n - 3; /* beside ": " and the final zero */
    if (n >= 0 && room > 0)
        snprintf(err->text + n, sizeof err->text - (size_t)n, ": %.*s", room, before);
    return -1;
}
