/* signals.h - Ctrl-C and SIGTERM as a question that a program asks between its waits */
#ifndef BASE_SIGNALS_H
#define BASE_SIGNALS_H

/* From now on SIGINT, SIGTERM and SIGHUP only wait to be asked for. Call before threads start. */
void signals_hold(void);

/* The signal that arrived, or 0. It is taken by this question: the next answer is about the next signal. */
int signals_pending(void);

#endif
