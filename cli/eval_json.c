/* eval_json.c - eval.json, and the summary on stdout */
#include <errno.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/standard.h"
#include "base/version.h"
#include "cli/eval_results.h"

static json_t *interval_json(const struct interval *i)
{
    return json_pack("{sf sf sf}", "value", i->value, "low", i->low, "high", i->high);
}

static const char *mode_name(const struct eval_condition *c)
{
    return c->temperature == 0 ? "greedy" : c->mode == SAMPLING_REJECTION ? "rejection" : "coupled";
}

/* The members by which a config is told from others. */
static json_t *config_json(const struct eval *e, int config)
{
    const struct eval_config *c = &e->configs[config];
    const struct eval_condition *condition = &e->conditions[c->condition];
    return json_pack("{ss si sf ss}", "drafter", eval_config_name(e, config), "draft_tokens", c->draft_tokens, "temperature",
                     (double)condition->temperature, "mode", mode_name(condition));
}

/* ---- figures ---- */

static json_t *positions_json(const struct acceptance *a, int drafts)
{
    json_t *list = json_array();
    for (int i = 0; i < drafts; i++)
        json_array_append_new(list, json_integer((json_int_t)a->accepted_per_position[i]));
    return list;
}

static json_t *versus_json(const struct eval_versus *v)
{
    if (!v->is_there)
        return json_null();
    return json_pack("{so so so}", "end_to_end", interval_json(&v->total), "decode", interval_json(&v->decode),
                     "mean_acceptance_length", interval_json(&v->length));
}

static json_t *figures_json(const struct eval_results *r, int group, int config)
{
    const struct eval_figures *f = eval_figures_at(r, group, config);
    const struct acceptance *a = &f->acceptance;
    const struct eval_record *m = &f->mean;
    json_t *all = config_json(r->eval, config);
    json_t *more = json_pack(
        "{ss si sI sf sI sI sI so sf sf so so so s{sf sf sf sf sf sf} s{so so}}", "task", r->groups[group], "prompts", f->prompts,
        "output_tokens", (json_int_t)f->tokens, "mean_output_tokens", f->tokens_mean, "steps", (json_int_t)a->steps, "drafted",
        (json_int_t)a->drafted, "accepted", (json_int_t)a->accepted, "mean_acceptance_length", interval_json(&f->length),
        "accepted_per_step", a->steps ? (double)a->accepted / (double)a->steps : 0.0, "acceptance_rate", acceptance_rate(a),
        "accepted_per_position", positions_json(a, r->eval->configs[config].draft_tokens), "tokens_per_s_end_to_end",
        interval_json(&f->total), "tokens_per_s_decode", interval_json(&f->decode), "mean_ms", "queue", m->queue, "image", m->image,
        "prefill", m->prefill, "first_token", m->first, "decode", m->decode, "end_to_end", 1e3 * m->seconds, "speed_up", "over_off",
        versus_json(&f->off), "over_text_only", versus_json(&f->text));
    json_object_update(all, more);
    json_decref(more);
    if (group == EVAL_ALL)
        json_object_set_new(all, "tokens_per_s_together", json_real(eval_together(r->eval, config)));
    return all;
}

static json_t *all_figures_json(const struct eval_results *r)
{
    json_t *list = json_array();
    for (int g = 0; g < r->n_groups; g++)
        for (int c = 0; c < r->eval->n_configs; c++)
            json_array_append_new(list, figures_json(r, g, c));
    return list;
}

static json_t *tvd_json_one(const struct eval_results *r, int g, int d, int c)
{
    const struct tvd_figures *f = tvd_figures_at(r, g, d, c);
    const struct eval *e = r->eval;
    float temperature = e->conditions[r->tvd->conditions[c]].temperature;
    json_t *quantiles = json_object(), *bins = json_array();
    for (int i = 0; i < TVD_QUANTILES; i++) {
        char name[8];
        snprintf(name, sizeof name, "p%.0f", tvd_quantiles[i]);
        json_object_set_new(quantiles, name, json_real(f->quantiles[i]));
    }
    for (int i = 0; i < TVD_BINS; i++)
        json_array_append_new(bins, json_integer(f->bins[i]));
    return json_pack("{ss ss sf si si so sf sf so so}", "drafter", e->options->drafters[r->tvd->drafters[d]].name, "task",
                     r->groups[g], "answers_temperature", (double)temperature, "answers", f->answers, "positions", f->positions,
                     "mean", interval_json(&f->mean), "expected_acceptance", 1 - f->mean.value, "same_best_token", f->same_best,
                     "quantiles", quantiles, "histogram", bins);
}

static json_t *tvd_json(const struct eval_results *r)
{
    if (!r->tvd)
        return json_null();
    json_t *list = json_array();
    for (int g = 0; g < r->n_groups; g++)
        for (int d = 0; d < r->tvd->n_drafters; d++)
            for (int c = 0; c < r->tvd->n_conditions; c++)
                json_array_append_new(list, tvd_json_one(r, g, d, c));
    return list;
}

/* ---- what went wrong ---- */

static json_t *differences_json(const struct eval_results *r)
{
    const struct eval *e = r->eval;
    json_t *list = json_array();
    for (int i = 0; i < r->n_differences && i < EVAL_DIFFERENCES; i++) {
        const struct eval_difference *d = &r->differences[i];
        json_array_append_new(list, json_pack("{si so so si}", "line", e->questions.list[d->question].line, "answer",
                                              config_json(e, d->config), "beside", config_json(e, d->other), "first_token", d->at));
    }
    return json_pack("{si si so}", "compared", r->compared, "different", r->n_differences, "list", list);
}

static json_t *failures_json(const struct eval *e)
{
    json_t *list = json_array();
    for (int c = 0; c < e->n_configs; c++)
        for (int q = 0; q < e->questions.n; q++) {
            const struct eval_answer *a = eval_answer_at(e, c, q);
            if (!a->tries || a->text)
                continue;
            json_t *one = config_json(e, c);
            json_object_set_new(one, "line", json_integer(e->questions.list[q].line));
            json_object_set_new(one, "status", json_string(rpc_status_name(a->status)));
            json_object_set_new(one, "words", json_string(a->words));
            json_object_set_new(one, "tries", json_integer(a->tries));
            json_array_append_new(list, one);
        }
    return list;
}

/* ---- every answer ---- */

static json_t *answer_json(const struct eval *e, int c, int q)
{
    const struct eval_answer *a = eval_answer_at(e, c, q);
    const struct generate_timing *t = &a->timing;
    json_t *one = config_json(e, c), *ids = json_array();
    struct acceptance acceptance;
    memcpy(acceptance.accepted_per_position, a->speculation.accepted_per_position, sizeof acceptance.accepted_per_position);
    for (int i = 0; i < a->usage.completion_tokens; i++)
        json_array_append_new(ids, json_integer(a->ids[i]));
    json_t *more = json_pack(
        "{si ss ss so sI si si si sI sI sI so s{sf sf sf sf sf sf sf}}", "tries", a->tries, "text", a->text, "finish_reason",
        a->reason, "token_ids", ids, "seed", (json_int_t)a->seed, "prompt_tokens", a->usage.prompt_tokens, "image_tokens",
        a->usage.image_tokens, "output_tokens", a->usage.completion_tokens, "steps", (json_int_t)a->speculation.steps, "drafted",
        (json_int_t)a->speculation.drafted, "accepted", (json_int_t)a->speculation.accepted, "accepted_per_position",
        positions_json(&acceptance, e->configs[c].draft_tokens), "ms", "queue", t->queue, "image", t->image, "prefill", t->prefill,
        "first_token", t->first_token, "decode", t->decode, "total", t->total, "end_to_end", 1e3 * a->seconds);
    json_object_update(one, more);
    json_decref(more);
    if (a->words[0])
        json_object_set_new(one, "without_drafts", json_string(a->words));
    return one;
}

/* Distances along the answers to one question: position by position. */
static json_t *distances_json(const struct eval_results *r, int question)
{
    const struct eval *e = r->eval;
    json_t *list = json_array();
    for (int d = 0; r->tvd && d < r->tvd->n_drafters; d++)
        for (int c = 0; c < r->tvd->n_conditions; c++) {
            const struct tvd_answer *a = tvd_answer_at(r->tvd, d, c, question);
            json_t *distances = json_array();
            for (int t = 0; a->rows && t < a->n; t++)
                json_array_append_new(distances, json_real(a->rows[t].total_variation));
            json_array_append_new(list, json_pack("{ss sf so}", "drafter", e->options->drafters[r->tvd->drafters[d]].name,
                                                  "answers_temperature", (double)e->conditions[r->tvd->conditions[c]].temperature,
                                                  "distances", distances));
        }
    return list;
}

static json_t *earlier_json(const struct question *question)
{
    json_t *list = json_array();
    for (int i = 0; i < question->n_earlier; i++)
        json_array_append_new(list, json_string(question->earlier[i]));
    return list;
}

static json_t *prompts_json(const struct eval_results *r)
{
    const struct eval *e = r->eval;
    json_t *list = json_array();
    for (int q = 0; q < e->questions.n; q++) {
        const struct question *question = &e->questions.list[q];
        json_t *answers = json_array();
        for (int c = 0; c < e->n_configs; c++)
            if (eval_answer_at(e, c, q)->text)
                json_array_append_new(answers, answer_json(e, c, q));
        json_array_append_new(list,
                              json_pack("{si ss? so ss ss? ss? so so}", "line", question->line, "image", question->image, "earlier",
                                        earlier_json(question), "prompt", question->prompt, "reference", question->reference,
                                        "task", question->task, "answers", answers, "tvd", distances_json(r, q)));
    }
    return list;
}

/* ---- where it comes from ---- */

static json_t *services_json(const struct eval_results *r)
{
    const struct eval *e = r->eval;
    json_t *list = json_array();
    for (int i = 0; i < e->n_services; i++) {
        const struct eval_service *s = &e->services[i];
        json_t *devices = json_array();
        for (int g = 0; g < s->server.groups && g < (int)(sizeof s->server.group_devices / sizeof *s->server.group_devices); g++)
            json_array_append_new(devices, json_string(s->server.group_devices[g]));
        json_array_append_new(list, json_pack("{ss ss ss ss ss? si so ss ss}", "name", s->name, "model", s->info.model,
                                              "fingerprint", s->info.fingerprint, "drafter", s->info.drafter, "drafter_folder",
                                              s->drafter, "ranks", s->server.ranks_per_group, "devices", devices, "drafter_kind",
                                              s->info.drafter_kind, "version", s->server.version));
    }
    return list;
}

static json_t *origin_json(const struct eval_results *r)
{
    const struct eval_options *o = r->eval->options;
    const struct eval_origin *origin = r->origin;
    json_t *drafters = json_object();
    for (int i = 0; i < o->n_drafters; i++)
        json_object_set_new(drafters, o->drafters[i].name, json_string(origin->drafter_hash[i]));
    return json_pack("{ss ss ss ss si s{ss ss} ss so so}", "command", o->command, "version", MASSV_VERSION, "date", origin->date,
                     "cpu", origin->cpu, "cores", origin->cores, "data", "file", o->data, "xxh128", origin->data_hash,
                     "target_weights_xxh128", origin->target_hash, "drafter_weights_xxh128", drafters, "services",
                     services_json(r));
}

static json_t *settings_json(const struct eval_options *o)
{
    return json_pack("{si si sI si sf}", "max_tokens", o->max_tokens, "concurrency", o->concurrency, "seed", (json_int_t)o->seed,
                     "resamples", o->bootstrap.resamples, "confidence", o->bootstrap.confidence);
}

static json_t *summary_json(const struct eval_results *r)
{
    const struct eval *e = r->eval;
    return json_pack("{so so si si si si sb ss? sf so so so so}", "origin", origin_json(r), "settings", settings_json(e->options),
                     "prompts", e->questions.n, "requests", e->asked, "whole_answers", e->whole, "without_drafts", r->undrafted,
                     "interrupted", e->interrupted, "stopped", e->stopped[0] ? e->stopped : NULL, "seconds", e->seconds, "texts",
                     differences_json(r), "failures", failures_json(e), "figures", all_figures_json(r), "tvd", tvd_json(r));
}

int eval_json_write(const struct eval_results *results, const char *path, struct error *err)
{
    json_t *all = summary_json(results);
    json_object_set_new(all, "per_prompt", prompts_json(results));
    errno = 0;
    int failed = json_dump_file(all, path, JSON_INDENT(1) | JSON_REAL_PRECISION(8));
    json_decref(all);
    return failed ? fail(err, "%s: cannot be written: %s", path, strerror(errno)) : 0;
}

int eval_json_print(const struct eval_results *results, struct error *err)
{
    json_t *all = summary_json(results);
    json_object_set_new(all, "out", json_string(results->eval->options->out));
    json_dumpf(all, stdout, JSON_COMPACT | JSON_REAL_PRECISION(8));
    putchar('\n');
    json_decref(all);
    return standard_flush(err);
}
