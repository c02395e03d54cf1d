/* eval_figures.c - sums, means and intervals over prompts */
#include "cli/eval_figures.h"

#include <stdlib.h>

#include "base/memory.h"

/* ---- what one answer gives to a ratio ---- */

/* 1 + accepted / steps = (steps + accepted) / steps */
static struct share length_share(const struct eval_record *r)
{
    return (struct share){(double)(r->acceptance.steps + r->acceptance.accepted), (double)r->acceptance.steps};
}

static struct share total_share(const struct eval_record *r)
{
    return (struct share){r->tokens, r->seconds};
}

/* The first token is the prompt's. */
static struct share decode_share(const struct eval_record *r)
{
    return (struct share){r->tokens > 0 ? r->tokens - 1 : 0, 1e-3 * r->decode};
}

enum { LENGTH, TOTAL, DECODE, KINDS };
static struct share (*const share_of[KINDS])(const struct eval_record *record) = {length_share, total_share, decode_share};

/* The shares of the prompts that count, (KINDS, n); malloc'ed. */
static struct share *shares_make(const struct eval_record *records, const bool *wanted, int n)
{
    struct share *list = mem_new((size_t)(KINDS * n) + 1, sizeof *list);
    for (int kind = 0; kind < KINDS; kind++)
        for (int i = 0, k = 0; i < n; i++)
            if (wanted[i])
                list[kind * n + k++] = share_of[kind](&records[i]);
    return list;
}

/* Figures of every kind: alone, and beside each of others (2), NULL where there is none. */
static void intervals_make(struct eval_figures *to, const struct share *own, const struct share *const *others, int n,
                           const struct bootstrap_options *options)
{
    struct bootstrap_figure figures[3 * KINDS];
    struct eval_versus *const versus[2] = {&to->off, &to->text};
    struct interval *const places[3][KINDS] = {{&to->length, &to->total, &to->decode},
                                               {&to->off.length, &to->off.total, &to->off.decode},
                                               {&to->text.length, &to->text.total, &to->text.decode}};
    struct interval *where[3 * KINDS];
    int count = 0;
    for (int i = 0; i < 3; i++) {
        bool there = i == 0 || (others[i - 1] && to->prompts);
        for (int kind = 0; there && kind < KINDS; kind++) {
            where[count] = places[i][kind];
            figures[count++] = (struct bootstrap_figure){.x = own + kind * n, .y = i ? others[i - 1] + kind * n : NULL};
        }
        if (i)
            versus[i - 1]->is_there = there;
    }
    bootstrap_figures(figures, count, to->prompts, options);
    for (int f = 0; f < count; f++)
        *where[f] = figures[f].interval;
}

static void sums_add(struct eval_figures *f, const struct eval_record *r)
{
    f->prompts++;
    f->tokens += r->tokens;
    acceptance_merge(&f->acceptance, &r->acceptance);
    f->mean.seconds += r->seconds;
    f->mean.queue += r->queue;
    f->mean.image += r->image;
    f->mean.prefill += r->prefill;
    f->mean.first += r->first;
    f->mean.decode += r->decode;
}

static void means_make(struct eval_figures *f)
{
    double *const sums[] = {&f->mean.seconds, &f->mean.queue, &f->mean.image, &f->mean.prefill, &f->mean.first, &f->mean.decode};
    for (size_t i = 0; f->prompts && i < sizeof sums / sizeof *sums; i++)
        *sums[i] /= f->prompts;
    f->tokens_mean = f->prompts ? (double)f->tokens / f->prompts : 0;
}

void eval_figures_make(struct eval_figures *figures, const struct eval_record *records, const struct eval_record *off,
                       const struct eval_record *text, const bool *wanted, int n, const struct bootstrap_options *options)
{
    *figures = (struct eval_figures){0};
    for (int i = 0; i < n; i++)
        if (wanted[i])
            sums_add(figures, &records[i]);
    means_make(figures);
    struct share *own = shares_make(records, wanted, n);
    struct share *others[2] = {off ? shares_make(off, wanted, n) : NULL, text ? shares_make(text, wanted, n) : NULL};
    intervals_make(figures, own, (const struct share *const *)others, n, options);
    free(own);
    free(others[0]);
    free(others[1]);
}
