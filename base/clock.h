/* clock.h - time that only goes forward */
#ifndef BASE_CLOCK_H
#define BASE_CLOCK_H

/* Seconds since an arbitrary start (CLOCK_MONOTONIC). */
double clock_seconds(void);

/* Sleeps at least this long, whatever signals arrive. */
void clock_sleep(double seconds);

#endif
