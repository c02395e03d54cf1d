/* distill_run.c - many questions at once, and each answer into the file as it ends */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/memory.h"
#include "base/signals.h"
#include "proto/answer.h"
#include "proto/ask.h"
#include "proto/flight.h"
#include "proto/rpc_flags.h"
#include "train/distill_parts.h"

static const double LOOK_SECONDS = 0.05, SYNC_SECONDS = 5;
static const double PAUSE_FIRST = 0.25, PAUSE_LONGEST = 5; /* s, before a question is asked again */

struct job { /* one of the in_flight places */
    enum { JOB_FREE, JOB_FLIES, JOB_WAITS } state;
    int task; /* question * samples + sample */
    int tries;
    double again;         /* when it is sent again, where it waits */
    struct record record; /* its question, as the data has it */
    struct answer answer;
};

/* ---- one answer ---- */

static struct distill_draw job_draw(const struct distill *d, const struct job *job)
{
    return distill_draw(&d->options->settings, job->record.question.line, job->task % d->options->settings.samples);
}

static void job_end(struct distill *d, struct job *job)
{
    answer_free(&job->answer);
    record_free(&job->record);
    *job = (struct job){.state = JOB_FREE};
    d->over++;
}

/* A question that is refused: the end of the run, or one that is counted. */
static int job_refused(struct distill *d, struct job *job, enum rpc_status status, struct error *err)
{
    fail_in(err, "%s", rpc_status_name(status));
    records_blame(d->records, job->task / d->options->settings.samples, err);
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
    job->answer = (struct answer){0};
    job->state = JOB_WAITS;
    job->tries++;
    job->again = now + (pause < PAUSE_LONGEST ? pause : PAUSE_LONGEST);
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

/* Its question, for as long as it is under way. */
static int job_read(struct distill *d, struct job *job, struct error *err)
{
    int i = job->task / d->options->settings.samples;
    int result = records_read(d->records, i, &job->record, err);
    return result == 1 ? records_blame(d->records, i, err) : result;
}

static int job_send(struct distill *d, struct job *job, struct error *err)
{
    struct rpc_bytes bytes = {0};
    const struct generate_request like = request_like(d, job_draw(d, job));
    enum rpc_status status = RPC_INVALID_ARGUMENT;
    int result = question_pack(&job->record.question, &like, &bytes, err);
    if (!result && (result = flight_send(d->flight, GENERATE_PATH, &bytes, d->options->timeout, job, err)))
        status = RPC_OUT_OF_RANGE; /* larger than a message may be */
    free(bytes.data);
    job->state = JOB_FLIES;
    return result ? job_refused(d, job, status, err) : 0;
}

static int answer_store(struct distill *d, struct job *job, struct error *err)
{
    const struct distill_settings *s = &d->options->settings;
    struct distill_draw draw = job_draw(d, job);
    struct answer *a = &job->answer;
    char none[] = "";
    struct record record = {.question = job->record.question,
                            .answer = a->text ? a->text : none,
                            .ids = a->ids,
                            .logprobs = a->logprobs,
                            .n = a->n,
                            .finish = a->reason,
                            .target = d->model.model,
                            .fingerprint = d->model.fingerprint,
                            .line = job->record.question.line,
                            .sample = job->task % s->samples,
                            .max_tokens = s->max_tokens,
                            .temperature = draw.temperature,
                            .top_p = s->top_p,
                            .seed = draw.seed};
    record.question.image = distill_image(d, &job->record.question);
    int result = distill_file_add(d->file, &record, err);
    free(record.question.image);
    if (result)
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
        while (job->state == JOB_FREE && d->next < d->n_tasks) {
            job->task = d->next++;
            if (d->tasks[job->task] == TASK_OPEN && (job_read(d, job, err) || job_send(d, job, err)))
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
    bar_show(&d->bar, d->over - (d->n_tasks - r->wanted) - r->before, r->wanted - r->before, words);
    if (now - d->synced < SYNC_SECONDS)
        return 0;
    d->synced = now;
    return distill_file_sync(d->file, err);
}

static int distill_loop(struct distill *d, struct error *err)
{
    struct flight_event event;
    while (d->over < d->n_tasks) {
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

static void distill_end(struct distill *d)
{
    flight_close(d->flight);
    distill_file_close(d->file);
    for (int i = 0; d->jobs && i < d->options->in_flight; i++) {
        answer_free(&d->jobs[i].answer);
        record_free(&d->jobs[i].record);
    }
    free(d->jobs);
    free(d->tasks);
    free(d->pictures);
    records_close(d->records);
}

int distill_run(struct distill_report *report, const struct distill_options *options, struct error *err)
{
    struct distill d = {.options = options, .report = report};
    struct error late;
    *report = (struct distill_report){0};
    int result = distill_begin(&d, err);
    if (!result)
        result = flight_open(&d.flight, options->address, &options->security, err);
    if (!result) {
        d.jobs = mem_new((size_t)options->in_flight, sizeof *d.jobs);
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
