/* cost_curve.h - milliseconds as a function of rows, learned from measurements: what a step of so many rows takes on this machine.
 *
 * Rows are kept in bins that widen with their number (each row up to 8, then four bins per doubling). A bin holds the smoothed mean
 * of its last measurements. More rows are never faster: neighbours that say so err, and share their mean (isotonic regression by
 * pooling adjacent violators; Ayer et al. 1955). Between bins is a straight line. */
#ifndef SPECULATE_COST_CURVE_H
#define SPECULATE_COST_CURVE_H

enum { COST_CURVE_BINS = 48 };

struct cost_curve { /* zeroed: nothing is known */
    struct cost_bin {
        double rows, ms; /* as measured */
        double level;    /* ms that never fall with the rows */
        int count;       /* of measurements, up to the window of the mean */
    } bins[COST_CURVE_BINS];
};

/* A measurement far above what the bin knows (another process had the core) counts as twice the mean. */
void cost_curve_learn(struct cost_curve *curve, int rows, double ms);

/* Measurements of about so many rows, up to 16. */
int cost_curve_knows(const struct cost_curve *curve, int rows);

/* 0 where nothing is known at all. Below the first bin: as that bin. Beyond the last: on, by the slope of the last two, at
 * most in proportion to the rows. */
double cost_curve_at(const struct cost_curve *curve, double rows);

/* The most rows that are known; 0 where nothing is. */
double cost_curve_end(const struct cost_curve *curve);

#endif
