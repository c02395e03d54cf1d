/* coupled.c - argmax of scores with Gumbel noise */
#include "speculate/coupled.h"

#include <math.h>

#include "speculate/noise.h"

static const double LOG2_E = 1.4426950408889634;

struct noise { /* of one position; the ids are asked for in ascending order */
    uint64_t seed;
    int position;
    int32_t first; /* of the group in hand */
    uint32_t upper[NOISE_GROUP];
};

static uint32_t noise_of(struct noise *noise, int32_t id)
{
    int32_t first = id & ~(NOISE_GROUP - 1);
    if (first != noise->first)
        noise_upper(noise->upper, noise->seed, noise->position, first);
    noise->first = first;
    return noise->upper[id - first];
}

/* Whether an id that lies `behind` > 0 below the best so far may still win, for the price of no logarithm: that needs E <
 * exp(-behind), and E >= u >= 2^-(zeros + 1), where u begins with so many zero bits. */
static bool can_win(double behind, uint32_t upper)
{
    return upper == 0 || behind * LOG2_E < __builtin_clz(upper) + 1.01;
}

static int32_t row_id(const struct warp_row *row, int i)
{
    return row->ids ? row->ids[i] : row->first + i;
}

int32_t coupled_token(const struct warp_row *row, uint64_t seed, int position, double *value)
{
    struct noise noise = {.seed = seed, .position = position, .first = -1};
    int start = 0; /* where the best is likely: little can win after it */
    for (int i = 1; i < row->count; i++)
        if (row->scores[i] > row->scores[start])
            start = i;
    int32_t chosen = row_id(row, start);
    double best = (double)row->scores[start] + noise_gumbel(seed, position, chosen, noise_of(&noise, chosen));
    for (int i = 0; i < row->count; i++) {
        double behind = best - (double)row->scores[i];
        if (i == start || behind > NOISE_GUMBEL_MOST)
            continue;
        int32_t id = row_id(row, i);
        uint32_t upper = noise_of(&noise, id);
        if (!can_win(behind, upper))
            continue;
        double sum = (double)row->scores[i] + noise_gumbel(seed, position, id, upper);
        if (sum > best || (sum == best && id < chosen)) {
            best = sum;
            chosen = id;
        }
    }
    if (value)
        *value = best;
    return chosen;
}
