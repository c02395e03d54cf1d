/* eval_results.h - all figures of an evaluation: what its JSON, report and plots are written from */
#ifndef CLI_EVAL_RESULTS_H
#define CLI_EVAL_RESULTS_H

#include "cli/eval.h"
#include "cli/eval_figures.h"
#include "cli/eval_origin.h"
#include "cli/eval_tvd.h"

enum { EVAL_DIFFERENCES = 20, EVAL_ALL = 0 }; /* those that are listed; the group of all prompts */

struct eval_results {
    const struct eval *eval;
    const struct eval_origin *origin;
    const struct tvd *tvd;           /* NULL: not measured */
    const char **groups;             /* (n_groups) "all", then the tasks in the order of the data; the questions' */
    int n_groups;                    /* 1: the data has no tasks, or one */
    int main_drafts;                 /* the draft length of the tables that have one: 5 where it was asked for, else the largest */
    int text;                        /* service of text-only drafting; -1 = none */
    bool *wanted;                    /* (n_conditions, questions) answered by every config of the condition */
    struct eval_figures *figures;    /* (n_groups, n_configs) */
    struct tvd_figures *tvd_figures; /* (n_groups, drafters, conditions) of tvd */
    struct eval_difference differences[EVAL_DIFFERENCES];
    int n_differences, compared; /* texts that differ; pairs that were compared */
    int failed;                  /* requests that were asked and have no whole answer */
    int undrafted;               /* answers that were to be drafted and were not */
};

void eval_results_make(struct eval_results *results, const struct eval *eval, const struct tvd *tvd,
                       const struct eval_origin *origin);
void eval_results_free(struct eval_results *results);

static inline const struct eval_figures *eval_figures_at(const struct eval_results *r, int group, int config)
{
    return &r->figures[group * r->eval->n_configs + config];
}

static inline const struct tvd_figures *tvd_figures_at(const struct eval_results *r, int group, int drafter, int condition)
{
    return &r->tvd_figures[(group * r->tvd->n_drafters + drafter) * r->tvd->n_conditions + condition];
}

/* The config of a service (-1: without drafts) at a draft length under a condition; -1 = none. */
int eval_config_find(const struct eval *e, int service, int draft_tokens, int condition);

/* Output tokens/s of all requests of a config together, while some were under way; 0 where none were. */
double eval_together(const struct eval *e, int config);

/* Writes everything, with every answer: eval.json. */
int eval_json_write(const struct eval_results *results, const char *path, struct error *err);
/* The summary as one line. */
int eval_json_print(const struct eval_results *results, struct error *err);

/* Plots of the results in DIR/plots, each as .gp, .svg and .png. */
enum { EVAL_PLOTS = 64 };
struct eval_plot {
    char name[EVAL_NAME];
    char *caption;
};
struct eval_plots {
    struct eval_plot list[EVAL_PLOTS];
    int n;
};
int eval_plots_make(struct eval_plots *plots, const struct eval_results *results, const char *dir, struct error *err);
void eval_plots_free(struct eval_plots *plots);

/* report.md and report.html in DIR. */
int eval_report_write(const struct eval_results *results, const struct eval_plots *plots, const char *dir, struct error *err);

/* The tables in short, for people at a terminal. */
void eval_summary_print(const struct eval_results *results);

#endif
