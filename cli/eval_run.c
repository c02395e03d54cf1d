/* eval_run.c - asking, in the order of the plan: calls of one block at a time, answers as they come, with an eye on signals, the
 * private services and the bar */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/bar.h"
#include "base/clock.h"
#include "base/memory.h"
#include "base/random.h"
#include "base/signals.h"
#include "cli/eval.h"
#include "proto/answer.h"
#include "proto/ask.h"
#include "proto/flight.h"

enum { LOST_IN_ROW = 2, COUNTER_SEED = 0xe7a1 }; /* answers lost after all tries, before nobody is taken to be there */
static const double LOOK_SECONDS = 0.05;         /* how soon a signal is seen */
static const double PAUSE_SECONDS = 0.5;         /* before the second try; doubles */

struct place { /* of a request that is under way */
    enum { PLACE_FREE, PLACE_FLIES, PLACE_WAITS } state;
    const struct eval_job *job;
    double begun;    /* when it was sent */
    double finished; /* when its last message came */
    double again;    /* when it is sent again, where it waits */
    struct answer answer;
};

struct run {
    struct eval *e;
    const struct eval_job *jobs;
    int n, taken, ended;
    double began; /* the block that is under way */
    int lost;     /* in a row */
    int flies;
    struct flight *flights[EVAL_SERVICES];
    struct place *places; /* (concurrency) */
    int last;             /* config * questions + question of the last answer; -1 = none */
    struct bar bar;
};

static struct eval_answer *place_answer(const struct run *run, const struct place *place)
{
    return eval_answer_at(run->e, place->job->config, place->job->question);
}

static int place_service(const struct run *run, const struct place *place)
{
    return run->e->configs[place->job->config].service;
}

/* ---- one request ---- */

/* Plain sampling: what is measured is the drafter, not the penalties of some generation_config.json. The same seed in all configs.
 */
static struct generate_request request_like(const struct eval *e, const struct eval_job *job)
{
    const struct eval_config *config = &e->configs[job->config];
    const struct eval_condition *condition = &e->conditions[config->condition];
    struct generate_request like = {.max_tokens = e->options->max_tokens, .draft_tokens = config->draft_tokens};
    uint32_t bits[4];
    random_bits(bits, e->options->seed, COUNTER_SEED, (uint64_t)job->question);
    like.sampling = (struct sampling){.temperature = condition->temperature,
                                      .top_p = 1,
                                      .repetition_penalty = 1,
                                      .seed = ((uint64_t)bits[0] << 20) ^ bits[1], /* 52 bits: JSON's numbers hold them */
                                      .mode = condition->mode};
    like.given = GIVEN_TEMPERATURE | GIVEN_TOP_P | GIVEN_TOP_K | GIVEN_MIN_P | GIVEN_REPETITION_PENALTY | GIVEN_SEED | GIVEN_MODE;
    return like;
}

/* The answer is there, or will not be. */
static void place_end(struct run *run, struct place *place)
{
    struct eval *e = run->e;
    const struct eval_answer *answer = place_answer(run, place);
    run->ended++;
    if (run->ended == run->n || place->job->block != run->jobs[run->ended].block)
        e->busy[place->job->config] += clock_seconds() - run->began;
    run->last = place->job->config * e->questions.n + place->job->question;
    run->lost = answer->status == RPC_UNAVAILABLE ? run->lost + 1 : 0;
    e->asked++;
    e->whole += answer->status == RPC_OK;
    if (run->lost >= LOST_IN_ROW)
        snprintf(e->stopped, sizeof e->stopped, "%s: %d requests in a row found nobody, each tried %d times: %.250s",
                 e->services[place_service(run, place)].address, LOST_IN_ROW, EVAL_TRIES, answer->words);
    place->state = PLACE_FREE;
}

/* A service that cannot be reached may be starting a group again: it gets a few more chances. */
static void place_failed(struct run *run, struct place *place, enum rpc_status status, struct error *err)
{
    struct eval_answer *answer = place_answer(run, place);
    const char *picture = run->e->questions.list[place->job->question].path;
    ask_name_picture(&picture, picture != NULL, err);
    answer->status = status;
    snprintf(answer->words, sizeof answer->words, "%s", err->text);
    answer_free(&place->answer);
    place->answer = (struct answer){0};
    if (status != RPC_UNAVAILABLE || answer->tries == EVAL_TRIES) {
        place_end(run, place);
        return;
    }
    place->state = PLACE_WAITS;
    place->again = clock_seconds() + PAUSE_SECONDS * (1 << (answer->tries - 1));
}

static void place_send(struct run *run, struct place *place)
{
    const struct eval *e = run->e;
    const struct eval_job *job = place->job;
    struct eval_answer *answer = place_answer(run, place);
    const struct generate_request like = request_like(e, job);
    struct rpc_bytes request = {0};
    struct error err;
    answer->tries++;
    answer->seed = like.sampling.temperature > 0 ? like.sampling.seed : 0;
    if (question_pack_fresh(&e->questions.list[job->question], &like, run->e->mark++, &request, &err)) {
        place_failed(run, place, RPC_INVALID_ARGUMENT, &err);
        return;
    }
    place->state = PLACE_FLIES;
    place->begun = clock_seconds();
    if (flight_send(run->flights[place_service(run, place)], GENERATE_PATH, &request, e->options->timeout, place, &err))
        place_failed(run, place, RPC_RESOURCE_EXHAUSTED, &err);
    else
        run->flies++;
    free(request.data);
}

static void answer_take(struct eval_answer *to, struct place *place)
{
    struct answer *from = &place->answer;
    to->status = RPC_OK;
    to->seconds = place->finished - place->begun;
    to->text = from->text ? from->text : mem_string("");
    to->reason = from->reason;
    to->ids = from->ids;
    to->usage = from->usage;
    to->speculation = from->speculation;
    to->timing = from->timing;
    snprintf(to->words, sizeof to->words, "%s", from->inactive ? from->inactive : "");
    from->text = from->reason = NULL;
    from->ids = NULL;
    answer_free(from);
    place->answer = (struct answer){0};
}

static void message_take(struct run *run, struct place *place, struct flight_event *event)
{
    struct generate_response response;
    struct error err;
    if (generate_response_unpack(&response, event->message.data, event->message.size, &err)) {
        flight_drop(run->flights[place_service(run, place)], event->call);
        run->flies--;
        place_failed(run, place, RPC_DATA_LOSS, &err);
        return;
    }
    answer_add(&place->answer, &response);
    generate_response_free(&response);
    place->finished = clock_seconds();
}

static void event_take(struct run *run, struct flight_event *event)
{
    struct place *place = event->user;
    if (!event->over) {
        message_take(run, place, event);
        free(event->message.data);
        return;
    }
    run->flies--;
    if (event->status == RPC_OK && place->answer.reason) {
        answer_take(place_answer(run, place), place);
        place_end(run, place);
    } else {
        if (event->status == RPC_OK)
            fail(&event->words, "the stream ended before the answer did");
        place_failed(run, place, event->status == RPC_OK ? RPC_DATA_LOSS : event->status, &event->words);
    }
}

/* ---- all of them ---- */

/* The next job, once those of the blocks before it have ended. */
static const struct eval_job *job_take(struct run *run)
{
    if (run->taken == run->n)
        return NULL;
    const struct eval_job *job = &run->jobs[run->taken];
    bool begins = !run->taken || job->block != job[-1].block;
    if (begins && run->taken > run->ended)
        return NULL;
    if (begins)
        run->began = clock_seconds();
    run->taken++;
    return job;
}

static void places_fill(struct run *run)
{
    for (int i = 0; i < run->e->options->concurrency; i++) {
        struct place *place = &run->places[i];
        if (place->state == PLACE_FREE && (place->job = job_take(run)))
            place_send(run, place);
        else if (place->state == PLACE_WAITS && clock_seconds() >= place->again)
            place_send(run, place);
    }
}

/* Those that are under way are of one block, and so of one service. */
static void events_take(struct run *run)
{
    struct flight_event event;
    if (!run->flies) {
        clock_sleep(LOOK_SECONDS); /* all wait to be sent again */
        return;
    }
    int service = run->e->configs[run->jobs[run->taken - 1].config].service;
    if (flight_next(run->flights[service], LOOK_SECONDS, &event))
        event_take(run, &event);
}

static void run_show(struct run *run, int done_before, int total)
{
    const struct eval *e = run->e;
    char words[200] = "";
    if (run->last >= 0) {
        int config = run->last / e->questions.n;
        const struct eval_config *c = &e->configs[config];
        const struct eval_answer *a = &e->answers[run->last];
        char condition[64];
        eval_condition_stem(condition, sizeof condition, &e->conditions[c->condition]);
        snprintf(words, sizeof words, "%s K=%d %s: %.2f a step", eval_config_name(e, config), c->draft_tokens, condition,
                 a->speculation.steps ? 1 + (double)a->speculation.accepted / (double)a->speculation.steps : 1);
    }
    bar_show(&run->bar, done_before + run->ended, total, words);
}

static void run_loop(struct run *run, int done_before, int total)
{
    struct eval *e = run->e;
    struct error err;
    double watched = clock_seconds();
    while (run->ended < run->n && !e->stopped[0] && !e->interrupted) {
        places_fill(run);
        if (run->ended < run->n)
            events_take(run);
        run_show(run, done_before, total);
        e->interrupted = signals_pending() != 0;
        if (clock_seconds() - watched < LOOK_SECONDS)
            continue;
        watched = clock_seconds();
        if (!e->stopped[0] && eval_services_watch(e, &err))
            snprintf(e->stopped, sizeof e->stopped, "%.390s", err.text);
    }
}

static int flights_open(struct run *run, struct error *err)
{
    static const struct rpc_security_files none;
    const struct eval *e = run->e;
    for (int i = 0; i < e->n_services; i++)
        if (e->services[i].address &&
            flight_open(&run->flights[i], e->services[i].address, e->options->target ? &none : &e->options->security, err))
            return -1;
    return 0;
}

/* What was cut off by us is as if it had never been asked. */
static void run_close(struct run *run)
{
    for (int i = 0; i < EVAL_SERVICES; i++)
        flight_close(run->flights[i]);
    for (int i = 0; i < run->e->options->concurrency; i++) {
        if (run->places[i].state != PLACE_FREE)
            *place_answer(run, &run->places[i]) = (struct eval_answer){0};
        answer_free(&run->places[i].answer);
    }
    free(run->places);
}

int eval_run(struct eval *e, const struct eval_job *jobs, int n, int done_before, int total)
{
    struct run run = {.e = e, .jobs = jobs, .n = n, .last = -1};
    struct error err;
    double begun = clock_seconds();
    run.places = mem_new((size_t)e->options->concurrency, sizeof *run.places);
    bar_begin(&run.bar);
    if (flights_open(&run, &err))
        snprintf(e->stopped, sizeof e->stopped, "%.390s", err.text);
    run_loop(&run, done_before, total);
    bar_end(&run.bar);
    run_close(&run);
    e->seconds += clock_seconds() - begun;
    return e->interrupted ? 1 : e->stopped[0] ? -1 : 0;
}

/* ---- before ---- */

static bool answers_nobody(enum rpc_status status)
{
    return status == RPC_UNAVAILABLE || status == RPC_UNAUTHENTICATED || status == RPC_PERMISSION_DENIED ||
           status == RPC_UNIMPLEMENTED;
}

void eval_answer_clear(struct eval_answer *answer)
{
    free(answer->text);
    free(answer->reason);
    free(answer->ids);
    *answer = (struct eval_answer){0};
}

/* The first question to each of its configs, whose answers are then forgotten. */
int eval_warm_up(struct eval *e, int service, struct error *err)
{
    struct eval_job *jobs = mem_new((size_t)e->n_configs + 1, sizeof *jobs);
    const struct eval before = *e;
    int n = 0;
    for (int c = 0; c < e->n_configs; c++)
        if (e->configs[c].service == service)
            jobs[n++] = (struct eval_job){.config = c, .block = c};
    int result = eval_run(e, jobs, n, 0, n);
    if (result < 0)
        fail(err, "%s", e->stopped);
    for (int i = 0; i < n; i++) {
        struct eval_answer *answer = eval_answer_at(e, jobs[i].config, 0);
        if (!result && answers_nobody(answer->status)) {
            fail(err, "%s", answer->words);
            result = ask_failed(e->services[service].address, answer->status, err);
        }
        eval_answer_clear(answer);
        e->busy[jobs[i].config] = 0;
    }
    e->asked = before.asked;
    e->whole = before.whole;
    e->seconds = before.seconds;
    free(jobs);
    return result;
}
