/* engine.c - a step of a worker group: check, roll back, append, compute, verify, roll back what was not accepted */
#include "worker/engine.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "base/memory.h"
#include "speculate/verify.h"
#include "worker/choose.h"
#include "worker/pictures.h"

/* About 32 pictures of 1,024 tokens for a model of width 8,192. */
enum { ENGINE_PICTURE_BYTES = 1 << 30 };

struct held { /* a sequence that the group holds */
    uint64_t id;
    struct sequence *sequence;
    int32_t *ids; /* (its length): what penalties count */
    int capacity;
};

struct engine {
    struct engine_options options;
    struct pictures *pictures;
    struct chooser *chooser;
    struct held *held; /* in no order; at most one per page, so a walk finds one */
    int n_held;
};

struct engine *engine_new(const struct engine_options *options)
{
    struct engine *engine = mem_new(1, sizeof *engine);
    engine->options = *options;
    engine->pictures = pictures_new(options->config->d, options->picture_bytes ? options->picture_bytes : ENGINE_PICTURE_BYTES);
    engine->chooser = chooser_new(options->model, options->comm, options->config->vocabulary);
    return engine;
}

void engine_free(struct engine *engine)
{
    if (!engine)
        return;
    engine_forget(engine);
    pictures_free(engine->pictures);
    chooser_free(engine->chooser);
    free(engine->held);
    free(engine);
}

int engine_piece(struct engine *engine, const struct step_piece *piece, struct error *err)
{
    return pictures_piece(engine->pictures, piece, err);
}

void engine_verdict_free(struct step_verdict *verdict)
{
    for (int i = 0; i < verdict->n_answers; i++)
        free(verdict->answers[i].logprobs);
    free(verdict->answers);
    verdict->answers = NULL;
    verdict->n_answers = 0;
}

/* ---- sequences ---- */

static struct held *held_find(const struct engine *engine, uint64_t id)
{
    for (int i = 0; i < engine->n_held; i++)
        if (engine->held[i].id == id)
            return &engine->held[i];
    return NULL;
}

static void held_drop(struct engine *engine, struct held *held)
{
    sequence_release(engine->options.model, held->sequence);
    free(held->ids);
    *held = engine->held[--engine->n_held];
}

static struct held *held_add(struct engine *engine, uint64_t id)
{
    engine->held = mem_grow(engine->held, (size_t)engine->n_held + 1, sizeof *engine->held);
    struct held *held = &engine->held[engine->n_held++];
    *held = (struct held){.id = id, .sequence = sequence_new(engine->options.model)};
    return held;
}

/* Cuts the sequence to the span's start and notes the span's ids behind it. */
static void held_begin(struct engine *engine, struct held *held, const struct step_span *span)
{
    sequence_truncate(engine->options.model, held->sequence, span->length);
    if (span->length + span->n > held->capacity) {
        held->capacity = 2 * (span->length + span->n);
        held->ids = mem_grow(held->ids, (size_t)held->capacity, sizeof *held->ids);
    }
    memcpy(held->ids + span->length, span->ids, (size_t)span->n * sizeof *held->ids);
}

void engine_forget(struct engine *engine)
{
    while (engine->n_held)
        held_drop(engine, &engine->held[0]);
    pictures_clear(engine->pictures);
}

/* ---- the check: nothing here changes anything ---- */

static bool step_releases(const struct step *step, uint64_t id)
{
    for (int i = 0; i < step->n_release; i++)
        if (step->release[i] == id)
            return true;
    return false;
}

/* Positions that the sequence will have when the step's releases are done. */
static int length_after_release(const struct engine *engine, const struct step *step, uint64_t id)
{
    const struct held *held = held_find(engine, id);
    return held && !step_releases(step, id) ? sequence_length(held->sequence) : 0;
}

static int check_rows(const struct engine *engine, const struct step_span *span, struct error *err)
{
    int vocabulary = engine->options.config->vocabulary, end = engine->options.config->max_positions;
    if (span->n < 1 || span->n > engine->options.max_rows)
        return fail(err, "%d rows: 1 to %d can run in a step", span->n, engine->options.max_rows);
    if (span->length < 0 || span->length > end - span->n)
        return fail(err, "%d rows behind %d positions: the model's context is %d", span->n, span->length, end);
    if (!span->positions && (span->position < 0 || span->position > end - span->n))
        return fail(err, "positions %d and up of %d rows: the model's context is %d", span->position, span->n, end);
    for (int r = 0; r < span->n; r++) {
        if (span->ids[r] < 0 || span->ids[r] >= vocabulary)
            return fail(err, "row %d: id %d, but the vocabulary is %d", r, span->ids[r], vocabulary);
        for (int axis = 0; span->positions && axis < 3; axis++)
            if (span->positions[r][axis] < 0 || span->positions[r][axis] >= end)
                return fail(err, "row %d: position %d, but the model's context is %d", r, span->positions[r][axis], end);
    }
    return 0;
}

static int check_verification(const struct step_span *span, struct error *err)
{
    if (span->drafts < 0 || span->drafts >= span->n)
        return fail(err, "%d drafts in %d rows: the row before the first draft must be there", span->drafts, span->n);
    if (span->drafts && (!span->want_token || !span->generated))
        return fail(err, "%d drafts in a span that is %s", span->drafts, span->generated ? "not verified" : "a prompt's");
    const struct sampling *s = &span->sampling;
    if (!isfinite(s->repetition_penalty) || s->repetition_penalty <= 0)
        return fail(err, "repetition penalty %g: a positive number is right", (double)s->repetition_penalty);
    if (span->answered < 0 || span->answered > span->length + span->n - span->drafts)
        return fail(err, "%d tokens of an answer in %d positions", span->answered, span->length + span->n - span->drafts);
    if (span->drafts && sampling_rejects(s) && !span->weights)
        return fail(err, "%d drafts to keep or refuse, but not what they were drawn from", span->drafts);
    return 0;
}

static int check_pictures(const struct engine *engine, const struct step_span *span, struct error *err)
{
    int64_t end = 0;
    for (int i = 0; i < span->n_pictures; i++) {
        const struct step_picture *picture = &span->pictures[i];
        if (picture->first < end || picture->count < 1 || (int64_t)picture->first + picture->count > span->n)
            return fail(err, "picture %d: %d rows at row %d of %d, the rows before end at %lld", i, picture->count, picture->first,
                        span->n, (long long)end);
        if (!pictures_rows(engine->pictures, picture->hash, picture->picture_row, picture->count, err))
            return -1;
        end = (int64_t)picture->first + picture->count;
    }
    return 0;
}

static int check_span(const struct engine *engine, const struct step *step, int s, struct error *err)
{
    const struct step_span *span = &step->spans[s];
    for (int i = 0; i < s; i++)
        if (step->spans[i].sequence == span->sequence)
            return fail(err, "the sequence is named twice");
    int length = length_after_release(engine, step, span->sequence);
    if (span->length > length)
        return fail(err, "the group has %d positions, the step counts on %d", length, span->length);
    if (check_rows(engine, span, err) || check_verification(span, err))
        return -1;
    return check_pictures(engine, span, err);
}

static int64_t pages_of(int length)
{
    return ((int64_t)length + MODEL_PAGE_POSITIONS - 1) / MODEL_PAGE_POSITIONS;
}

/* Pages that are free once the step's releases and roll-backs are done and its rows are in. */
static int64_t pages_left(const struct engine *engine, const struct step *step)
{
    int64_t left = model_pages_free(engine->options.model);
    for (int i = 0; i < engine->n_held; i++)
        if (step_releases(step, engine->held[i].id))
            left += pages_of(sequence_length(engine->held[i].sequence));
    for (int s = 0; s < step->n_spans; s++) {
        const struct step_span *span = &step->spans[s];
        left += pages_of(length_after_release(engine, step, span->sequence)) - pages_of(span->length + span->n);
    }
    return left;
}

static int check_step(const struct engine *engine, const struct step *step, struct error *err)
{
    int64_t rows = 0;
    for (int s = 0; s < step->n_spans; s++) {
        if (check_span(engine, step, s, err) != 0)
            return fail_in(err, "span %d, sequence %llu", s, (unsigned long long)step->spans[s].sequence);
        rows += step->spans[s].n;
    }
    if (rows > engine->options.max_rows)
        return fail(err, "%lld rows, but a step holds %d", (long long)rows, engine->options.max_rows);
    int64_t left = pages_left(engine, step);
    if (left < 0)
        return fail(err, "the key/value cache of %d pages is %lld pages too small", model_pages(engine->options.model),
                    (long long)-left);
    return 0;
}

/* ---- the run ---- */

struct batch { /* a step as model_extend takes it */
    struct span *spans;
    int32_t (*positions)[3];       /* of all rows */
    struct span_picture *pictures; /* of all spans */
    int32_t *tokens;               /* the target's, of all scored rows */
};

static void batch_create(struct batch *batch, const struct step *step)
{
    size_t rows = 0, pictures = 0;
    for (int s = 0; s < step->n_spans; s++) {
        rows += (size_t)step->spans[s].n;
        pictures += (size_t)step->spans[s].n_pictures;
    }
    batch->spans = mem_new((size_t)step->n_spans, sizeof *batch->spans);
    batch->positions = mem_new(rows, sizeof *batch->positions);
    batch->pictures = mem_new(pictures, sizeof *batch->pictures);
    batch->tokens = mem_new(rows, sizeof *batch->tokens);
}

static void batch_free(struct batch *batch)
{
    free(batch->spans);
    free(batch->positions);
    free(batch->pictures);
    free(batch->tokens);
}

static void span_positions(int32_t (*positions)[3], const struct step_span *span)
{
    if (span->positions)
        memcpy(positions, span->positions, (size_t)span->n * sizeof *positions);
    else
        for (int r = 0; r < span->n; r++)
            positions[r][0] = positions[r][1] = positions[r][2] = span->position + r;
}

static void span_pictures(const struct engine *engine, struct span_picture *pictures, const struct step_span *span)
{
    for (int i = 0; i < span->n_pictures; i++) {
        const struct step_picture *from = &span->pictures[i];
        pictures[i] = (struct span_picture){
            .first = from->first,
            .count = from->count,
            .features = pictures_rows(engine->pictures, from->hash, from->picture_row, from->count, NULL),
        };
    }
}

/* All sequences are made before the first span points into the table. */
static void engine_place(struct engine *engine, const struct step *step)
{
    for (int i = 0; i < step->n_release; i++) {
        struct held *held = held_find(engine, step->release[i]);
        if (held)
            held_drop(engine, held);
    }
    for (int s = 0; s < step->n_spans; s++) {
        struct held *held = held_find(engine, step->spans[s].sequence);
        held_begin(engine, held ? held : held_add(engine, step->spans[s].sequence), &step->spans[s]);
    }
}

static void batch_fill(struct batch *batch, const struct engine *engine, const struct step *step)
{
    int row = 0, picture = 0;
    for (int s = 0; s < step->n_spans; s++) {
        const struct step_span *from = &step->spans[s];
        const struct held *held = held_find(engine, from->sequence);
        span_positions(batch->positions + row, from);
        span_pictures(engine, batch->pictures + picture, from);
        batch->spans[s] = (struct span){
            .sequence = held->sequence,
            .n = from->n,
            .ids = held->ids + from->length,
            .positions = (const int32_t(*)[3])(batch->positions + row),
            .generated = from->generated,
            .n_scored = choose_rows(from),
            .pictures = batch->pictures + picture,
            .n_pictures = from->n_pictures,
            /* The sampler has its own, after the log-probabilities. */
            .repetition_penalty = sampling_is_plain(&from->sampling, from->answered) ? from->sampling.repetition_penalty : 1,
            .history = held->ids,
            .n_history = from->length,
        };
        row += from->n;
        picture += from->n_pictures;
    }
}

/* tokens[j]: the target's behind the span's last row but (drafts - j). */
static void span_verify(struct engine *engine, const struct step_span *span, const int32_t *tokens, struct step_answer *answer)
{
    answer->next = -1;
    if (!span->want_token)
        return;
    answer->accepted = verify_tokens(tokens, span->ids + span->n - span->drafts, span->drafts, &answer->next);
    int length = span->length + span->n - span->drafts + answer->accepted;
    sequence_truncate(engine->options.model, held_find(engine, span->sequence)->sequence, length);
}

static void engine_run(struct engine *engine, const struct step *step, struct step_verdict *verdict)
{
    struct batch batch;
    struct error err;
    batch_create(&batch, step);
    engine_place(engine, step);
    batch_fill(&batch, engine, step);
    /* The check has foreseen every reason to refuse; a rank that fails now would leave the others in a collective. */
    int rc = step->n_spans ? model_extend(engine->options.model, batch.spans, step->n_spans, &err) : 0;
    DEVICE_CHECK(rc == 0, "step %llu passed the check but did not run: %s", (unsigned long long)step->id, err.text);
    if (step->n_spans && model_scored_rows(engine->options.model))
        chooser_tokens(engine->chooser, step, batch.spans, batch.tokens, verdict->answers);
    const int32_t *tokens = batch.tokens;
    for (int s = 0; s < step->n_spans; s++) {
        span_verify(engine, &step->spans[s], tokens, &verdict->answers[s]);
        tokens += choose_rows(&step->spans[s]);
    }
    batch_free(&batch);
}

void engine_step(struct engine *engine, const struct step *step, struct step_verdict *verdict)
{
    struct error err;
    *verdict = (struct step_verdict){.step = step->id};
    if (check_step(engine, step, &err) != 0) {
        snprintf(verdict->error, sizeof verdict->error, "%.255s", err.text);
        return;
    }
    verdict->n_answers = step->n_spans;
    verdict->answers = mem_new((size_t)step->n_spans, sizeof *verdict->answers);
    engine_run(engine, step, verdict);
}
