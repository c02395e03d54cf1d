/* eval_plots.c - the plots of an evaluation: for each condition acceptance by position, acceptance length by draft length and by
 * task, speed-up; distances of distributions */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/memory.h"
#include "cli/eval_results.h"
#include "cli/gnuplot.h"

struct plotting {
    const struct eval_results *r;
    struct eval_plots *plots;
    char *dir; /* .../plots */
    struct error *err;
};

/* What a plot draws: one line or bar for each drafter. */
struct drawing {
    FILE *f;
    char name[EVAL_NAME];
    char *command; /* "plot ..." so far */
};

/* ---- a plot ---- */

static int drawing_begin(struct drawing *d, const struct plotting *p, const char *stem, const struct eval_condition *c)
{
    char condition[40];
    eval_condition_stem(condition, sizeof condition, c);
    snprintf(d->name, sizeof d->name, "%s-%s", stem, condition);
    d->command = mem_string("");
    d->f = gnuplot_begin(p->dir, d->name, p->err);
    return d->f ? 0 : -1;
}

static void command_add(struct drawing *d, char *piece)
{
    char *longer = mem_format("%s%s%s", *d->command ? d->command : "plot ", *d->command ? ", " : "", piece);
    free(d->command);
    free(piece);
    d->command = longer;
}

/* caption: malloc'ed, handed over. */
static int drawing_end(struct drawing *d, const struct plotting *p, char *caption)
{
    int result = gnuplot_end(d->f, p->dir, d->name, d->command, p->err);
    free(d->command);
    if (result || p->plots->n == EVAL_PLOTS) {
        free(caption);
        return result;
    }
    struct eval_plot *plot = &p->plots->list[p->plots->n++];
    snprintf(plot->name, sizeof plot->name, "%s", d->name);
    plot->caption = caption;
    return 0;
}

/* The config of drafter i of those that are drawn at a draft length; -1: there are no more. */
static int drafter_config(const struct eval *e, int i, int drafts, int condition)
{
    for (int c = 0; c < e->n_configs; c++)
        if (e->configs[c].condition == condition && e->configs[c].draft_tokens == drafts && i-- == 0)
            return c;
    return -1;
}

/* ---- acceptance ---- */

static int position_plot(const struct plotting *p, int condition)
{
    const struct eval *e = p->r->eval;
    struct drawing d;
    char words[64];
    int k = p->r->main_drafts;
    if (drawing_begin(&d, p, "acceptance-by-position", &e->conditions[condition]))
        return -1;
    for (int i = 0, c; (c = drafter_config(e, i, k, condition)) >= 0; i++) {
        const struct acceptance *a = &eval_figures_at(p->r, EVAL_ALL, c)->acceptance;
        fprintf(d.f, "$d%d << EOD\n", i);
        for (int at = 0; at < k; at++)
            fprintf(d.f, "%d %.4f\n", at + 1, a->steps ? 100 * (double)a->accepted_per_position[at] / (double)a->steps : 0);
        fprintf(d.f, "EOD\n");
        command_add(&d, mem_format("$d%d using 1:2 with linespoints linetype %d title '%s'", i, i + 1, eval_config_name(e, c)));
    }
    fprintf(d.f,
            "set xlabel 'position of the draft in its step'\nset ylabel 'steps that accepted it, %%'\nset xtics 1\n"
            "set xrange [0.7:%d.3]\nset yrange [0:100]\n",
            k);
    eval_condition_words(words, sizeof words, &e->conditions[condition]);
    return drawing_end(
        &d, p,
        mem_format("**Acceptance by position**, K = %d, %s: the share of the target's steps that accepted the draft at "
                   "this position, and with it all before. The higher and flatter a line, the more of each step's "
                   "drafts are used; its points add up to the accepted drafts per step.",
                   k, words));
}

static void interval_put(FILE *f, const struct interval *i)
{
    fprintf(f, " %.6g %.6g %.6g", i->value, i->low, i->high);
}

/* One line per drafter over draft lengths: y of each config. */
static void lines_by_drafts(const struct plotting *p, struct drawing *d, int condition,
                            const struct interval *(*y)(const struct eval_figures *f))
{
    const struct eval *e = p->r->eval;
    const struct eval_options *o = e->options;
    for (int i = 0, c; (c = drafter_config(e, i, o->drafts[0], condition)) >= 0; i++) {
        fprintf(d->f, "$d%d << EOD\n", i);
        for (int k = 0; k < o->n_drafts; k++) {
            int config = drafter_config(e, i, o->drafts[k], condition);
            fprintf(d->f, "%d", o->drafts[k]);
            interval_put(d->f, y(eval_figures_at(p->r, EVAL_ALL, config)));
            fprintf(d->f, "\n");
        }
        fprintf(d->f, "EOD\n");
        command_add(d, mem_format("$d%d using 1:2:3:4 with yerrorlines linetype %d title '%s'", i, i + 1, eval_config_name(e, c)));
    }
    int low = DRAFT_TOKENS_MAX, high = 0;
    for (int k = 0; k < o->n_drafts; k++) {
        low = o->drafts[k] < low ? o->drafts[k] : low;
        high = o->drafts[k] > high ? o->drafts[k] : high;
    }
    fprintf(d->f, "set xlabel 'drafts per step, K'\nset xtics 1\nset xrange [%d.6:%d.4]\n", low - 1, high);
}

static const struct interval *length_of(const struct eval_figures *f)
{
    return &f->length;
}

static const struct interval *over_off_of(const struct eval_figures *f)
{
    return &f->off.total;
}

static int length_by_drafts_plot(const struct plotting *p, int condition)
{
    struct drawing d;
    char words[64];
    const struct eval_condition *c = &p->r->eval->conditions[condition];
    if (drawing_begin(&d, p, "length-by-draft-length", c))
        return -1;
    lines_by_drafts(p, &d, condition, length_of);
    command_add(&d, mem_string("x + 1 with lines linecolor rgb '#888888' dashtype (9,5) title 'all accepted'"));
    fprintf(d.f, "set ylabel 'mean acceptance length, tokens a step'\nset yrange [1:*]\n");
    eval_condition_words(words, sizeof words, c);
    return drawing_end(&d, p,
                       mem_format("**Mean acceptance length by draft length**, %s, with 95 %% intervals: tokens that a step of the "
                                  "target gives, its own included. Where a line flattens, further drafts are wasted; the dashed "
                                  "line is the most there can be.",
                                  words));
}

static int speed_by_drafts_plot(const struct plotting *p, int condition)
{
    struct drawing d;
    char words[64];
    const struct eval_condition *c = &p->r->eval->conditions[condition];
    if (drawing_begin(&d, p, "speed-up-by-draft-length", c))
        return -1;
    lines_by_drafts(p, &d, condition, over_off_of);
    command_add(&d, mem_string("1 with lines linecolor rgb '#888888' dashtype (9,5) title 'no drafts'"));
    fprintf(d.f, "set ylabel 'speed-up over no drafts, end to end'\nset yrange [0:*]\n");
    eval_condition_words(words, sizeof words, c);
    return drawing_end(&d, p,
                       mem_format("**Speed-up by draft length**, %s, with 95 %% intervals: tokens per second of the whole request, "
                                  "picture and prompt included, over the same without drafts (dashed). Its top is the draft length "
                                  "to use on this machine.",
                                  words));
}

/* ---- bars ---- */

/* Columns value, low, high for each drafter, a group of bars for each row. The bars of a group share 0.8 of its width. */
static void bars_command(const struct plotting *p, struct drawing *d, int condition)
{
    const struct eval *e = p->r->eval;
    int n = 0;
    while (drafter_config(e, n, p->r->main_drafts, condition) >= 0)
        n++;
    double width = 0.8 / n;
    for (int i = 0; i < n; i++) {
        double at = (i - 0.5 * (n - 1)) * width;
        const char *name = eval_config_name(e, drafter_config(e, i, p->r->main_drafts, condition));
        command_add(d, mem_format("$d using ($0 + %.3f):%d with boxes linetype %d title '%s'", at, 3 * i + 2, i + 1, name));
        command_add(
            d, mem_format(
                   "$d using ($0 + %.3f):%d:(0):($%d - $%d) with vectors nohead linetype 1 linecolor rgb '#333333' linewidth 1.2 "
                   "notitle",
                   at, 3 * i + 3, 3 * i + 4, 3 * i + 3));
    }
    command_add(d, mem_string("$d using 0:(NaN):xtic(1) with points notitle"));
    fprintf(d->f, "set boxwidth %.3f\nset xtics scale 0\n", 0.92 * width);
}

/* A task's name is the user's: it must neither end its quotes nor its line. */
static void label_put(FILE *f, const char *text)
{
    fputc('"', f);
    for (; *text; text++)
        fputc(*text == '"' ? '\'' : *text == '\\' ? '/' : (unsigned char)*text < ' ' ? ' ' : *text, f);
    fputc('"', f);
}

static int length_by_task_plot(const struct plotting *p, int condition)
{
    const struct eval *e = p->r->eval;
    struct drawing d;
    char words[64];
    if (drawing_begin(&d, p, "length-by-task", &e->conditions[condition]))
        return -1;
    fprintf(d.f, "$d << EOD\n");
    for (int g = 0; g < p->r->n_groups; g++) {
        label_put(d.f, p->r->groups[g]);
        for (int i = 0, c; (c = drafter_config(e, i, p->r->main_drafts, condition)) >= 0; i++)
            interval_put(d.f, &eval_figures_at(p->r, g, c)->length);
        fprintf(d.f, "\n");
    }
    fprintf(d.f, "EOD\nset ylabel 'mean acceptance length, tokens a step'\nset yrange [1:%d.1]\nset xrange [-0.6:%d.6]\n%s",
            p->r->main_drafts + 1, p->r->n_groups - 1, p->r->n_groups > 6 ? "set xtics rotate by 35 right\n" : "");
    bars_command(p, &d, condition);
    eval_condition_words(words, sizeof words, &e->conditions[condition]);
    return drawing_end(
        &d, p,
        mem_format("**Mean acceptance length by task**, K = %d, %s, with 95 %% intervals. A drafter that sees gains most "
                   "where the picture decides the words; where the wording alone does, all are alike. 1 is no draft "
                   "accepted, %d all of them.",
                   p->r->main_drafts, words, p->r->main_drafts + 1));
}

static void versus_put(FILE *f, const struct eval_versus *v, const struct interval *i)
{
    if (v->is_there)
        interval_put(f, i);
    else
        fprintf(f, " ? ? ?");
}

static void speed_row(const struct plotting *p, struct drawing *d, int condition, const char *title, int which)
{
    const struct eval *e = p->r->eval;
    fprintf(d->f, "\"%s\"", title);
    for (int i = 0, c; (c = drafter_config(e, i, p->r->main_drafts, condition)) >= 0; i++) {
        const struct eval_figures *f = eval_figures_at(p->r, EVAL_ALL, c);
        const struct eval_versus *v = which & 2 ? &f->text : &f->off;
        versus_put(d->f, v, which & 1 ? &v->decode : &v->total);
    }
    fprintf(d->f, "\n");
}

static int speed_plot(const struct plotting *p, int condition)
{
    const struct eval *e = p->r->eval;
    struct drawing d;
    char words[64];
    bool off = eval_config_find(e, -1, 0, condition) >= 0;
    if (!off && p->r->text < 0)
        return 0;
    if (drawing_begin(&d, p, "speed-up", &e->conditions[condition]))
        return -1;
    fprintf(d.f, "$d << EOD\n");
    if (off) {
        speed_row(p, &d, condition, "no drafts,\\nend to end", 0);
        speed_row(p, &d, condition, "no drafts,\\ndecoding", 1);
    }
    if (p->r->text >= 0) {
        speed_row(p, &d, condition, "text-only,\\nend to end", 2);
        speed_row(p, &d, condition, "text-only,\\ndecoding", 3);
    }
    fprintf(d.f, "EOD\nset ylabel 'speed-up over'\nset yrange [0:*]\nset xrange [-0.6:%d.6]\nset bmargin 4\n",
            2 * off + 2 * (p->r->text >= 0) - 1);
    bars_command(p, &d, condition);
    command_add(&d, mem_string("1 with lines linecolor rgb '#444444' linewidth 1 dashtype 2 notitle"));
    eval_condition_words(words, sizeof words, &e->conditions[condition]);
    return drawing_end(
        &d, p,
        mem_format("**Speed-up**, K = %d, %s, with 95 %% intervals. End to end includes picture and prompt; decoding is "
                   "what follows the first token. Bars above the dashed line at 1 are gains.",
                   p->r->main_drafts, words));
}

/* ---- distributions ---- */

static void tvd_mean_mark(struct drawing *d, int i, double mean)
{
    fprintf(d->f, "set arrow from %.4f, graph 0 to %.4f, graph 1 nohead linetype %d dashtype 3 linewidth 1.5\n", mean, mean, i + 1);
}

static int tvd_plot(const struct plotting *p, int at)
{
    const struct eval *e = p->r->eval;
    const struct tvd *t = p->r->tvd;
    const struct eval_condition *c = &e->conditions[t->conditions[at]];
    struct drawing d;
    if (drawing_begin(&d, p, "tvd", c))
        return -1;
    for (int i = 0; i < t->n_drafters; i++) {
        const struct tvd_figures *f = tvd_figures_at(p->r, EVAL_ALL, i, at);
        fprintf(d.f, "$d%d << EOD\n", i);
        for (int b = 0; b < TVD_BINS; b++)
            fprintf(d.f, "%.4f %.4f\n", (b + 0.5) / TVD_BINS, f->positions ? 100.0 * f->bins[b] / f->positions : 0);
        fprintf(d.f, "EOD\n");
        tvd_mean_mark(&d, i, f->mean.value);
        command_add(&d, mem_format("$d%d using 1:($2 > 0 ? $2 : 0.01) with histeps linetype %d title '%s %.3f'", i, i + 1,
                                   e->options->drafters[t->drafters[i]].name, f->mean.value));
    }
    fprintf(d.f, "set xlabel 'total variation distance of target and drafter (its mean beside the names)'\nset ylabel 'positions, "
                 "%%'\nset logscale y\n"
                 "set xrange [0:1]\nset yrange [0.05:100]\nset xtics 0.1\n");
    return drawing_end(
        &d, p,
        mem_format("**Distance of next-token distributions** along the target's %s answers (logarithmic scale; dotted: "
                   "means). 0 is the same distribution, 1 nothing in common; 1 minus the mean is the acceptance to "
                   "expect of one draft. What training moves to the left is accepted more often.",
                   c->temperature == 0 ? "greedy" : "sampled"));
}

/* ---- all of them ---- */

static int condition_plots(const struct plotting *p, int condition)
{
    const struct eval *e = p->r->eval;
    int first = drafter_config(e, 0, p->r->main_drafts, condition);
    if (first < 0 || !eval_figures_at(p->r, EVAL_ALL, first)->prompts)
        return 0;
    if (position_plot(p, condition) || speed_plot(p, condition))
        return -1;
    if (p->r->n_groups > 1 && length_by_task_plot(p, condition))
        return -1;
    if (e->options->n_drafts == 1)
        return 0;
    bool off = eval_config_find(e, -1, 0, condition) >= 0;
    return length_by_drafts_plot(p, condition) || (off && speed_by_drafts_plot(p, condition)) ? -1 : 0;
}

int eval_plots_make(struct eval_plots *plots, const struct eval_results *results, const char *dir, struct error *err)
{
    struct plotting p = {results, plots, mem_format("%s/plots", dir), err};
    int result = mkdir(p.dir, 0777) && errno != EEXIST ? fail(err, "%s: %s", p.dir, strerror(errno)) : 0;
    plots->n = 0;
    for (int c = 0; !result && c < results->eval->n_conditions; c++)
        result = condition_plots(&p, c);
    for (int c = 0; !result && results->tvd && c < results->tvd->n_conditions; c++)
        if (tvd_figures_at(results, EVAL_ALL, 0, c)->positions)
            result = tvd_plot(&p, c);
    free(p.dir);
    return result;
}

void eval_plots_free(struct eval_plots *plots)
{
    for (int i = 0; i < plots->n; i++)
        free(plots->list[i].caption);
}
