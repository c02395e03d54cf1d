/* gnuplot.h - a plot: a script that gnuplot turns into an SVG and a PNG file of the same name beside it; it stays there, so that a
 * reader can change it and draw again */
#ifndef CLI_GNUPLOT_H
#define CLI_GNUPLOT_H

#include <stdio.h>

#include "base/error.h"

/* Is there a gnuplot that can do this? For those who compute for a while before they plot. */
int gnuplot_possible(struct error *err);

/* DIR/NAME.gp with the style that all plots share: one colour, dash and mark per line type, from 1 on. The caller writes its data
 * blocks and settings. NULL with text. */
FILE *gnuplot_begin(const char *dir, const char *name, struct error *err);

/* plot: the plot command, without a newline. Closes the script and runs it; an error has gnuplot's own words. */
int gnuplot_end(FILE *script, const char *dir, const char *name, const char *plot, struct error *err);

#endif
