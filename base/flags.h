/* flags.h - values of command-line flags, checked alike by every program: what is not right ends the process with the status of
 * wrong usage and a line that names the flag, its value and what is wanted */
#ifndef BASE_FLAGS_H
#define BASE_FLAGS_H

#include <argp.h>

/* A whole number, or a number, in [low, high]. */
int flag_number(const struct argp_state *state, const char *flag, const char *text, int low, int high);
float flag_real(const struct argp_state *state, const char *flag, const char *text, float low, float high);

#endif
