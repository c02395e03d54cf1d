/* eval.c - massv eval: drafters side by side on the same prompts; docs/evaluation.md has every figure and formula */
#include "cli/eval.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

#include "base/memory.h"
#include "base/signals.h"
#include "cli/cli.h"
#include "cli/eval_results.h"
#include "cli/gnuplot.h"

enum { INTERRUPTED = 130 };

/* ---- asking ---- */

/* Services [first, first + n) at once. 1 when a signal came. */
static int phase_run(struct eval *e, int first, int n, int *done, int total, struct error *err)
{
    struct eval_job *jobs;
    int result = eval_services_start(e, first, n, err);
    for (int s = first; !result && s < first + n; s++)
        result = eval_warm_up(e, s, err);
    if (!result) {
        int count = eval_plan_jobs(e, first, n, &jobs);
        result = eval_run(e, jobs, count, *done, total);
        if (result < 0)
            fail(err, "%s", e->stopped);
        *done += count;
        free(jobs);
    }
    eval_services_stop(e, first, n);
    return result;
}

/* 0: all was asked; 1: a signal came; -1: nothing was asked, err says why. A stop later on is in e->stopped. */
static int questions_ask(struct eval *e, struct error *err)
{
    int total = e->n_configs * e->questions.n, done = 0, result = 0;
    int step = e->options->one_at_a_time ? 1 : e->n_services;
    for (int s = 0; !result && s < e->n_services; s += step) {
        result = phase_run(e, s, step, &done, total, err);
        if (result < 0 && e->asked && !e->stopped[0])
            snprintf(e->stopped, sizeof e->stopped, "%.390s", err->text);
    }
    e->interrupted = e->interrupted || result == 1;
    return result < 0 && e->asked ? 0 : result;
}

/* ---- what can be known before ---- */

static int folder_make(const char *dir, struct error *err)
{
    if (mkdir(dir, 0777) == 0 || errno == EEXIST)
        return 0;
    return fail(err, "--out %s: %s", dir, strerror(errno));
}

static int eval_prepare(struct eval *e, struct eval_origin *origin, struct error *err)
{
    const struct eval_options *o = e->options;
    if (questions_read(&e->questions, o->data, o->limit, err) || gnuplot_possible(err) || eval_services_find(e, err) ||
        eval_plan_configs(e, err) || eval_origin_find(origin, o, err) || folder_make(o->out, err))
        return -1;
    return 0;
}

/* ---- what is written ---- */

static int results_write(const struct eval_results *r, struct error *err)
{
    const struct eval_options *o = r->eval->options;
    struct eval_plots plots = {.n = 0};
    char *json = mem_format("%s/eval.json", o->out);
    int result = eval_json_write(r, json, err) || eval_plots_make(&plots, r, o->out, err) ||
                         eval_report_write(r, &plots, o->out, err) || (o->json && eval_json_print(r, err))
                     ? -1
                     : 0;
    if (!result && !o->json)
        eval_summary_print(r);
    eval_plots_free(&plots);
    free(json);
    return result;
}

/* After the report is there: what makes the evaluation a failure. */
static int verdict(const struct eval_results *r, struct error *err)
{
    const struct eval *e = r->eval;
    if (e->stopped[0])
        return fail(err, "%s; %s/report.html has what was done before", e->stopped, e->options->out);
    if (r->n_differences)
        return fail(err, "%d of %d compared texts differ between drafters, which must not be; %s/report.html lists them",
                    r->n_differences, r->compared, e->options->out);
    if (r->failed)
        return fail(err, "%d of %d requests failed; %s/report.html lists them", r->failed, e->asked, e->options->out);
    return 0;
}

static int tvd_run(struct tvd *tvd, struct eval *e)
{
    struct error err;
    int result = eval_tvd_measure(tvd, e, &err);
    if (result < 0)
        snprintf(e->stopped, sizeof e->stopped, "--tvd: %.390s", err.text);
    e->interrupted = e->interrupted || result == 1;
    return result;
}

static int eval_all(struct eval *e, struct error *err)
{
    struct eval_origin origin;
    struct eval_results results;
    struct tvd tvd = {0};
    if (eval_prepare(e, &origin, err) || questions_ask(e, err) < 0)
        return -1;
    bool measure = e->options->tvd && !e->interrupted && !e->stopped[0];
    if (measure)
        tvd_run(&tvd, e);
    eval_results_make(&results, e, tvd.answers ? &tvd : NULL, &origin);
    int result = results_write(&results, err);
    if (!result)
        result = verdict(&results, err);
    eval_results_free(&results);
    eval_tvd_free(&tvd);
    return result;
}

static void eval_free(struct eval *e)
{
    for (int i = 0; e->answers && i < e->n_configs * e->questions.n; i++)
        eval_answer_clear(&e->answers[i]);
    free(e->answers);
    free(e->busy);
    free(e->configs);
    questions_free(&e->questions);
    free(e->options->command);
    free(e);
}

/* Another one in every evaluation: running services may remember the pictures of the last. */
static uint64_t first_mark(void)
{
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    return (uint64_t)now.tv_sec << 32 ^ (uint64_t)now.tv_nsec;
}

int command_eval(struct comm *comm, int argc, char **argv)
{
    struct eval_options options;
    struct error err;
    eval_flags_parse(&options, argc, argv);
    signals_hold();
    struct eval *e = mem_new(1, sizeof *e);
    e->options = &options;
    e->mark = first_mark();
    int result = eval_all(e, &err);
    bool interrupted = e->interrupted;
    eval_free(e);
    if (result)
        return cli_failed(comm, argv[0], &err);
    return interrupted ? INTERRUPTED : CLI_DONE;
}
