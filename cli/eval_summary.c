/* eval_summary.c - what a person at a terminal reads first */
#include <stdio.h>
#include <string.h>

#include "cli/eval_results.h"

static void versus_words(char *words, size_t size, const struct eval_figures *f, const struct eval_versus *v)
{
    const struct interval *i = &v->total;
    if (!v->is_there)
        *words = 0;
    else if (f->prompts > 1)
        snprintf(words, size, "%.2f [%.2f, %.2f]", i->value, i->low, i->high);
    else
        snprintf(words, size, "%.2f", i->value);
}

static void config_line(const struct eval_results *r, int config)
{
    const struct eval *e = r->eval;
    const struct eval_figures *f = eval_figures_at(r, EVAL_ALL, config);
    char off[32], text[32];
    versus_words(off, sizeof off, f, &f->off);
    versus_words(text, sizeof text, f, &f->text);
    printf("%-20s %3d %7.2f %9.1f %9.0f %9.0f  %-20s %-20s\n", eval_config_name(e, config), e->configs[config].draft_tokens,
           f->length.value, f->tokens_mean, f->total.value, f->decode.value, off, text);
}

static void condition_print(const struct eval_results *r, int condition)
{
    const struct eval *e = r->eval;
    char words[64];
    int counted = 0;
    for (int q = 0; q < e->questions.n; q++)
        counted += r->wanted[condition * e->questions.n + q];
    eval_condition_words(words, sizeof words, &e->conditions[condition]);
    printf("\n%s, %d of %d prompts\n", words, counted, e->questions.n);
    printf("%-20s %3s %7s %9s %9s %9s  %-20s %-20s\n", "drafter", "K", "mean", "output", "tokens/s", "tokens/s", "speed-up over",
           "over text-only");
    printf("%-20s %3s %7s %9s %9s %9s  %-20s %-20s\n", "", "", "length", "tokens", "end2end", "decoding", "no drafts, end2end",
           "end2end");
    for (int c = 0; counted && c < e->n_configs; c++)
        if (e->configs[c].condition == condition)
            config_line(r, c);
}

static void tvd_print(const struct eval_results *r)
{
    const struct tvd *t = r->tvd;
    printf("\ntotal variation distance of next-token distributions\n%-20s %-10s %9s %8s %20s\n", "drafter", "answers", "positions",
           "mean", "expected acceptance");
    for (int c = 0; c < t->n_conditions; c++)
        for (int d = 0; d < t->n_drafters; d++) {
            const struct tvd_figures *f = tvd_figures_at(r, EVAL_ALL, d, c);
            float temperature = r->eval->conditions[t->conditions[c]].temperature;
            char answers[32] = "greedy";
            if (temperature > 0)
                snprintf(answers, sizeof answers, "T = %g", (double)temperature);
            printf("%-20s %-10s %9d %8.3f %20.3f\n", r->eval->options->drafters[t->drafters[d]].name, answers, f->positions,
                   f->mean.value, f->positions ? 1 - f->mean.value : 0);
        }
}

void eval_summary_print(const struct eval_results *results)
{
    const struct eval *e = results->eval;
    printf("%d prompts of %s, %d requests in %.1f s, %d whole answers%s\n", e->questions.n, e->options->data, e->asked, e->seconds,
           e->whole, e->interrupted ? "; interrupted" : "");
    for (int c = 0; c < e->n_conditions; c++)
        condition_print(results, c);
    if (results->tvd)
        tvd_print(results);
    if (results->compared)
        printf("\nsame text whoever drafts: %s (%d of %d pairs)\n", results->n_differences ? "NO" : "yes",
               results->compared - results->n_differences, results->compared);
    printf("report: %s/report.html\n", e->options->out);
}
