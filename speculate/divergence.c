/* divergence.c - total variation distance of two rows of scores */
#include "speculate/divergence.h"

#include <math.h>

/* A row's largest score, the lowest id of several. -1: no softmax. */
static int row_best(const float *scores, int n)
{
    int best = -1;
    for (int i = 0; i < n; i++) {
        if (isnan(scores[i]) || scores[i] == INFINITY)
            return -1;
        if (scores[i] > -INFINITY && (best < 0 || scores[i] > scores[best]))
            best = i;
    }
    return best;
}

static double weight(const float *scores, int i, float largest, double scale)
{
    return exp(((double)scores[i] - (double)largest) * scale);
}

static double row_sum(const float *scores, int n, float largest, double scale)
{
    double sum = 0;
    for (int i = 0; i < n; i++)
        sum += weight(scores, i, largest, scale);
    return sum;
}

int divergence_of_scores(struct divergence *divergence, const float *target, const float *drafter, int n, float temperature)
{
    int p_best = row_best(target, n), q_best = row_best(drafter, n);
    if (p_best < 0 || q_best < 0)
        return -1;
    float p_largest = target[p_best], q_largest = drafter[q_best];
    double scale = 1 / (double)temperature, distance = 0;
    double p_sum = row_sum(target, n, p_largest, scale), q_sum = row_sum(drafter, n, q_largest, scale);
    for (int i = 0; i < n; i++)
        distance += fabs(weight(target, i, p_largest, scale) / p_sum - weight(drafter, i, q_largest, scale) / q_sum);
    *divergence = (struct divergence){.total_variation = distance / 2, .same_best = p_best == q_best};
    return 0;
}
