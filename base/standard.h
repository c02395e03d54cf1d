/* standard.h - standard input, output and error as whoever started us left them */
#ifndef BASE_STANDARD_H
#define BASE_STANDARD_H

#include "base/error.h"

/* Fills a standard descriptor that is closed: the first socket or file that is opened would become it, and get what is meant for
 * people. Reading and writing there still fail. Call before anything is opened. */
void standard_hold(void);

/* Has all that was printed on stdout so far arrived? -1 with the reason, e.g. on a full disk. */
int standard_flush(struct error *err);

#endif
