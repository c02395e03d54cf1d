/* eval_report.c - the report: what came out, how sure it is, what went wrong, and how to make it again */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "cli/document.h"
#include "cli/eval_report.h"

/* ---- cells ---- */

void eval_cell_interval(struct document *d, const struct interval *i, int prompts)
{
    if (prompts > 1)
        document_cell(d, "%.2f [%.2f, %.2f]", i->value, i->low, i->high);
    else
        document_cell(d, "%.2f", i->value);
}

void eval_cell_versus(struct document *d, const struct eval_figures *f, const struct eval_versus *v, const struct interval *i)
{
    if (v->is_there)
        eval_cell_interval(d, i, f->prompts);
    else
        document_cell(d, " ");
}

static void cell_positions(struct document *d, const struct acceptance *a, int drafts)
{
    char text[16 * 8] = " ";
    size_t n = 0;
    for (int i = 0; i < drafts && a->steps; i++)
        n += (size_t)snprintf(text + n, sizeof text - n, "%s%.0f", i ? " " : "",
                              100 * (double)a->accepted_per_position[i] / (double)a->steps);
    document_cell(d, "%s", text);
}

/* ---- tables of a condition ---- */

/* Configs of the tables that have one draft length: without drafts, and every drafter at it. */
static bool is_main(const struct eval_results *r, int config, int condition)
{
    const struct eval_config *c = &r->eval->configs[config];
    return c->condition == condition && (!c->draft_tokens || c->draft_tokens == r->main_drafts);
}

static void acceptance_table(struct document *d, const struct eval_results *r, int condition)
{
    static const char *const titles[] = {"drafter",
                                         "mean acceptance length, 1 + A/S",
                                         "accepted per step, A/S",
                                         "of all drafts accepted",
                                         "length over text-only",
                                         "accepted at draft 1, 2, ..., %"};
    document_table(d, titles, 6);
    for (int c = 0; c < r->eval->n_configs; c++) {
        if (!is_main(r, c, condition) || !r->eval->configs[c].draft_tokens)
            continue;
        const struct eval_figures *f = eval_figures_at(r, EVAL_ALL, c);
        document_cell(d, "%s", eval_config_name(r->eval, c));
        eval_cell_interval(d, &f->length, f->prompts);
        document_cell(d, "%.2f", f->acceptance.steps ? f->length.value - 1 : 0);
        document_cell(d, "%.0f %%", 100 * acceptance_rate(&f->acceptance));
        eval_cell_versus(d, f, &f->text, &f->text.length);
        cell_positions(d, &f->acceptance, r->main_drafts);
    }
}

static void speed_table(struct document *d, const struct eval_results *r, int condition)
{
    static const char *const titles[] = {"drafter",
                                         "output tokens, mean",
                                         "tokens/s end to end",
                                         "tokens/s decoding",
                                         "over no drafts: end to end",
                                         "decoding",
                                         "over text-only: end to end",
                                         "decoding"};
    document_table(d, titles, 8);
    for (int c = 0; c < r->eval->n_configs; c++) {
        if (!is_main(r, c, condition))
            continue;
        const struct eval_figures *f = eval_figures_at(r, EVAL_ALL, c);
        document_cell(d, "%s", eval_config_name(r->eval, c));
        document_cell(d, "%.1f", f->tokens_mean);
        document_cell(d, "%.0f", f->total.value);
        document_cell(d, "%.0f", f->decode.value);
        eval_cell_versus(d, f, &f->off, &f->off.total);
        eval_cell_versus(d, f, &f->off, &f->off.decode);
        eval_cell_versus(d, f, &f->text, &f->text.total);
        eval_cell_versus(d, f, &f->text, &f->text.decode);
    }
}

static void time_table(struct document *d, const struct eval_results *r, int condition)
{
    static const char *const titles[] = {
        "ms of a request, mean",        "output tokens, mean",     "queue", "picture", "prompt", "decoding",
        "whole, as the client sees it", "picture and prompt of it"};
    document_table(d, titles, 8);
    for (int c = 0; c < r->eval->n_configs; c++) {
        if (!is_main(r, c, condition))
            continue;
        const struct eval_figures *f = eval_figures_at(r, EVAL_ALL, c);
        const struct eval_record *m = &f->mean;
        document_cell(d, "%s", eval_config_name(r->eval, c));
        document_cell(d, "%.1f", f->tokens_mean);
        document_cell(d, "%.2f", m->queue);
        document_cell(d, "%.2f", m->image);
        document_cell(d, "%.2f", m->prefill);
        document_cell(d, "%.2f", m->decode);
        document_cell(d, "%.2f", 1e3 * m->seconds);
        document_cell(d, "%.0f %%", m->seconds > 0 ? 0.1 * (m->image + m->prefill) / m->seconds : 0);
    }
}

/* With several requests at a time the service's speed is not that of one of them. */
static void together_table(struct document *d, const struct eval_results *r, int condition)
{
    static const char *const titles[] = {"all requests together", "tokens/s", "over no drafts"};
    const struct eval *e = r->eval;
    int off = eval_config_find(e, -1, 0, condition);
    document_table(d, titles, 3);
    for (int c = 0; c < e->n_configs; c++) {
        if (!is_main(r, c, condition))
            continue;
        double own = eval_together(e, c), beside = off >= 0 ? eval_together(e, off) : 0;
        document_cell(d, "%s", eval_config_name(e, c));
        document_cell(d, "%.0f", own);
        document_cell(d, beside > 0 && c != off ? "%.2f" : " ", beside > 0 ? own / beside : 0);
    }
}

/* Rows: drafters; columns: draft lengths. */
static void drafts_table(struct document *d, const struct eval_results *r, int condition, const char *title,
                         const struct interval *(*figure)(const struct eval_figures *f))
{
    const struct eval *e = r->eval;
    const struct eval_options *o = e->options;
    char *titles[EVAL_DRAFTS + 1] = {mem_string(title)};
    for (int k = 0; k < o->n_drafts; k++)
        titles[k + 1] = mem_format("K = %d", o->drafts[k]);
    document_table(d, (const char *const *)titles, o->n_drafts + 1);
    for (int s = 0; s < e->n_services; s++) {
        if (eval_config_find(e, s, o->drafts[0], condition) < 0)
            continue;
        document_cell(d, "%s", e->services[s].name);
        for (int k = 0; k < o->n_drafts; k++)
            document_cell(d, "%.2f", figure(eval_figures_at(r, EVAL_ALL, eval_config_find(e, s, o->drafts[k], condition)))->value);
    }
    for (int k = 0; k <= o->n_drafts; k++)
        free(titles[k]);
}

static const struct interval *length_of(const struct eval_figures *f)
{
    return &f->length;
}

static const struct interval *over_off_of(const struct eval_figures *f)
{
    return &f->off.total;
}

/* Rows: tasks; columns: each drafter's length, or (speed) its speed-up over text-only drafting, where that is something else. */
static void task_table(struct document *d, const struct eval_results *r, int condition, bool speed)
{
    const struct eval *e = r->eval;
    char *titles[3 + EVAL_SERVICES] = {mem_string(speed ? "speed-up end to end" : "mean acceptance length"), mem_string("prompts"),
                                       mem_string("output tokens, mean")};
    int columns = 3, configs[EVAL_SERVICES], n = 0;
    for (int c = 0; c < e->n_configs; c++)
        if (is_main(r, c, condition) && e->configs[c].draft_tokens) {
            bool beside_off = e->configs[c].service == r->text || r->text < 0;
            configs[n++] = c;
            titles[columns++] = mem_format("%s%s", eval_config_name(e, c),
                                           !speed       ? ""
                                           : beside_off ? " over no drafts"
                                                        : " over text-only");
        }
    document_table(d, (const char *const *)titles, columns);
    for (int g = 0; g < r->n_groups; g++) {
        const struct eval_figures *first = eval_figures_at(r, g, configs[0]);
        document_cell(d, "%s", r->groups[g]);
        document_cell(d, "%d", first->prompts);
        document_cell(d, "%.1f", first->tokens_mean);
        for (int i = 0; i < n; i++) {
            const struct eval_figures *f = eval_figures_at(r, g, configs[i]);
            const struct eval_versus *v = e->configs[configs[i]].service == r->text || r->text < 0 ? &f->off : &f->text;
            if (speed)
                eval_cell_versus(d, f, v, &v->total);
            else
                eval_cell_interval(d, &f->length, f->prompts);
        }
    }
    for (int i = 0; i < columns; i++)
        free(titles[i]);
}

/* ---- sections ---- */

static void figure_add(struct document *d, const struct eval_plots *plots, const char *stem, const struct eval_condition *c)
{
    char condition[40], name[EVAL_NAME];
    eval_condition_stem(condition, sizeof condition, c);
    snprintf(name, sizeof name, "%s-%s", stem, condition);
    for (int i = 0; i < plots->n; i++)
        if (!strcmp(plots->list[i].name, name)) {
            char *path = mem_format("plots/%s", name);
            document_figure(d, path, plots->list[i].caption);
            free(path);
        }
}

static bool has_drafts(const struct eval_results *r, int condition)
{
    for (int c = 0; c < r->eval->n_configs; c++)
        if (is_main(r, c, condition) && r->eval->configs[c].draft_tokens)
            return true;
    return false;
}

/* Over all columns; where the text is the same in all it is the same number. */
static double tokens_mean(const struct eval_results *r, int condition)
{
    double sum = 0;
    int n = 0;
    for (int c = 0; c < r->eval->n_configs; c++)
        if (r->eval->configs[c].condition == condition) {
            sum += eval_figures_at(r, EVAL_ALL, c)->tokens_mean;
            n++;
        }
    return n ? sum / n : 0;
}

static void condition_section(struct document *d, const struct eval_results *r, const struct eval_plots *plots, int condition)
{
    const struct eval *e = r->eval;
    const struct eval_condition *c = &e->conditions[condition];
    char words[64];
    int counted = 0;
    for (int q = 0; q < e->questions.n; q++)
        counted += r->wanted[condition * e->questions.n + q];
    eval_condition_words(words, sizeof words, c);
    document_heading(d, "%c%s, K = %d", words[0] == 'g' ? 'G' : words[0], words + 1, r->main_drafts);
    document_text(d, "%d of %d prompts: those that every column has a whole answer to; %.1f output tokens on average.%s", counted,
                  e->questions.n, tokens_mean(r, condition), counted > 1 ? " In brackets: 95 % intervals." : "");
    if (has_drafts(r, condition)) {
        acceptance_table(d, r, condition);
        figure_add(d, plots, "acceptance-by-position", c);
    }
    speed_table(d, r, condition);
    figure_add(d, plots, "speed-up", c);
    if (e->options->concurrency > 1)
        together_table(d, r, condition);
    time_table(d, r, condition);
    if (has_drafts(r, condition) && e->options->n_drafts > 1) {
        document_text(d, "**By draft length**");
        drafts_table(d, r, condition, "mean acceptance length", length_of);
        figure_add(d, plots, "length-by-draft-length", c);
        if (eval_config_find(e, -1, 0, condition) >= 0)
            drafts_table(d, r, condition, "speed-up over no drafts, end to end", over_off_of);
        figure_add(d, plots, "speed-up-by-draft-length", c);
    }
    if (has_drafts(r, condition) && r->n_groups > 1) {
        document_text(d, "**By task**");
        task_table(d, r, condition, false);
        figure_add(d, plots, "length-by-task", c);
        task_table(d, r, condition, true);
    }
}

int eval_report_write(const struct eval_results *results, const struct eval_plots *plots, const char *dir, struct error *err)
{
    const struct eval *e = results->eval;
    struct document *d;
    char *title = mem_format("Drafters for %s", eval_target_name(e));
    int result = document_open(&d, dir, "report", title, err);
    free(title);
    if (result)
        return -1;
    eval_section_summary(d, results);
    for (int c = 0; c < e->n_conditions; c++)
        condition_section(d, results, plots, c);
    if (results->tvd) {
        eval_section_tvd(d, results);
        for (int c = 0; c < results->tvd->n_conditions; c++)
            figure_add(d, plots, "tvd", &e->conditions[results->tvd->conditions[c]]);
    }
    eval_section_faults(d, results);
    eval_section_reading(d, results);
    eval_section_origin(d, results);
    return document_close(d, err);
}
