/* eval_sections.c - sections of the report: the summary, distributions, faults, how to read it, where it comes from */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "base/version.h"
#include "cli/eval_report.h"

enum { LISTED = 20 }; /* faults of a kind; eval.json has all */

const char *eval_target_name(const struct eval *e)
{
    for (int i = 0; i < e->n_services; i++)
        if (e->services[i].info.model[0])
            return e->services[i].info.model;
    return e->options->target ? e->options->target : "?";
}

/* ---- summary ---- */

static void headlines(struct document *d, const struct eval_results *r)
{
    static const char *const titles[] = {"drafter", "tokens are chosen", "mean acceptance length", "over no drafts, end to end",
                                         "over text-only, end to end"};
    const struct eval *e = r->eval;
    document_table(d, titles, 5);
    for (int c = 0; c < e->n_configs; c++) {
        const struct eval_figures *f = eval_figures_at(r, EVAL_ALL, c);
        char words[64];
        if (e->configs[c].draft_tokens != r->main_drafts || !f->prompts)
            continue;
        eval_condition_words(words, sizeof words, &e->conditions[e->configs[c].condition]);
        document_cell(d, "**%s**", eval_config_name(e, c));
        document_cell(d, "%s", words);
        eval_cell_interval(d, &f->length, f->prompts);
        eval_cell_versus(d, f, &f->off, &f->off.total);
        eval_cell_versus(d, f, &f->text, &f->text.total);
    }
}

static void texts_item(struct document *d, const struct eval_results *r)
{
    if (r->n_differences)
        document_item(d, "**%d of %d compared texts differ**: see Faults", r->n_differences, r->compared);
    else if (r->compared)
        document_item(d, "Same text whoever drafts: all of %d pairs of greedy and coupled answers are equal, token by token",
                      r->compared);
}

void eval_section_summary(struct document *d, const struct eval_results *r)
{
    const struct eval *e = r->eval;
    document_text(d, "%d prompts of `%s`, %d requests in %.0f s, %d of them answered whole; %s.", e->questions.n, e->options->data,
                  e->asked, e->seconds, e->whole,
                  e->options->concurrency > 1 ? "several at a time" : "one at a time, prompt by prompt in turn");
    if (e->interrupted)
        document_text(d, "**Interrupted**: what follows is about the prompts that every column had answered by then.");
    if (e->stopped[0])
        document_text(d, "**Stopped early**: %s", e->stopped);
    document_text(d, "At K = %d drafts a step:", r->main_drafts);
    headlines(d, r);
    texts_item(d, r);
    if (r->failed)
        document_item(d, "**%d requests failed**: see Faults", r->failed);
    if (r->undrafted)
        document_item(d, "**%d answers ran without drafts** although they were to have some: see Faults", r->undrafted);
}

/* ---- distributions ---- */

static void tvd_table(struct document *d, const struct eval_results *r)
{
    static const char *const titles[] = {"drafter, answers", "positions", "mean TVD",       "expected acceptance, 1 - TVD",
                                         "same best token",  "median",    "90th percentile"};
    const struct tvd *t = r->tvd;
    document_table(d, titles, 7);
    for (int c = 0; c < t->n_conditions; c++)
        for (int i = 0; i < t->n_drafters; i++) {
            const struct tvd_figures *f = tvd_figures_at(r, EVAL_ALL, i, c);
            float temperature = r->eval->conditions[t->conditions[c]].temperature;
            char answers[32] = "greedy";
            if (temperature > 0)
                snprintf(answers, sizeof answers, "T = %g", (double)temperature);
            document_cell(d, "%s, %s", r->eval->options->drafters[t->drafters[i]].name, answers);
            document_cell(d, "%d", f->positions);
            if (f->answers > 1)
                document_cell(d, "%.3f [%.3f, %.3f]", f->mean.value, f->mean.low, f->mean.high);
            else
                document_cell(d, "%.3f", f->mean.value);
            document_cell(d, "%.3f", f->positions ? 1 - f->mean.value : 0);
            document_cell(d, "%.1f %%", 100 * f->same_best);
            document_cell(d, "%.3f", f->quantiles[2]);
            document_cell(d, "%.3f", f->quantiles[4]);
        }
}

static void tvd_task_table(struct document *d, const struct eval_results *r, int condition)
{
    const struct tvd *t = r->tvd;
    char *titles[EVAL_SERVICES + 1] = {mem_string("mean TVD by task")};
    for (int i = 0; i < t->n_drafters; i++)
        titles[i + 1] = mem_string(r->eval->options->drafters[t->drafters[i]].name);
    document_table(d, (const char *const *)titles, t->n_drafters + 1);
    for (int g = 0; g < r->n_groups; g++) {
        document_cell(d, "%s", r->groups[g]);
        for (int i = 0; i < t->n_drafters; i++)
            document_cell(d, "%.3f", tvd_figures_at(r, g, i, condition)->mean.value);
    }
    for (int i = 0; i <= t->n_drafters; i++)
        free(titles[i]);
}

void eval_section_tvd(struct document *d, const struct eval_results *r)
{
    document_heading(d, "Distance of distributions");
    document_text(
        d, "Total variation distance, half the sum of |p - q|, of the target's and the drafter's next-token distributions at "
           "every position of the target's answers, over the ids that both have. Along greedy answers at temperature 1, "
           "along sampled ones at theirs.");
    tvd_table(d, r);
    if (r->n_groups > 1)
        tvd_task_table(d, r, 0);
}

/* ---- faults ---- */

static void config_words(char *words, size_t size, const struct eval *e, int config)
{
    char condition[64];
    eval_condition_words(condition, sizeof condition, &e->conditions[e->configs[config].condition]);
    snprintf(words, size, "%s, K = %d, %s", eval_config_name(e, config), e->configs[config].draft_tokens, condition);
}

static void differences_list(struct document *d, const struct eval_results *r)
{
    const struct eval *e = r->eval;
    if (!r->n_differences)
        return;
    document_text(d,
                  "**%d texts are not those of the first column of their condition.** Services promise the same text for every "
                  "drafter on the same number of ranks and kind of processor.",
                  r->n_differences);
    for (int i = 0; i < r->n_differences && i < LISTED; i++) {
        const struct eval_difference *x = &r->differences[i];
        char words[160], other[160];
        config_words(words, sizeof words, e, x->config);
        config_words(other, sizeof other, e, x->other);
        document_item(d, "line %d: %s differs from %s from token %d on", e->questions.list[x->question].line, words, other, x->at);
    }
}

/* Answers of one kind: failed, or without the drafts that they were to have. */
static void answers_list(struct document *d, const struct eval *e, bool failed, int total)
{
    int n = 0;
    for (int q = 0; q < e->questions.n; q++)
        for (int c = 0; c < e->n_configs; c++) {
            const struct eval_answer *a = eval_answer_at(e, c, q);
            bool fits = failed ? a->tries && !a->text : a->text && e->configs[c].draft_tokens && a->words[0];
            if (!fits || n++ >= LISTED)
                continue;
            char words[160];
            config_words(words, sizeof words, e, c);
            if (failed)
                document_item(d, "line %d, %s: %s after %d %s: %s", e->questions.list[q].line, words, rpc_status_name(a->status),
                              a->tries, a->tries == 1 ? "try" : "tries", a->words);
            else
                document_item(d, "line %d, %s: %s", e->questions.list[q].line, words, a->words);
        }
    if (total > LISTED)
        document_item(d, "and %d more: `eval.json` has all", total - LISTED);
}

void eval_section_faults(struct document *d, const struct eval_results *r)
{
    document_heading(d, "Faults");
    if (!r->n_differences && !r->failed && !r->undrafted)
        document_text(
            d, "None: every request that was sent was answered with the drafts that it asked for, and texts that must be the "
               "same are.");
    differences_list(d, r);
    if (r->failed) {
        document_text(d, "**%d requests failed.** Their prompts are in no figure of the condition.", r->failed);
        answers_list(d, r->eval, true, r->failed);
    }
    if (r->undrafted) {
        document_text(d, "**%d answers ran without drafts.** They are in the figures as they were.", r->undrafted);
        answers_list(d, r->eval, false, r->undrafted);
    }
}

/* ---- how to read it, where it comes from ---- */

void eval_section_reading(struct document *d, const struct eval_results *r)
{
    document_heading(d, "How to read it");
    document_item(
        d, "**Mean acceptance length** is 1 + A/S, the target's own token of each step included (S steps, A accepted drafts, "
           "summed over prompts). Papers that leave that token out report A/S, here **accepted per step**. The token that the "
           "prompt gives belongs to no step.");
    document_item(d, "**Accepted at draft i**: steps that accepted draft i and all before it, of all steps.");
    document_item(
        d, "**Tokens/s end to end**: sum of output tokens / sum of the times from sending a request to its last token, as the "
           "client sees it: picture, prompt and waiting included. **Decoding**: tokens behind the first / time behind the "
           "first. Short answers make the prompt weigh more, so the mean output length stands beside every speed.");
    document_item(
        d, "**Speed-up** is a quotient of such speeds over the same prompts; **over text-only** is beside the first drafter that "
           "sees no picture, at the same K.");
    document_item(d,
                  "**Intervals**: %d bootstrap resamples of the prompts, the same in both parts of a quotient, %g %% percentile.",
                  r->eval->options->bootstrap.resamples, 100 * r->eval->options->bootstrap.confidence);
}

static void services_table(struct document *d, const struct eval *e)
{
    static const char *const titles[] = {"service", "drafter", "kind", "ranks", "device of the target", "version"};
    document_table(d, titles, 6);
    for (int i = 0; i < e->n_services; i++) {
        const struct eval_service *s = &e->services[i];
        if (!s->info.model[0])
            continue; /* it was not asked anything */
        document_cell(d, "%s", s->name);
        document_cell(d, "%s", s->drafter ? s->drafter : s->info.drafter[0] ? s->info.drafter : "none");
        document_cell(d, "%s", s->info.drafter_kind[0] ? s->info.drafter_kind : "none");
        document_cell(d, "%d", s->server.ranks_per_group);
        document_cell(d, "%s", s->server.groups ? s->server.group_devices[0] : "?");
        document_cell(d, "%s", s->server.version);
    }
}

void eval_section_origin(struct document *d, const struct eval_results *r)
{
    const struct eval *e = r->eval;
    const struct eval_options *o = e->options;
    const struct eval_origin *origin = r->origin;
    document_heading(d, "Where it comes from");
    document_code(d, o->command);
    document_item(d, "massv %s, %s, on %s (%d cores)", MASSV_VERSION, origin->date, origin->cpu, origin->cores);
    document_item(d, "prompts: `%s`, XXH3-128 `%s`%s", o->data, origin->data_hash, o->limit ? ", the first of them (--limit)" : "");
    document_item(d, "at most %d tokens an answer; seed %llu; %d at a time", o->max_tokens, (unsigned long long)o->seed,
                  o->concurrency);
    if (o->target)
        document_item(d, "target: `%s`, weights `%s`", o->target, origin->target_hash);
    for (int i = 0; i < o->n_drafters; i++)
        document_item(d, "drafter %s: `%s`, weights `%s`", o->drafters[i].name, o->drafters[i].value, origin->drafter_hash[i]);
    services_table(d, e);
    document_text(
        d, "`eval.json` beside this file has every answer and every figure; `plots/` has the plots and the scripts that draw "
           "them. What each figure means: `docs/evaluation.md`.");
}
