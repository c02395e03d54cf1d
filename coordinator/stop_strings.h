/* stop_strings.h - finds stop strings in text that comes in pieces, and keeps back what may be the beginning of one.
 *
 * What is found depends on the text alone, not on its pieces: the occurrence that ends first; of several that end at one byte the
 * longest, which begins first; of equal strings the first of the list. Text and strings are whole characters of UTF-8, so what
 * comes out is, too. */
#ifndef COORDINATOR_STOP_STRINGS_H
#define COORDINATOR_STOP_STRINGS_H

#include <stdbool.h>
#include <stddef.h>

struct stop_strings;

/* n > 0 strings, none empty, copied. */
struct stop_strings *stop_strings_new(char *const *strings, int n);
void stop_strings_free(struct stop_strings *stops); /* NULL is legal */

/* Takes the next piece and returns what is now decided to be shown (malloc'ed): all but the longest end of the text so far that
 * begins a stop string. When the piece completes a stop string, *found is that string (it lives as long as stops) and the text ends
 * where it began: the answer is over. Else *found is NULL. armed false: what this piece completes ends nothing. */
char *stop_strings_push(struct stop_strings *stops, const char *text, bool armed, const char **found);

/* The text that is kept back, when no more follows: malloc'ed. */
char *stop_strings_rest(struct stop_strings *stops);

#endif
