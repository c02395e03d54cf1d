/* eval_plan.c - what is asked of whom, in which order */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "cli/eval.h"

enum {
    BLOCK_ROUNDS = 4
}; /* questions of a block, in units of the concurrency: its end, with few under way, is then a small part */

void eval_condition_words(char *words, size_t size, const struct eval_condition *condition)
{
    if (condition->temperature == 0)
        snprintf(words, size, "greedy (T = 0)");
    else
        snprintf(words, size, "T = %g, %s", (double)condition->temperature,
                 condition->mode == SAMPLING_REJECTION ? "rejection" : "coupled");
}

void eval_condition_stem(char *stem, size_t size, const struct eval_condition *condition)
{
    if (condition->temperature == 0)
        snprintf(stem, size, "greedy");
    else
        snprintf(stem, size, "t%g-%s", (double)condition->temperature,
                 condition->mode == SAMPLING_REJECTION ? "rejection" : "coupled");
}

static void conditions_plan(struct eval *e)
{
    const struct eval_options *o = e->options;
    for (int t = 0; t < o->n_temperatures; t++)
        for (int mode = 0; mode < 2; mode++) {
            bool greedy = o->temperatures[t] == 0;
            if (greedy ? mode == SAMPLING_COUPLED : o->modes[mode])
                e->conditions[e->n_conditions++] = (struct eval_condition){o->temperatures[t], (enum sampling_mode)mode};
        }
}

static void names_list(char *list, size_t size, const struct eval *e)
{
    size_t n = (size_t)snprintf(list, size, EVAL_OFF);
    for (int i = 0; i < e->n_services && n < size; i++)
        if (strcmp(e->services[i].name, EVAL_OFF) != 0)
            n += (size_t)snprintf(list + n, size - n, ", %s", e->services[i].name);
}

static int compare_check(const struct eval *e, struct error *err)
{
    const struct eval_options *o = e->options;
    for (int i = 0; i < o->n_compare; i++) {
        bool found = !strcmp(o->compare[i], EVAL_OFF);
        for (int s = 0; s < e->n_services; s++)
            found = found || !strcmp(o->compare[i], e->services[s].name);
        char there[400];
        names_list(there, sizeof there, e);
        if (!found)
            return fail(
                err,
                "--compare %s: there is %s; to compare several drafters give --address NAME=ADDR for each running service, or "
                "--target DIR --drafter NAME=DIR for each drafter",
                o->compare[i], there);
    }
    return 0;
}

static bool is_compared(const struct eval *e, const char *name)
{
    const struct eval_options *o = e->options;
    for (int i = 0; i < o->n_compare; i++)
        if (!strcmp(o->compare[i], name))
            return true;
    return !o->n_compare;
}

/* Without drafts the service whose drafter costs nothing: one without, else a text-only one, which has no features of pictures to
 * make, else the first; of those that are asked anyway, if there are any. */
static int service_of_off(const struct eval *e)
{
    int best = 0, most = -1, text = eval_service_text(e);
    for (int i = 0; i < e->n_services; i++) {
        bool none = !strcmp(e->services[i].name, EVAL_OFF);
        int rank = none ? 3 : !is_compared(e, e->services[i].name) ? 0 : i == text ? 2 : 1;
        if (rank > most) {
            best = i;
            most = rank;
        }
    }
    return best;
}

static void config_add(struct eval *e, int service, int condition, int draft_tokens)
{
    e->configs = mem_grow(e->configs, (size_t)e->n_configs + 1, sizeof *e->configs);
    e->configs[e->n_configs++] = (struct eval_config){service, condition, draft_tokens};
}

int eval_plan_configs(struct eval *e, struct error *err)
{
    const struct eval_options *o = e->options;
    if (compare_check(e, err))
        return -1;
    conditions_plan(e);
    for (int c = 0; c < e->n_conditions; c++) {
        if (is_compared(e, EVAL_OFF))
            config_add(e, service_of_off(e), c, 0);
        for (int s = 0; s < e->n_services; s++)
            for (int k = 0; k < o->n_drafts; k++)
                if (strcmp(e->services[s].name, EVAL_OFF) != 0 && is_compared(e, e->services[s].name))
                    config_add(e, s, c, o->drafts[k]);
    }
    e->answers = mem_new((size_t)e->n_configs * (size_t)e->questions.n, sizeof *e->answers);
    e->busy = mem_new((size_t)e->n_configs + 1, sizeof *e->busy);
    return 0;
}

int eval_plan_jobs(const struct eval *e, int first, int n, struct eval_job **jobs)
{
    int size = e->options->concurrency > 1 ? BLOCK_ROUNDS * e->options->concurrency : 1, count = 0, block = 0;
    struct eval_job *list = mem_new((size_t)e->n_configs * (size_t)e->questions.n + 1, sizeof *list);
    for (int from = 0; from < e->questions.n; from += size)
        for (int i = 0; i < e->n_configs; i++) {
            int config = (i + from / size) % e->n_configs;
            int service = e->configs[config].service;
            if (service < first || service >= first + n)
                continue;
            for (int q = from; q < from + size && q < e->questions.n; q++)
                list[count++] = (struct eval_job){config, q, block};
            block++;
        }
    *jobs = list;
    return count;
}
