/* load_figures.c - times to figures */
#include "cli/load_figures.h"

#include <math.h>
#include <stdlib.h>

#include "base/memory.h"
#include "base/random.h"
#include "cli/values.h"

enum { COUNTER_ARRIVAL, COUNTER_CHOICE }; /* what a random number is for */

void load_records_free(struct load_record *records, int n)
{
    for (int i = 0; records && i < n; i++)
        free(records[i].gaps);
    free(records);
}

void load_arrivals(double *at, int n, double rate, uint64_t seed)
{
    double time = 0;
    for (int i = 0; i < n; i++) {
        uint32_t bits[4];
        at[i] = time;
        random_bits(bits, seed, COUNTER_ARRIVAL, (uint64_t)i);
        time += -log(1 - (double)random_unit(bits[0])) / rate;
    }
}

int load_choice(uint64_t seed, int i, int n)
{
    uint32_t bits[4];
    random_bits(bits, seed, COUNTER_CHOICE, (uint64_t)i);
    return (int)(bits[0] % (uint32_t)n);
}

struct load_spread load_spread_of(double *values, int n)
{
    double sum = 0;
    if (!n)
        return (struct load_spread){0};
    values_sort(values, n);
    for (int i = 0; i < n; i++)
        sum += values[i];
    return (struct load_spread){sum / n, values_percentile(values, n, 50), values_percentile(values, n, 90),
                                values_percentile(values, n, 99)};
}

/* ---- figures of one request, ms; negative: it has none ---- */

static double ttft_of(const struct load_record *r)
{
    return r->tokens > 0 ? 1e3 * (r->first - r->scheduled) : -1;
}

static double tpot_of(const struct load_record *r)
{
    return r->tokens > 1 ? 1e3 * (r->last - r->first) / (r->tokens - 1) : -1;
}

static double e2e_of(const struct load_record *r)
{
    return r->tokens > 0 ? 1e3 * (r->last - r->scheduled) : -1;
}

static double lag_of(const struct load_record *r)
{
    return 1e3 * (r->sent - r->scheduled);
}

static double rate_of(const struct load_record *r)
{
    return r->tokens > 1 && r->last > r->first ? (r->tokens - 1) / (r->last - r->first) : -1;
}

static bool is_good(const struct load_record *r, const struct load_limits *limits)
{
    return (limits->ttft <= 0 || ttft_of(r) <= limits->ttft) && (limits->tpot <= 0 || tpot_of(r) <= limits->tpot) &&
           (limits->e2e <= 0 || e2e_of(r) <= limits->e2e);
}

/* ---- of all that completed ---- */

static struct load_spread spread_over(const struct load_record *records, int n, double (*figure)(const struct load_record *))
{
    double *values = mem_new((size_t)n, sizeof *values);
    int count = 0;
    for (int i = 0; i < n; i++)
        if (records[i].status == RPC_OK && figure(&records[i]) >= 0)
            values[count++] = figure(&records[i]);
    struct load_spread spread = load_spread_of(values, count);
    free(values);
    return spread;
}

static struct load_spread spread_of_gaps(const struct load_record *records, int n)
{
    size_t count = 0;
    for (int i = 0; i < n; i++)
        count += records[i].status == RPC_OK ? (size_t)records[i].n_gaps : 0;
    double *values = mem_new(count, sizeof *values);
    count = 0;
    for (int i = 0; i < n; i++)
        for (int k = 0; records[i].status == RPC_OK && k < records[i].n_gaps; k++)
            values[count++] = 1e3 * records[i].gaps[k];
    struct load_spread spread = load_spread_of(values, (int)count);
    free(values);
    return spread;
}

static void record_count(struct load_figures *f, const struct load_record *r, int *good, const struct load_limits *limits)
{
    int status = (int)r->status < LOAD_STATUSES ? (int)r->status : RPC_UNKNOWN;
    if (!f->ended[status]++)
        f->words[status] = r->words;
    if (r->status != RPC_OK)
        return;
    f->completed++;
    f->prompt_tokens += r->prompt_tokens;
    f->output_tokens += r->tokens;
    *good += is_good(r, limits);
    acceptance_merge(&f->acceptance, &r->acceptance);
}

void load_figures_make(struct load_figures *f, const struct load_record *records, int n, const struct load_limits *limits)
{
    double begin = n ? records[0].scheduled : 0, end = begin;
    int good = 0;
    *f = (struct load_figures){.requests = n};
    for (int i = 0; i < n; i++) {
        begin = fmin(begin, records[i].scheduled);
        end = fmax(end, records[i].ended);
        record_count(f, &records[i], &good, limits);
    }
    f->seconds = end - begin;
    double per_second = f->seconds > 0 ? 1 / f->seconds : 0;
    f->requests_per_s = f->completed * per_second;
    f->output_tokens_per_s = (double)f->output_tokens * per_second;
    f->good_per_s = good * per_second;
    f->ttft = spread_over(records, n, ttft_of);
    f->tpot = spread_over(records, n, tpot_of);
    f->itl = spread_of_gaps(records, n);
    f->e2e = spread_over(records, n, e2e_of);
    f->lag = spread_over(records, n, lag_of);
    f->stream_rate = spread_over(records, n, rate_of);
}
