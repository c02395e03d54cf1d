/* coupled.c - argmax of scores with Gumbel noise */
#include "speculate/coupled.h"

#include <math.h>

#include "speculate/noise.h"

static const double LOG2_E = 1.4426950408889634;

static int32_t row_id(const struct warp_row *row, int i)
{
    return row->ids ? row->ids[i] : i;
}

/* Whether noise of these bits can lift a score that lies `behind` > 0 below the best so far, for the price of no logarithm: noise
 * above `behind` needs E < exp(-behind), and E >= u >= 2^-(zeros + 1) with `zeros` leading zero bits. */
static bool can_win(double behind, uint64_t bits)
{
    int zeros = bits ? __builtin_clzll(bits) - (64 - NOISE_BITS) : NOISE_BITS;
    return behind * LOG2_E < zeros + 1.01;
}

int32_t coupled_token(const struct warp_row *row, uint64_t seed, int position)
{
    int start = 0; /* where the best is likely: little can win after it */
    for (int i = 1; i < row->count; i++)
        if (row->scores[i] > row->scores[start])
            start = i;
    int32_t chosen = row_id(row, start);
    double best = (double)row->scores[start] + noise_gumbel(noise_token_bits(seed, position, chosen));
    for (int i = 0; i < row->count; i++) {
        double behind = best - (double)row->scores[i];
        if (i == start || behind > NOISE_GUMBEL_MOST)
            continue;
        int32_t id = row_id(row, i);
        uint64_t bits = noise_token_bits(seed, position, id);
        if (!can_win(behind, bits))
            continue;
        double value = (double)row->scores[i] + noise_gumbel(bits);
        if (value > best || (value == best && id < chosen)) {
            best = value;
            chosen = id;
        }
    }
    return chosen;
}
