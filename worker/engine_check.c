/* engine_check.c - whether a step can run on what the group holds: nothing here changes anything */
#include "worker/engine_parts.h"

#include <math.h>
#include <string.h>

#include "model/family.h"
#include "worker/pictures.h"

static bool key_same(const uint64_t a[2], const uint64_t b[2])
{
    return a[0] == b[0] && a[1] == b[1];
}

static int key_fail(struct error *err, const char *before, const uint64_t key[2], const char *after)
{
    return fail(err, "%s %016llx%016llx, %s", before, (unsigned long long)key[0], (unsigned long long)key[1], after);
}

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
    const struct held *held = engine_held(engine, id);
    return held && !step_releases(step, id) ? sequence_length(held->sequence) : 0;
}

/* ---- a span ---- */

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
        if (span->ids[r] < 0 || (span->ids[r] >= vocabulary && span->ids[r] != engine->options.config->image_id))
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

/* All of its rows, or the rest behind adopted pages that were computed with it whole. */
static bool picture_whole(const struct step_span *span, const struct step_picture *picture, int tokens)
{
    bool adopted = span->n_adopt > 0 && picture->first == 0;
    return picture->picture_row + picture->count == tokens && (picture->picture_row == 0 || adopted);
}

static int check_pictures(const struct engine *engine, const struct step_span *span, struct error *err)
{
    const struct model_config *config = engine->options.config;
    int64_t end = 0;
    for (int i = 0; i < span->n_pictures; i++) {
        const struct step_picture *picture = &span->pictures[i];
        if (picture->first < end || picture->count < 1 || (int64_t)picture->first + picture->count > span->n)
            return fail(err, "picture %d: %d rows at row %d of %d, the rows before end at %lld", i, picture->count, picture->first,
                        span->n, (long long)end);
        if (config->family->pictures_whole && !picture_whole(span, picture, config_picture_tokens(config)))
            return fail(err, "picture %d: %d rows; its %d must be in one step", i, picture->count, config_picture_tokens(config));
        if (!pictures_rows(engine->pictures, picture->hash, picture->picture_row, picture->count, err))
            return -1;
        end = (int64_t)picture->first + picture->count;
    }
    return 0;
}

/* Whether the key will be here when the step's words to forget are done. */
static bool key_stays(const struct engine *engine, const struct step *step, const uint64_t key[2])
{
    for (int i = 0; i < step->n_forget; i++)
        if (key_same(step->forget[i], key))
            return false;
    return kept_pages_find(engine->kept, key) >= 0;
}

static int check_adopted(const struct engine *engine, const struct step *step, const struct step_span *span, struct error *err)
{
    if (span->n_adopt && engine_held(engine, span->sequence) && !step_releases(step, span->sequence))
        return fail(err, "it adopts pages, but only a new sequence can");
    if (span->n_adopt && span->length != (int64_t)span->n_adopt * MODEL_PAGE_POSITIONS)
        return fail(err, "it adopts %d pages of %d positions, the step counts on %d", span->n_adopt, MODEL_PAGE_POSITIONS,
                    span->length);
    int first = span->n_adopt ? engine_first_local(engine, span) : 0;
    for (int i = 0; i < span->n_adopt; i++)
        for (int local = 0; local <= (i >= first); local++) {
            uint64_t key[2];
            step_key_of(key, span->adopt[i], local);
            if (!key_stays(engine, step, key))
                return key_fail(err, "it adopts page", key, "which is not here");
        }
    return 0;
}

/* The sequence can go on there: a page that another sequence uses, or that is kept, is never written again, and what local layers
 * see from there on must not be gone. */
static int check_written(const struct engine *engine, const struct step *step, const struct step_span *span, struct error *err)
{
    const struct model *model = engine->options.model;
    const struct held *held = engine_held(engine, span->sequence);
    if (!held || step_releases(step, span->sequence))
        return 0;
    if (!sequence_reaches(model, held->sequence, span->length))
        return fail(err, "it is rolled back from %d to %d positions: the keys that local layers see there are gone",
                    sequence_length(held->sequence), span->length);
    for (int kind = 0; kind < KV_KINDS && span->length % MODEL_PAGE_POSITIONS; kind++) {
        int32_t page = sequence_page(held->sequence, kind, span->length / MODEL_PAGE_POSITIONS);
        if (page >= 0 && model_page_uses(model, page) > 1)
            return fail(err, "position %d is in a page that is shared", span->length);
    }
    return 0;
}

/* Whether an earlier entry of the step keeps a page under the key, too. */
static bool key_taken(const struct step *step, int s, int i)
{
    for (int t = 0; t <= s; t++)
        for (int j = 0; j < (t == s ? i : step->spans[t].n_keep); j++)
            if (key_same(step->spans[t].keep[j], step->spans[s].keep[i]))
                return true;
    return false;
}

static int check_kept(const struct engine *engine, const struct step *step, int s, struct error *err)
{
    const struct step_span *span = &step->spans[s];
    int64_t first = span->length / MODEL_PAGE_POSITIONS, end = ((int64_t)span->length + span->n) / MODEL_PAGE_POSITIONS;
    int64_t next = 2 * first; /* both kinds of pages in order */
    if (span->n_keep && span->generated)
        return fail(err, "pages of generated rows are not kept");
    for (int i = 0; i < span->n_keep; i++) {
        bool local = step_key_local(span->keep[i]);
        int64_t at = 2 * (int64_t)span->keep_pages[i] + local;
        if (at < next || span->keep_pages[i] >= end)
            return fail(err, "page %d is to be kept, but the span completes those from %lld to below %lld", span->keep_pages[i],
                        (long long)(next + 1) / 2, (long long)end);
        if (local && !model_layout(engine->options.model)->blocks[KV_LOCAL])
            return key_fail(err, "it keeps a page as", span->keep[i], "a key of local layers, but the model keeps none apart");
        if (key_stays(engine, step, span->keep[i]) || key_taken(step, s, i))
            return key_fail(err, "it keeps a page as", span->keep[i], "which is here already");
        next = at + 1;
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
    if (check_adopted(engine, step, span, err))
        return -1;
    if (!span->n_adopt && span->length > length)
        return fail(err, "the group has %d positions, the step counts on %d", length, span->length);
    if (check_rows(engine, span, err) || check_verification(span, err))
        return -1;
    if (check_written(engine, step, span, err) || check_kept(engine, step, s, err))
        return -1;
    return check_pictures(engine, span, err);
}

/* ---- the step ---- */

static int64_t pages_of(int length)
{
    return ((int64_t)length + MODEL_PAGE_POSITIONS - 1) / MODEL_PAGE_POSITIONS;
}

/* One user less of the page: its blocks if it was the last, or 0. */
static int page_dropped(const struct engine *engine, int32_t page)
{
    const struct model *model = engine->options.model;
    return ++engine->dropped[page] == model_page_uses(model, page) ? model_page_blocks(model, page) : 0;
}

/* Pages [from, to) of a sequence lose a user; how many blocks that frees. */
static int pages_dropped(const struct engine *engine, const struct held *held, int64_t from, int64_t to)
{
    int freed = 0;
    for (int64_t i = from; i < to; i++)
        for (int kind = 0; kind < KV_KINDS; kind++) {
            int32_t page = sequence_page(held->sequence, kind, (int)i);
            freed += page >= 0 ? page_dropped(engine, page) : 0;
        }
    return freed;
}

/* Blocks that are free once the step's releases and roll-backs are done and its rows are in. */
static int64_t blocks_left(const struct engine *engine, const struct step *step)
{
    const struct model *model = engine->options.model;
    int64_t left = model_blocks_free(model), whole = kv_layout_whole(model_layout(model));
    memset(engine->dropped, 0, (size_t)model_blocks(model) * sizeof *engine->dropped);
    for (int i = 0; i < step->n_forget; i++)
        left += page_dropped(engine, kept_pages_find(engine->kept, step->forget[i]));
    for (int i = 0; i < engine->n_held; i++)
        if (step_releases(step, engine->held[i].id))
            left += pages_dropped(engine, &engine->held[i], 0, pages_of(sequence_length(engine->held[i].sequence)));
    for (int s = 0; s < step->n_spans; s++) {
        const struct step_span *span = &step->spans[s];
        int length = length_after_release(engine, step, span->sequence);
        if (length)
            left += pages_dropped(engine, engine_held(engine, span->sequence), pages_of(span->length), pages_of(length));
        left -= (pages_of(span->length + span->n) - pages_of(span->length)) * whole;
    }
    return left;
}

static int check_forgotten(const struct engine *engine, const struct step *step, struct error *err)
{
    for (int i = 0; i < step->n_forget; i++) {
        if (kept_pages_find(engine->kept, step->forget[i]) < 0)
            return key_fail(err, "it forgets page", step->forget[i], "which is not here");
        for (int j = 0; j < i; j++)
            if (key_same(step->forget[j], step->forget[i]))
                return key_fail(err, "it forgets page", step->forget[i], "twice");
    }
    return 0;
}

int engine_check(const struct engine *engine, const struct step *step, struct error *err)
{
    int64_t rows = 0;
    if (check_forgotten(engine, step, err) != 0)
        return -1;
    for (int s = 0; s < step->n_spans; s++) {
        if (check_span(engine, step, s, err) != 0)
            return fail_in(err, "span %d, sequence %llu", s, (unsigned long long)step->spans[s].sequence);
        rows += step->spans[s].n;
    }
    if (rows > engine->options.max_rows)
        return fail(err, "%lld rows, but a step holds %d", (long long)rows, engine->options.max_rows);
    int64_t left = blocks_left(engine, step);
    if (left < 0)
        return fail(err, "the key/value cache of %d blocks is %lld blocks too small", model_blocks(engine->options.model),
                    (long long)-left);
    return 0;
}
