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

/* The shares of the prompts that count; malloc'ed. */
static struct share *shares(const struct eval_record *records, struct share (*share)(const struct eval_record *),
                            const bool *wanted, int n)
{
    struct share *list = mem_new((size_t)n + 1, sizeof *list);
    for (int i = 0, k = 0; i < n; i++)
        if (wanted[i])
            list[k++] = share(&records[i]);
    return list;
}

struct comparison { /* which prompts, and how sure */
    const bool *wanted;
    int n, prompts;
    const struct bootstrap_options *options;
};

static struct interval quotient(const struct eval_record *x, const struct eval_record *y,
                                struct share (*share)(const struct eval_record *), const struct comparison *c)
{
    struct share *above = shares(x, share, c->wanted, c->n), *below = y ? shares(y, share, c->wanted, c->n) : NULL;
    struct interval interval = bootstrap_quotient(above, below, c->prompts, c->options);
    free(above);
    free(below);
    return interval;
}

static struct eval_versus versus(const struct eval_record *x, const struct eval_record *y, const struct comparison *c)
{
    if (!y || !c->prompts)
        return (struct eval_versus){0};
    return (struct eval_versus){.is_there = true,
                                .total = quotient(x, y, total_share, c),
                                .decode = quotient(x, y, decode_share, c),
                                .length = quotient(x, y, length_share, c)};
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
    const struct comparison c = {wanted, n, figures->prompts, options};
    figures->length = quotient(records, NULL, length_share, &c);
    figures->total = quotient(records, NULL, total_share, &c);
    figures->decode = quotient(records, NULL, decode_share, &c);
    figures->off = versus(records, off, &c);
    figures->text = versus(records, text, &c);
}
