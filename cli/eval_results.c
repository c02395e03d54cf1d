/* eval_results.c - from answers to all figures */
#include "cli/eval_results.h"

#include <stdlib.h>
#include <string.h>

#include "base/memory.h"

int eval_config_find(const struct eval *e, int service, int draft_tokens, int condition)
{
    for (int c = 0; c < e->n_configs; c++) {
        const struct eval_config *config = &e->configs[c];
        bool same = service < 0 ? !config->draft_tokens : config->service == service && config->draft_tokens == draft_tokens;
        if (same && config->condition == condition)
            return c;
    }
    return -1;
}

double eval_together(const struct eval *e, int config)
{
    double tokens = 0;
    for (int q = 0; q < e->questions.n; q++)
        tokens += eval_answer_at(e, config, q)->usage.completion_tokens;
    return e->busy[config] > 0 ? tokens / e->busy[config] : 0;
}

static void groups_make(struct eval_results *r)
{
    const struct questions *q = &r->eval->questions;
    r->groups = mem_new((size_t)q->n + 1, sizeof *r->groups);
    r->groups[r->n_groups++] = "all";
    for (int i = 0; i < q->n; i++) {
        int g = 1;
        while (q->list[i].task && g < r->n_groups && strcmp(r->groups[g], q->list[i].task) != 0)
            g++;
        if (q->list[i].task && g == r->n_groups)
            r->groups[r->n_groups++] = q->list[i].task;
    }
    if (r->n_groups == 2)
        r->n_groups = 1;
}

static bool in_group(const struct eval_results *r, int group, int question)
{
    const char *task = r->eval->questions.list[question].task;
    return group == EVAL_ALL || (task && !strcmp(task, r->groups[group]));
}

/* Side by side means: on the same prompts. One that some config did not answer counts in none of its condition. */
static void wanted_make(struct eval_results *r)
{
    const struct eval *e = r->eval;
    int n = e->questions.n;
    r->wanted = mem_new((size_t)(e->n_conditions * n) + 1, sizeof *r->wanted);
    memset(r->wanted, true, (size_t)(e->n_conditions * n) * sizeof *r->wanted);
    for (int c = 0; c < e->n_configs; c++)
        for (int q = 0; q < n; q++) {
            const struct eval_answer *a = eval_answer_at(e, c, q);
            if (!a->text)
                r->wanted[e->configs[c].condition * n + q] = false;
            r->failed += a->tries > 0 && !a->text;
            r->undrafted += a->text && e->configs[c].draft_tokens && a->words[0];
        }
}

static struct eval_record record_of(const struct eval_answer *a)
{
    const struct generate_speculation *s = &a->speculation;
    struct eval_record record = {.tokens = a->usage.completion_tokens,
                                 .acceptance = {.steps = s->steps, .drafted = s->drafted, .accepted = s->accepted},
                                 .seconds = a->seconds,
                                 .queue = a->timing.queue,
                                 .image = a->timing.image,
                                 .prefill = a->timing.prefill,
                                 .first = a->timing.first_token,
                                 .decode = a->timing.decode};
    memcpy(record.acceptance.accepted_per_position, s->accepted_per_position, sizeof record.acceptance.accepted_per_position);
    return record;
}

static void figures_make(struct eval_results *r)
{
    const struct eval *e = r->eval;
    int n = e->questions.n;
    struct eval_record *records = mem_new((size_t)(e->n_configs * n) + 1, sizeof *records);
    bool *wanted = mem_new((size_t)n + 1, sizeof *wanted);
    for (int i = 0; i < e->n_configs * n; i++)
        records[i] = record_of(&e->answers[i]);
    r->figures = mem_new((size_t)(r->n_groups * e->n_configs) + 1, sizeof *r->figures);
    for (int g = 0; g < r->n_groups; g++)
        for (int c = 0; c < e->n_configs; c++) {
            const struct eval_config *config = &e->configs[c];
            int off = eval_config_find(e, -1, 0, config->condition);
            int text = r->text < 0 ? -1 : eval_config_find(e, r->text, config->draft_tokens, config->condition);
            for (int q = 0; q < n; q++)
                wanted[q] = r->wanted[config->condition * n + q] && in_group(r, g, q);
            eval_figures_make(&r->figures[g * e->n_configs + c], records + c * n, off < 0 || off == c ? NULL : records + off * n,
                              text < 0 || text == c ? NULL : records + text * n, wanted, n, &e->options->bootstrap);
        }
    free(wanted);
    free(records);
}

static void tvd_make(struct eval_results *r)
{
    const struct tvd *t = r->tvd;
    const struct tvd_answer **list = mem_new((size_t)t->n_questions + 1, sizeof *list);
    r->tvd_figures = mem_new((size_t)(r->n_groups * t->n_drafters * t->n_conditions) + 1, sizeof *r->tvd_figures);
    for (int g = 0; g < r->n_groups; g++)
        for (int d = 0; d < t->n_drafters; d++)
            for (int c = 0; c < t->n_conditions; c++) {
                int n = 0;
                for (int q = 0; q < t->n_questions; q++)
                    if (in_group(r, g, q))
                        list[n++] = tvd_answer_at(t, d, c, q);
                tvd_figures_make(&r->tvd_figures[(g * t->n_drafters + d) * t->n_conditions + c], list, n,
                                 &r->eval->options->bootstrap);
            }
    free(list);
}

static int main_drafts_of(const struct eval_options *o)
{
    int most = o->drafts[0];
    for (int i = 0; i < o->n_drafts; i++) {
        if (o->drafts[i] == DRAFT_TOKENS_DEFAULT)
            return DRAFT_TOKENS_DEFAULT;
        most = o->drafts[i] > most ? o->drafts[i] : most;
    }
    return most;
}

void eval_results_make(struct eval_results *results, const struct eval *eval, const struct tvd *tvd,
                       const struct eval_origin *origin)
{
    *results = (struct eval_results){
        .eval = eval, .origin = origin, .tvd = tvd, .main_drafts = main_drafts_of(eval->options), .text = eval_service_text(eval)};
    groups_make(results);
    wanted_make(results);
    figures_make(results);
    if (tvd)
        tvd_make(results);
    results->n_differences = eval_check_texts(eval, results->differences, EVAL_DIFFERENCES, &results->compared);
}

void eval_results_free(struct eval_results *results)
{
    free(results->groups);
    free(results->wanted);
    free(results->figures);
    free(results->tvd_figures);
}
