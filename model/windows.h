/* windows.h - where the patches of a picture stand in the tower: window order, who sees whom, and the angles of their places */
#ifndef MODEL_WINDOWS_H
#define MODEL_WINDOWS_H

#include <stdint.h>

/* Letters: a cell is merge x merge patches and becomes one token. The picture's cells are cut into windows of `side` x `side` cells
 * from the top left; windows at the right and bottom edges may be smaller. */
struct windows {
    int lines, columns, merge, side;
};

/* order (lines * columns): position in window order -> raster index of the cell. Windows in raster order, cells in raster order
 * within each. */
void windows_order(const struct windows *w, int32_t *order);

/* Rows in window order, merge^2 patches a cell: row r sees rows [first[r], last[r]) of its own window. */
void windows_ranges(const struct windows *w, int32_t *first, int32_t *last);

/* Angles (rows, c / 2) of heads of width c (a multiple of 4): the first quarter of c turns with the patch's line in the whole
 * picture, the second with its column; frequencies 10000^(-4i / c). */
void windows_angles(const struct windows *w, const int32_t *order, int c, float *cosine, float *sine);

#endif
