/* verify.c - which draft tokens the target keeps, and the token that follows them */
#include "speculate/verify.h"

#include <assert.h>
#include <stddef.h>

int verify_tokens(const int32_t *tokens, const int32_t *drafts, int k, int32_t *next)
{
    int accepted = 0;
    while (accepted < k && drafts[accepted] == tokens[accepted])
        accepted++;
    *next = tokens[accepted];
    return accepted;
}

static int32_t row_id(const struct verify_row *row, int i)
{
    return row->ids ? row->ids[i] : i;
}

/* Walks a row along ascending ids: *at is where the last one stood. */
static double row_weight(const struct verify_row *row, int32_t id, int *at)
{
    if (!row)
        return 0;
    while (*at < row->count && row_id(row, *at) < id)
        ++*at;
    return *at < row->count && row_id(row, *at) == id ? (double)row->weight[*at] : 0;
}

/* max(p - q, 0) of p's i-th id. */
static double residual(const struct verify_row *p, const struct verify_row *q, int i, int *at)
{
    double rest = (double)p->weight[i] - row_weight(q, row_id(p, i), at);
    return rest > 0 ? rest : 0;
}

/* -1 when every weight is 0. */
static int32_t draw(const struct verify_row *p, const struct verify_row *q, double u)
{
    double total = 0, sum = 0;
    for (int i = 0, at = 0; i < p->count; i++)
        total += residual(p, q, i, &at);
    int32_t last = -1; /* u * total may round up to total */
    for (int i = 0, at = 0; i < p->count; i++) {
        double weight = residual(p, q, i, &at);
        sum += weight;
        if (weight > 0)
            last = row_id(p, i);
        if (sum > u * total)
            return last;
    }
    return last;
}

int32_t verify_sample(const struct verify_row *p, const struct verify_row *q, int32_t draft, double keep, double u)
{
    int at_p = 0, at_q = 0;
    if (q && keep * row_weight(q, draft, &at_q) < row_weight(p, draft, &at_p))
        return draft;
    int32_t token = draw(p, q, u);
    if (token < 0) /* p = q up to rounding, where a refusal has next to no probability */
        token = draw(p, NULL, u);
    assert(token >= 0); /* p has a token */
    return token;
}
