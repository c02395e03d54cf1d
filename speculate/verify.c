/* verify.c - which draft tokens the target keeps, and the token that follows them */
#include "speculate/verify.h"

#include <assert.h>
#include <stddef.h>

int verify_greedy(const int32_t *best, const int32_t *drafts, int k, int32_t *next)
{
    int accepted = 0;
    while (accepted < k && drafts[accepted] == best[accepted])
        accepted++;
    *next = best[accepted];
    return accepted;
}

static int32_t row_id(const struct verify_row *row, int i)
{
    return row->ids ? row->ids[i] : i;
}

static double row_weight(const struct verify_row *row, int32_t id)
{
    if (!row->ids)
        return 0 <= id && id < row->count ? (double)row->weight[id] : 0;
    int low = 0, high = row->count;
    while (low < high) {
        int middle = low + (high - low) / 2;
        if (row->ids[middle] < id)
            low = middle + 1;
        else
            high = middle;
    }
    return low < row->count && row->ids[low] == id ? (double)row->weight[low] : 0;
}

/* max(p - q, 0) of p's i-th id; q NULL is zero everywhere. */
static double residual(const struct verify_row *p, const struct verify_row *q, int i)
{
    double rest = (double)p->weight[i] - (q ? row_weight(q, row_id(p, i)) : 0);
    return rest > 0 ? rest : 0;
}

/* The smallest id whose cumulative weight exceeds u * total; -1 when every weight is 0. */
static int32_t draw(const struct verify_row *p, const struct verify_row *q, double u)
{
    double total = 0, sum = 0;
    for (int i = 0; i < p->count; i++)
        total += residual(p, q, i);
    int32_t last = -1; /* u * total may round up to total */
    for (int i = 0; i < p->count; i++) {
        double weight = residual(p, q, i);
        sum += weight;
        if (weight > 0)
            last = row_id(p, i);
        if (sum > u * total)
            return last;
    }
    return last;
}

int verify_rejection(const struct verify_row *p, const struct verify_row *q, const int32_t *drafts, int k, const double *uniforms,
                     double u_next, int32_t *next)
{
    int i = 0;
    while (i < k && uniforms[i] * row_weight(&q[i], drafts[i]) < row_weight(&p[i], drafts[i]))
        i++;
    *next = i < k ? draw(&p[i], &q[i], u_next) : -1;
    if (*next < 0) /* all accepted; or p = q up to rounding, where a rejection has next to no probability */
        *next = draw(&p[i], NULL, u_next);
    assert(*next >= 0); /* p has a token */
    return i;
}
