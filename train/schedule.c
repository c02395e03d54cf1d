/* schedule.c - the learning rate, and the order of the examples */
#include "train/schedule.h"

#include <math.h>
#include <stdlib.h>

#include "base/memory.h"
#include "base/random.h"

double schedule_rate(int64_t step, int64_t steps, int64_t warmup, double peak)
{
    if (step < warmup)
        return peak * (double)(step + 1) / (double)warmup;
    if (steps <= warmup)
        return peak;
    double way = (double)(step - warmup) / (double)(steps - warmup);
    return peak * 0.5 * (1 + cos(acos(-1) * way));
}

void order_open(struct order *order, int n, uint64_t seed)
{
    *order = (struct order){.n = n, .seed = seed, .epoch = -1, .examples = mem_new((size_t)n, sizeof *order->examples)};
}

void order_close(struct order *order)
{
    free(order->examples);
}

/* Fisher and Yates. The bias of a choice is below n / 2^32. */
static void shuffle(struct order *order, int64_t epoch)
{
    for (int i = 0; i < order->n; i++)
        order->examples[i] = i;
    for (int i = order->n - 1; i > 0; i--) {
        uint32_t bits[4];
        random_bits(bits, order->seed, (uint64_t)epoch, (uint64_t)i);
        int j = (int)((uint64_t)bits[0] * (uint64_t)(i + 1) >> 32);
        int kept = order->examples[i];
        order->examples[i] = order->examples[j];
        order->examples[j] = kept;
    }
    order->epoch = epoch;
}

int order_at(struct order *order, int64_t place)
{
    int64_t epoch = place / order->n;
    if (epoch != order->epoch)
        shuffle(order, epoch);
    return order->examples[place % order->n];
}
