/* distill_begin.c - what a distillation finds before it asks: the service, the questions, the answers of earlier runs */
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/memory.h"
#include "base/signals.h"
#include "proto/ask.h"
#include "proto/rpc_flags.h"
#include "train/distill_parts.h"

static int model_ask(struct distill *d, struct error *err)
{
    const struct distill_options *o = d->options;
    struct rpc_channel *channel;
    struct rpc_bytes reply = {0};
    enum rpc_status status = RPC_OK;
    if (rpc_channel_open_with(&channel, o->address, &o->security, err))
        return -1;
    int result = rpc_unary(channel, MODEL_INFO_PATH, "", 0, 10, &reply, &status, err);
    if (!result)
        result = model_info_unpack(&d->model, reply.data, reply.size, err);
    else
        ask_failed(o->address, status, err);
    free(reply.data);
    rpc_channel_close(channel);
    return result;
}

/* How the output names the pictures of the data. */
static int pictures_name(struct distill *d, struct error *err)
{
    const struct distill_options *o = d->options;
    char *beside = o->pictures ? mem_format("%s/", o->pictures) : mem_string(o->data);
    d->pictures = record_path_from(o->out, beside, "", err);
    free(beside);
    return d->pictures ? 0 : -1;
}

char *distill_image(const struct distill *d, const struct question *question)
{
    return question->image ? mem_format("%s%s", *question->image == '/' ? "" : d->pictures, question->image) : NULL;
}

/* The question of that number: they ascend. -1: there is none. */
static int question_of(const struct distill *d, int number)
{
    int low = 0, high = d->questions;
    while (low < high) {
        int middle = low + (high - low) / 2;
        if (records_number(d->records, middle) < number)
            low = middle + 1;
        else
            high = middle;
    }
    return low < d->questions && records_number(d->records, low) == number ? low : -1;
}

/* Can question i be asked? Where it cannot, that is an error, or it is counted and left out. */
static int question_check(struct distill *d, int i, struct error *err)
{
    struct record record;
    int result = records_read(d->records, i, &record, err);
    if (result < 0)
        return -1;
    if (!result && question_look(&record.question, err))
        result = 1;
    record_free(&record);
    if (!result)
        return 0;
    records_blame(d->records, i, err);
    if (!d->options->skip_errors)
        return -1;
    if (!d->report->unusable++)
        d->report->first_unusable = *err;
    for (int s = 0; s < d->options->settings.samples; s++)
        d->tasks[i * d->options->settings.samples + s] = TASK_LEFT_OUT;
    return 0;
}

/* 1: a signal came. */
static int questions_open(struct distill *d, struct error *err)
{
    const struct distill_options *o = d->options;
    int result = records_open(&d->records, o->data, o->pictures, err);
    if (result)
        return result;
    d->questions = records_count(d->records);
    if (o->limit && o->limit < d->questions)
        d->questions = o->limit;
    if (d->questions > INT_MAX / o->settings.samples)
        return fail(err, "%s: %d questions of %d samples are too many for one file; --limit takes fewer", o->data, d->questions,
                    o->settings.samples);
    d->n_tasks = d->questions * o->settings.samples;
    d->tasks = mem_new((size_t)d->n_tasks, sizeof *d->tasks);
    for (int i = 0; i < d->questions; i++) {
        if (question_check(d, i, err))
            return -1;
        if (signals_pending())
            return 1;
    }
    if (d->report->unusable == d->questions)
        return fail(err, "%s: no question can be asked; the first: %s", o->data, d->report->first_unusable.text);
    return 0;
}

/* Puts words behind the text that a callee left. */
static int fail_after(struct error *err, const char *words)
{
    size_t n = strlen(err->text);
    snprintf(err->text + n, sizeof err->text - n, "%s", words);
    return -1;
}

/* Is r what this run would have written? */
static int line_compare(const struct distill *d, const struct record *r, int question, struct error *err)
{
    struct record asked = {0};
    if (question < 0 && r->answer)
        return fail(err, "it answers line %d, which the data does not have", r->line);
    if (question >= 0 && records_read(d->records, question, &asked, err))
        return fail_in(err, "line %d cannot be asked now", r->line);
    char *image = distill_image(d, &asked.question);
    int result = distill_matches(r, &asked.question, image, &d->options->settings, d->model.fingerprint, err);
    free(image);
    record_free(&asked);
    return result;
}

static int line_resume(void *user, const struct record *r, struct error *err)
{
    struct distill *d = user;
    int question = question_of(d, r->line), result = line_compare(d, r, question, err);
    enum distill_task *task = result ? NULL : &d->tasks[question * d->options->settings.samples + r->sample];
    if (task && *task != TASK_OPEN)
        result = *task == TASK_DONE ? fail(err, "sample %d of line %d is there twice", r->sample, r->line)
                                    : fail(err, "line %d cannot be asked now: its picture is missing", r->line);
    if (result)
        return fail_after(err, "; give the data and the options that made it, or another --out");
    *task = TASK_DONE;
    d->report->before++;
    return 0;
}

int distill_begin(struct distill *d, struct error *err)
{
    const struct distill_options *o = d->options;
    struct distill_report *r = d->report;
    int result = model_ask(d, err) || pictures_name(d, err) ? -1 : questions_open(d, err);
    if (result)
        return result;
    r->wanted = d->n_tasks - r->unusable * o->settings.samples;
    if (distill_file_open(&d->file, o->out, &r->cut, err) || distill_file_each(d->file, line_resume, d, err))
        return -1;
    d->over = d->n_tasks - r->wanted + r->before;
    d->well = d->synced = clock_seconds();
    return 0;
}
