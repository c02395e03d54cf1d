/* windows.c - window order, ranges and angles of a picture's patches (Qwen2.5-VL technical report, 2025, section 2.1) */
#include "model/windows.h"

#include <math.h>

static int smaller(int a, int b)
{
    return a < b ? a : b;
}

void windows_order(const struct windows *w, int32_t *order)
{
    for (int top = 0; top < w->lines; top += w->side)
        for (int left = 0; left < w->columns; left += w->side)
            for (int y = top; y < smaller(top + w->side, w->lines); y++)
                for (int x = left; x < smaller(left + w->side, w->columns); x++)
                    *order++ = y * w->columns + x;
}

void windows_ranges(const struct windows *w, int32_t *first, int32_t *last)
{
    int32_t row = 0;
    for (int top = 0; top < w->lines; top += w->side)
        for (int left = 0; left < w->columns; left += w->side) {
            int cells = smaller(w->side, w->lines - top) * smaller(w->side, w->columns - left);
            int32_t begin = row, end = row + cells * w->merge * w->merge;
            for (; row < end; row++) {
                first[row] = begin;
                last[row] = end;
            }
        }
}

void windows_angles(const struct windows *w, const int32_t *order, int c, float *cosine, float *sine)
{
    int quarter = c / 4, group = w->merge * w->merge;
    for (int row = 0; row < w->lines * w->columns * group; row++) {
        int cell = order[row / group], inner = row % group;
        int place[2] = {cell / w->columns * w->merge + inner / w->merge, cell % w->columns * w->merge + inner % w->merge};
        for (int axis = 0; axis < 2; axis++)
            for (int i = 0; i < quarter; i++) {
                float frequency = 1 / powf(10000, (float)(2 * i) / (float)(2 * quarter));
                float angle = (float)place[axis] * frequency;
                *cosine++ = cosf(angle);
                *sine++ = sinf(angle);
            }
    }
}
