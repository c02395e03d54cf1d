/* flags.c - numbers on the command line */
#include "base/flags.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>

int flag_number(const struct argp_state *state, const char *flag, const char *text, int low, int high)
{
    char *end;
    errno = 0;
    long value = strtol(text, &end, 10);
    if (end == text || *end || errno || value < low || value > high) {
        argp_error(state, "%s %s: a whole number from %d to %d is wanted", flag, text, low, high);
        exit(argp_err_exit_status); /* argp_error may return under ARGP_NO_EXIT only */
    }
    return (int)value;
}

float flag_real(const struct argp_state *state, const char *flag, const char *text, float low, float high)
{
    char *end;
    errno = 0;
    float value = strtof(text, &end);
    if (end == text || *end || errno || !isfinite(value) || value < low || value > high) {
        argp_error(state, "%s %s: a number from %g to %g is wanted", flag, text, (double)low, (double)high);
        exit(argp_err_exit_status);
    }
    return value;
}
