/* engine.c - a step of a worker group: check, roll back, append, compute, keep, verify, roll back what was not accepted */
#include "worker/engine_parts.h"

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

struct engine *engine_new(const struct engine_options *options)
{
    struct engine *engine = mem_new(1, sizeof *engine);
    engine->options = *options;
    engine->pictures = pictures_new(options->config->d, options->picture_bytes ? options->picture_bytes : ENGINE_PICTURE_BYTES);
    engine->chooser = chooser_new(options->model, options->comm, options->config->vocabulary);
    engine->kept = kept_pages_new(options->model);
    engine->dropped = mem_new((size_t)model_blocks(options->model), sizeof *engine->dropped);
    return engine;
}

void engine_free(struct engine *engine)
{
    if (!engine)
        return;
    engine_forget(engine);
    pictures_free(engine->pictures);
    chooser_free(engine->chooser);
    kept_pages_free(engine->kept);
    free(engine->dropped);
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

struct held *engine_held(const struct engine *engine, uint64_t id)
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

/* Puts kept pages and their ids at the start of a new sequence. */
static void held_adopt(struct engine *engine, struct held *held, const struct step_span *span)
{
    int first = engine_first_local(engine, span);
    for (int i = 0; i < span->n_adopt; i++) {
        uint64_t local[2];
        step_key_of(local, span->adopt[i], true);
        const int32_t page[KV_KINDS] = {kept_pages_find(engine->kept, span->adopt[i]),
                                        i < first ? -1 : kept_pages_find(engine->kept, local)};
        sequence_adopt(engine->options.model, held->sequence, page);
        memcpy(held->ids + i * MODEL_PAGE_POSITIONS, kept_pages_ids(engine->kept, page[KV_GLOBAL]),
               MODEL_PAGE_POSITIONS * sizeof *held->ids);
    }
}

/* Brings the sequence to the span's start and notes the span's ids behind it. */
static void held_begin(struct engine *engine, struct held *held, const struct step_span *span)
{
    if (span->length + span->n > held->capacity) {
        held->capacity = 2 * (span->length + span->n);
        held->ids = mem_grow(held->ids, (size_t)held->capacity, sizeof *held->ids);
    }
    held_adopt(engine, held, span);
    sequence_truncate(engine->options.model, held->sequence, span->length);
    memcpy(held->ids + span->length, span->ids, (size_t)span->n * sizeof *held->ids);
}

int engine_first_local(const struct engine *engine, const struct step_span *span)
{
    const struct kv_layout *layout = model_layout(engine->options.model);
    return layout->blocks[KV_LOCAL] ? kv_layout_first(layout, span->length) : span->n_adopt;
}

void engine_forget(struct engine *engine)
{
    while (engine->n_held)
        held_drop(engine, &engine->held[0]);
    kept_pages_clear(engine->kept);
    pictures_clear(engine->pictures);
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
    for (int i = 0; i < step->n_forget; i++)
        kept_pages_forget(engine->kept, step->forget[i]);
    for (int i = 0; i < step->n_release; i++) {
        struct held *held = engine_held(engine, step->release[i]);
        if (held)
            held_drop(engine, held);
    }
    for (int s = 0; s < step->n_spans; s++) {
        struct held *held = engine_held(engine, step->spans[s].sequence);
        held_begin(engine, held ? held : held_add(engine, step->spans[s].sequence), &step->spans[s]);
    }
}

static void batch_fill(struct batch *batch, const struct engine *engine, const struct step *step)
{
    int row = 0, picture = 0;
    for (int s = 0; s < step->n_spans; s++) {
        const struct step_span *from = &step->spans[s];
        const struct held *held = engine_held(engine, from->sequence);
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

/* The pages that the span has completed, before anything is rolled back. */
static void span_keep(struct engine *engine, const struct step_span *span)
{
    const struct held *held = engine_held(engine, span->sequence);
    for (int i = 0; i < span->n_keep; i++) {
        enum kv_kind kind = step_key_local(span->keep[i]) ? KV_LOCAL : KV_GLOBAL;
        kept_pages_add(engine->kept, span->keep[i], sequence_page(held->sequence, kind, span->keep_pages[i]),
                       held->ids + span->keep_pages[i] * MODEL_PAGE_POSITIONS);
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
    sequence_truncate(engine->options.model, engine_held(engine, span->sequence)->sequence, length);
}

/* What stands after the verdict is never rolled back. */
static void span_settle(struct engine *engine, const struct step_span *span)
{
    struct sequence *sequence = engine_held(engine, span->sequence)->sequence;
    sequence_settle(engine->options.model, sequence, sequence_length(sequence));
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
        span_keep(engine, &step->spans[s]);
        span_verify(engine, &step->spans[s], tokens, &verdict->answers[s]);
        span_settle(engine, &step->spans[s]);
        tokens += choose_rows(&step->spans[s]);
    }
    batch_free(&batch);
}

void engine_step(struct engine *engine, const struct step *step, struct step_verdict *verdict)
{
    struct error err;
    *verdict = (struct step_verdict){.step = step->id};
    if (engine_check(engine, step, &err) != 0) {
        snprintf(verdict->error, sizeof verdict->error, "%.255s", err.text);
        return;
    }
    verdict->n_answers = step->n_spans;
    verdict->answers = mem_new((size_t)step->n_spans, sizeof *verdict->answers);
    engine_run(engine, step, verdict);
}
