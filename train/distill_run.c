/* distill_run.c - many questions at once, and each answer into the file as it ends */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/bar.h"
#include "base/clock.h"
#include "base/memory.h"
#include "base/signals.h"
#include "proto/answer.h"
#include "proto/ask.h"
#include "proto/flight.h"
#include "proto/rpc_flags.h"
#include "train/distill.h"
#include "train/distill_file.h"

static const double LOOK_SECONDS = 0.05, SYNC_SECONDS = 5;
static const double PAUSE_FIRST = 0.25, PAUSE_LONGEST = 5; /* s, before a question is asked again */

struct job { /* one of the in_flight places */
    enum { JOB_FREE, JOB_FLIES, JOB_WAITS } state;
    int task; /* question * samples + sample */
    int tries;
    double again; /* when it is sent again, where it waits */
    struct answer answer;
};

struct distill {
    const struct distill_options *options;
    struct distill_report *report;
    struct model_info model;
    struct questions questions;
    char **images; /* (questions) as the output names them */
    bool *done;    /* (tasks) */
    int tasks, next, over;
    double well;   /* when the service last said something */
    double synced; /* when the file was */
    struct distill_file *file;
    struct flight *flight;
    struct job *jobs; /* (in_flight) */
    struct bar bar;
};

/* ---- before ---- */

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

static int images_name(struct distill *d, struct error *err)
{
    d->images = mem_new((size_t)d->questions.n, sizeof *d->images);
    for (int i = 0; i < d->questions.n; i++)
        if (d->questions.list[i].image &&
            !(d->images[i] = record_path_from(d->options->out, d->options->data, d->questions.list[i].image, err)))
            return -1;
    return 0;
}

/* The question on a line of the data: lines ascend. */
static int question_on(const struct questions *questions, int line)
{
    int low = 0, high = questions->n;
    while (low < high) {
        int middle = low + (high - low) / 2;
        if (questions->list[middle].line < line)
            low = middle + 1;
        else
            high = middle;
    }
    return low < questions->n && questions->list[low].line == line ? low : -1;
}

/* Puts words behind the text that a callee left. */
static int fail_after(struct error *err, const char *words)
{
    size_t n = strlen(err->text);
    snprintf(err->text + n, sizeof err->text - n, "%s", words);
    return -1;
}

static int line_resume(void *user, const struct record *r, struct error *err)
{
    struct distill *d = user;
    const struct distill_options *o = d->options;
    int i = question_on(&d->questions, r->line), result;
    if (i < 0 && r->answer)
        result = fail(err, "it answers line %d, which the data does not have", r->line);
    else
        result = distill_matches(r, &d->questions.list[i < 0 ? 0 : i], d->images[i < 0 ? 0 : i], &o->settings, d->model.fingerprint,
                                 err);
    bool *done = result ? NULL : &d->done[i * o->settings.samples + r->sample];
    if (done && *done)
        result = fail(err, "sample %d of line %d is there twice", r->sample, r->line);
    if (result)
        return fail_after(err, "; give the data and the options that made it, or another --out");
    *done = true;
    d->report->before++;
    return 0;
}

static int distill_begin(struct distill *d, struct error *err)
{
    const struct distill_options *o = d->options;
    if (model_ask(d, err) || questions_read(&d->questions, o->data, o->limit, err) || images_name(d, err))
        return -1;
    d->tasks = d->report->wanted = d->questions.n * o->settings.samples;
    d->done = mem_new((size_t)d->tasks, sizeof *d->done);
    d->jobs = mem_new((size_t)o->in_flight, sizeof *d->jobs);
    if (distill_file_open(&d->file, o->out, &d->report->cut, err) || distill_file_each(d->file, line_resume, d, err))
        return -1;
    d->over = d->report->before;
    d->well = d->synced = clock_seconds();
    return flight_open(&d->flight, o->address, &o->security, err);
}

static void distill_end(struct distill *d)
{
    flight_close(d->flight);
    distill_file_close(d->file);
    for (int i = 0; d->jobs && i < d->options->in_flight; i++)
        answer_free(&d->jobs[i].answer);
    for (int i = 0; d->images && i < d->questions.n; i++)
        free(d->images[i]);
    free(d->images);
    free(d->jobs);
    free(d->done);
    questions_free(&d->questions);
}

/* ---- one answer ---- */

static const struct question *job_question(const struct distill *d, const struct job *job)
{
    return &d->questions.list[job->task / d->options->settings.samples];
}

static struct distill_draw job_draw(const struct distill *d, const struct job *job)
{
    return distill_draw(&d->options->settings, job_question(d, job)->line, job->task % d->options->settings.samples);
}

static void job_end(struct distill *d, struct job *job)
{
    answer_free(&job->answer);
    *job = (struct job){.state = JOB_FREE};
    d->over++;
}

/* A line that is refused: the end of the run, or one that is counted. */
static int job_refused(struct distill *d, struct job *job, enum rpc_status status, struct error *err)
{
    fail_in(err, "%s: line %d: %s", d->options->data, job_question(d, job)->line, rpc_status_name(status));
    if (!d->options->skip_errors)
        return -1;
    if (!d->report->skipped[status]++)
        d->report->first[status] = *err;
    job_end(d, job);
    return 0;
}

/* Where the service is away, or has no room, the question is asked again, until it has been so for too long. */
static int job_failed(struct distill *d, struct job *job, enum rpc_status status, struct error *err)
{
    double now = clock_seconds(), pause = PAUSE_FIRST;
    /* Nobody here cancels a call that is to be answered: a service that goes down does. */
    bool passes = status == RPC_UNAVAILABLE || status == RPC_RESOURCE_EXHAUSTED || status == RPC_CANCELLED;
    if (!passes)
        return job_refused(d, job, status, err);
    if (now - d->well > d->options->retry_seconds) {
        if (status == RPC_RESOURCE_EXHAUSTED)
            return job_refused(d, job, status, err);
        ask_failed(d->options->address, status, err);
        return fail_in(err, "nothing for %d s (--retry-seconds)", d->options->retry_seconds);
    }
    for (int i = 0; i < job->tries && pause < PAUSE_LONGEST; i++)
        pause *= 2;
    answer_free(&job->answer);
    *job = (struct job){.state = JOB_WAITS,
                        .task = job->task,
                        .tries = job->tries + 1,
                        .again = now + (pause < PAUSE_LONGEST ? pause : PAUSE_LONGEST)};
    d->report->retries++;
    return 0;
}

/* The target's own distribution but for temperature and top-p, whatever the model's defaults add. */
static struct generate_request request_like(const struct distill *d, struct distill_draw draw)
{
    const struct distill_settings *s = &d->options->settings;
    return (struct generate_request){.sampling = {.temperature = (float)draw.temperature,
                                                  .top_p = (float)s->top_p,
                                                  .repetition_penalty = 1,
                                                  .seed = draw.seed,
                                                  .mode = SAMPLING_COUPLED,
                                                  .logprobs = s->logprobs >= 0,
                                                  .top_logprobs = s->logprobs > 0 ? s->logprobs : 0},
                                     .given = GIVEN_TEMPERATURE | GIVEN_TOP_P | GIVEN_TOP_K | GIVEN_MIN_P |
                                              GIVEN_REPETITION_PENALTY | GIVEN_PRESENCE_PENALTY | GIVEN_FREQUENCY_PENALTY |
                                              GIVEN_SEED | GIVEN_MODE,
                                     .max_tokens = s->max_tokens,
                                     .draft_tokens = d->options->draft_tokens};
}

static int job_send(struct distill *d, struct job *job, struct error *err)
{
    struct rpc_bytes bytes = {0};
    const struct generate_request like = request_like(d, job_draw(d, job));
    enum rpc_status status = RPC_INVALID_ARGUMENT;
    int result = question_pack(job_question(d, job), &like, &bytes, err);
    if (!result && (result = flight_send(d->flight, GENERATE_PATH, &bytes, d->options->timeout, job, err)))
        status = RPC_OUT_OF_RANGE; /* larger than a message may be */
    free(bytes.data);
    job->state = JOB_FLIES;
    return result ? job_refused(d, job, status, err) : 0;
}

static int answer_store(struct distill *d, struct job *job, struct error *err)
{
    const struct distill_settings *s = &d->options->settings;
    const struct question *q = job_question(d, job);
    struct distill_draw draw = job_draw(d, job);
    struct answer *a = &job->answer;
    char none[] = "";
    const struct record record = {.image = d->images[job->task / s->samples],
                                  .prompt = q->prompt,
                                  .reference = q->reference,
                                  .task = q->task,
                                  .answer = a->text ? a->text : none,
                                  .ids = a->ids,
                                  .logprobs = a->logprobs,
                                  .n = a->n,
                                  .finish = a->reason,
                                  .target = d->model.model,
                                  .fingerprint = d->model.fingerprint,
                                  .line = q->line,
                                  .sample = job->task % s->samples,
                                  .max_tokens = s->max_tokens,
                                  .temperature = draw.temperature,
                                  .top_p = s->top_p,
                                  .seed = draw.seed};
    if (distill_file_add(d->file, &record, err))
        return -1;
    struct distill_report *report = d->report;
    report->made++;
    report->tokens += a->n;
    report->steps += a->speculation.steps;
    report->drafted += a->speculation.drafted;
    report->accepted += a->speculation.accepted;
    job_end(d, job);
    return 0;
}

static int event_take(struct distill *d, struct flight_event *event, struct error *err)
{
    struct job *job = event->user;
    struct generate_response response;
    if (!event->over || event->status == RPC_OK)
        d->well = clock_seconds();
    if (event->over && event->status == RPC_OK && job->answer.reason && job->answer.n)
        return answer_store(d, job, err);
    if (event->over) {
        *err = event->words;
        if (event->status == RPC_OK)
            fail(err, "the stream ended before the answer did");
        return job_failed(d, job, event->status == RPC_OK ? RPC_DATA_LOSS : event->status, err);
    }
    int broken = generate_response_unpack(&response, event->message.data, event->message.size, err);
    free(event->message.data);
    if (broken) {
        flight_drop(d->flight, event->call);
        return job_failed(d, job, RPC_DATA_LOSS, err);
    }
    answer_add(&job->answer, &response);
    generate_response_free(&response);
    return 0;
}

/* ---- the loop ---- */

static int jobs_send(struct distill *d, struct error *err)
{
    double now = clock_seconds();
    for (int i = 0; i < d->options->in_flight; i++) {
        struct job *job = &d->jobs[i];
        while (job->state == JOB_FREE && d->next < d->tasks) {
            job->task = d->next++;
            if (!d->done[job->task] && job_send(d, job, err))
                return -1;
        }
        if (job->state == JOB_WAITS && now >= job->again && job_send(d, job, err))
            return -1;
    }
    return 0;
}

static int progress_note(struct distill *d, struct error *err)
{
    const struct distill_report *r = d->report;
    char words[96];
    double now = clock_seconds();
    snprintf(words, sizeof words, "%.0f tokens/s, %.2f a step", (double)r->tokens / (now - d->bar.begun + 1e-9),
             r->steps ? 1 + (double)r->accepted / (double)r->steps : 1.0);
    bar_show(&d->bar, d->over - r->before, d->tasks - r->before, words);
    if (now - d->synced < SYNC_SECONDS)
        return 0;
    d->synced = now;
    return distill_file_sync(d->file, err);
}

static int distill_loop(struct distill *d, struct error *err)
{
    struct flight_event event;
    while (d->over < d->tasks) {
        if (jobs_send(d, err) || progress_note(d, err))
            return -1;
        if (signals_pending())
            return 1;
        for (bool some = flight_next(d->flight, LOOK_SECONDS, &event); some; some = flight_next(d->flight, 0, &event))
            if (event_take(d, &event, err) || jobs_send(d, err))
                return -1;
    }
    return 0;
}

int distill_run(struct distill_report *report, const struct distill_options *options, struct error *err)
{
    struct distill d = {.options = options, .report = report};
    struct error late;
    *report = (struct distill_report){0};
    int result = distill_begin(&d, err);
    if (!result) {
        report->begun = true;
        bar_begin(&d.bar);
        result = distill_loop(&d, err);
        report->seconds = clock_seconds() - d.bar.begun;
        bar_end(&d.bar);
    }
    if (d.file && distill_file_sync(d.file, &late) && result >= 0) {
        *err = late;
        result = -1;
    }
    distill_end(&d);
    return result;
}
