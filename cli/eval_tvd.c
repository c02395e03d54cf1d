/* eval_tvd.c - next-token distributions of target and drafters along the target's answers.
 *
 * Target and drafters are opened beside each other. For each question: its picture once through the target's tower, the prompt
 * through every model; then for each of its answers the tokens, a chunk at a time, through every model, and row by row the two
 * distributions are compared. The drafter reads the prompt as it does in the service: without pictures where it is text-only. */
#include "cli/eval_tvd.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/bar.h"
#include "base/memory.h"
#include "base/signals.h"
#include "cli/cli.h"
#include "cluster/comm.h"
#include "kernels/kernels.h"
#include "model/drafter_sight.h"
#include "model/model.h"
#include "model/prompt.h"
#include "proto/ask.h"

enum { ROWS = 512 };                           /* of one step */
static const int64_t PICTURE_PIXELS = 1 << 26; /* of one file: 8192 x 8192, as in massv dump */

struct reader { /* one model along prompt and answer */
    struct model_config config;
    struct tokenizer *tokenizer;
    struct safetensors *st;
    struct model *model;
    struct drafter_sight sight; /* of a drafter */
    enum drafter_kind kind;     /* DRAFTER_NONE: the target */
    /* of the question */
    struct prompt prompt;
    struct sequence *sequence;
    float **features; /* (n_features) of its picture and of its crops */
    int n_features;
    float *first; /* (vocabulary) scores behind the prompt */
    float *row;   /* (vocabulary) */
};

struct reading {
    struct eval *e;
    const struct kernels *kernels;
    struct device *device;
    struct comm *comm;
    struct tower *tower; /* the target's */
    struct merger *merger;
    struct reader readers[1 + EVAL_SERVICES]; /* the target, the drafters */
    int n_readers;
};

/* ---- opening ---- */

/* Cache positions that the longest of the answers needs. */
static int positions_needed(const struct eval *e)
{
    int most = MODEL_PAGE_POSITIONS;
    for (int i = 0; i < e->n_configs * e->questions.n; i++) {
        int n = e->answers[i].usage.prompt_tokens + e->answers[i].usage.completion_tokens;
        most = n > most ? n : most;
    }
    return most + 1;
}

static int reader_open(struct reading *r, struct reader *reader, const char *dir, struct error *err)
{
    if (config_read(&reader->config, dir, err) || tokenizer_open(&reader->tokenizer, dir, err) ||
        safetensors_open(&reader->st, dir, err))
        return -1;
    const struct model_options options = {
        .kernels = r->kernels, .device = r->device, .comm = r->comm, .kv_positions = positions_needed(r->e), .max_rows = ROWS};
    reader->first = mem_new((size_t)reader->config.vocabulary, sizeof *reader->first);
    reader->row = mem_new((size_t)reader->config.vocabulary, sizeof *reader->row);
    return model_open(&reader->model, reader->st, &reader->config, &options, err);
}

static int target_open(struct reading *r, struct error *err)
{
    struct reader *target = &r->readers[0];
    if (reader_open(r, target, r->e->options->target, err))
        return -1;
    if (!target->config.has_vision)
        return 0;
    return tower_open(&r->tower, target->st, &target->config, r->kernels, r->device, err) ||
                   merger_open(&r->merger, target->st, &target->config, r->kernels, r->device, err)
               ? -1
               : 0;
}

static int drafter_open(struct reading *r, struct reader *d, const char *dir, const uint64_t *tower, struct error *err)
{
    const struct reader *target = &r->readers[0];
    const struct drafter_target fit = {.config = &target->config, .tokenizer = target->tokenizer, .tower = tower};
    if (reader_open(r, d, dir, err) || drafter_fit(&d->kind, &d->config, d->tokenizer, d->st, &fit, err))
        return -1;
    enum drafter_kind seeing = target->config.has_vision ? d->kind : DRAFTER_NONE;
    return drafter_sight_open(&d->sight, seeing, d->st, &d->config, r->kernels, r->device, err);
}

static int reading_open(struct reading *r, const struct tvd *tvd, struct error *err)
{
    const struct eval_options *o = r->e->options;
    const struct device_options device = {.threads = cli_threads(o->threads, 1)};
    uint64_t tower[2];
    r->kernels = kernels_cpu();
    r->device = r->kernels->open(&device, err);
    if (!r->device || comm_open_one(&r->comm, err))
        return -1;
    r->n_readers = 1; /* whatever was opened of it is closed */
    if (target_open(r, err))
        return -1;
    const struct reader *target = &r->readers[0];
    if (r->tower && tower_hash(target->st, &target->config, tower, err))
        return -1;
    for (int i = 0; i < tvd->n_drafters; i++)
        if (drafter_open(r, &r->readers[r->n_readers++], o->drafters[tvd->drafters[i]].value, r->tower ? tower : NULL, err))
            return -1;
    return 0;
}

static void reader_close(struct reader *reader)
{
    model_close(reader->model);
    drafter_sight_close(&reader->sight);
    safetensors_close(reader->st);
    tokenizer_close(reader->tokenizer);
    free(reader->first);
    free(reader->row);
}

static void reading_close(struct reading *r)
{
    for (int i = 0; i < r->n_readers; i++)
        reader_close(&r->readers[i]);
    merger_close(r->merger);
    tower_close(r->tower);
    comm_close(r->comm);
    if (r->device)
        r->kernels->close(r->device);
}

/* ---- a question ---- */

/* The features of one view of the picture, for every model. */
static int view_read(struct reading *r, int view, const struct patches *patches, struct error *err)
{
    struct vision_states states;
    struct reader *target = &r->readers[0];
    if (tower_run(r->tower, patches, &states, err))
        return -1;
    size_t rows = (size_t)patches_tokens(patches, &target->config);
    target->features[view] = mem_new(rows * (size_t)target->config.d, sizeof *target->features[view]);
    int result = merger_run(r->merger, &states, target->features[view], err);
    for (int i = 1; !result && i < r->n_readers; i++)
        result = drafter_sight_features(&r->readers[i].sight, &r->readers[i].config, patches, &states,
                                        &r->readers[i].features[view], err);
    vision_states_free(r->tower, &states);
    return result;
}

static int views_read(struct reading *r, const struct views *views, struct error *err)
{
    int result = 0;
    for (int i = 0; i < r->n_readers; i++) {
        r->readers[i].features = mem_new((size_t)views->n, sizeof *r->readers[i].features);
        r->readers[i].n_features = views->n;
    }
    for (int view = 0; view < views->n && !result; view++)
        result = view_read(r, view, &views->patches[view], err);
    return result;
}

static int picture_read(struct reading *r, const struct question *q, struct picture_shape *shape, struct error *err)
{
    struct generate_picture file = {0};
    struct image image = {0};
    struct views views = {0};
    const struct model_config *config = &r->readers[0].config;
    int result = 0;
    if (!config->has_vision)
        return fail(err, "%s reads no pictures: it is a text model", config->name);
    if (ask_picture(&file, q->path, err) || image_decode(&image, file.bytes, file.size, PICTURE_PIXELS, err) ||
        views_make(&views, &image, config, err))
        result = fail_in(err, "%s", q->path);
    if (!result) {
        *shape = views_shape(&views, config);
        result = views_read(r, &views, err);
    }
    views_free(&views);
    image_free(&image);
    free(file.bytes);
    return result;
}

static int prompts_make(struct reading *r, const struct question *q, const struct picture_shape *shape, struct error *err)
{
    const struct prompt_question question = {q->earlier, q->n_earlier, q->prompt, q->path ? shape : NULL};
    struct reader *target = &r->readers[0];
    if (prompt_make_question(&target->prompt, &target->config, target->tokenizer, &question, err))
        return -1;
    for (int i = 1; i < r->n_readers; i++)
        drafter_prompt(&r->readers[i].prompt, &target->prompt, r->readers[i].kind, &r->readers[i].config);
    return 0;
}

static int prompt_chunk(struct reader *reader, const struct prompt *p, int first, int n, struct error *err)
{
    struct span_picture *pictures = mem_new((size_t)p->n_pictures, sizeof *pictures);
    struct span span = {.sequence = reader->sequence,
                        .n = n,
                        .ids = p->ids + first,
                        .positions = (const int32_t(*)[3])(p->positions + first),
                        .n_scored = first + n == p->n,
                        .pictures = pictures,
                        .repetition_penalty = 1};
    for (int i = 0; i < p->n_pictures; i++) {
        const struct prompt_picture *at = &p->pictures[i];
        int from = at->first > first ? at->first : first,
            to = at->first + at->count < first + n ? at->first + at->count : first + n;
        if (from < to)
            pictures[span.n_pictures++] = (struct span_picture){
                from - first, to - from, reader->features[i] + (size_t)(from - at->first) * (size_t)reader->config.d};
    }
    int result = model_extend(reader->model, &span, 1, err);
    free(pictures);
    return result;
}

static int prompt_read(struct reader *reader, struct error *err)
{
    const struct prompt *p = &reader->prompt;
    reader->sequence = sequence_new(reader->model);
    for (int first = 0, n; first < p->n; first += n) {
        n = prompt_chunk_rows(p, first, ROWS);
        if (prompt_chunk(reader, p, first, n, err))
            return fail_in(err, "%s", reader->config.name);
    }
    model_scores_row(reader->model, 0, reader->first);
    return 0;
}

/* ---- an answer ---- */

/* Tokens [first, first + n) of the answer; each row's scores are of what follows. */
static int tokens_read(struct reader *reader, const int32_t *ids, int first, int n, struct error *err)
{
    int32_t positions[ROWS][3];
    for (int i = 0; i < n; i++)
        for (int axis = 0; axis < 3; axis++)
            positions[i][axis] = reader->prompt.next_position + first + i;
    const struct span span = {.sequence = reader->sequence,
                              .n = n,
                              .ids = ids + first,
                              .positions = (const int32_t(*)[3])positions,
                              .generated = true,
                              .n_scored = n,
                              .repetition_penalty = 1};
    return model_extend(reader->model, &span, 1, err) ? fail_in(err, "%s", reader->config.name) : 0;
}

static int rows_compare(struct divergence *to, const struct reader *target, const float *p, const struct reader *drafter,
                        const float *q, float temperature, struct error *err)
{
    int common = target->config.vocabulary < drafter->config.vocabulary ? target->config.vocabulary : drafter->config.vocabulary;
    if (divergence_of_scores(to, p, q, common, temperature))
        return fail(err, "%s beside %s: scores that are not numbers", target->config.name, drafter->config.name);
    return 0;
}

/* Row i of the step that every model has just made. */
static int row_take(struct reading *r, struct divergence *const *rows, int t, int i, float temperature, struct error *err)
{
    struct reader *target = &r->readers[0];
    model_scores_row(target->model, i, target->row);
    for (int d = 1; d < r->n_readers; d++) {
        model_scores_row(r->readers[d].model, i, r->readers[d].row);
        if (rows_compare(&rows[d - 1][t], target, target->row, &r->readers[d], r->readers[d].row, temperature, err))
            return -1;
    }
    return 0;
}

/* Positions before which all have read the same tokens. An id beyond a drafter's table ends them for all, so that drafters stand
 * side by side at the same ones; in the service it ends that drafter's drafts. */
static int positions_count(const struct reading *r, const struct eval_answer *answer)
{
    int n = answer->usage.completion_tokens;
    for (int t = 0; t < n - 1; t++) /* nobody reads the last token */
        for (int i = 1; i < r->n_readers; i++)
            if (answer->ids[t] >= r->readers[i].config.vocabulary)
                return t + 1;
    return n;
}

/* rows[d] (n) of drafter d. */
static int answer_read(struct reading *r, const struct eval_answer *answer, int n, float temperature,
                       struct divergence *const *rows, struct error *err)
{
    struct reader *target = &r->readers[0];
    for (int d = 1; d < r->n_readers; d++)
        if (rows_compare(&rows[d - 1][0], target, target->first, &r->readers[d], r->readers[d].first, temperature, err))
            return -1;
    for (int first = 0; first < n - 1; first += ROWS) {
        int count = n - 1 - first < ROWS ? n - 1 - first : ROWS;
        for (int i = 0; i < r->n_readers; i++)
            if (tokens_read(&r->readers[i], answer->ids, first, count, err))
                return -1;
        for (int i = 0; i < count; i++)
            if (row_take(r, rows, first + 1 + i, i, temperature, err))
                return -1;
    }
    for (int i = 0; i < r->n_readers; i++)
        sequence_truncate(r->readers[i].model, r->readers[i].sequence, r->readers[i].prompt.n);
    return 0;
}

/* The first whole answer under a condition; whoever drafted, it is the target's. */
static const struct eval_answer *answer_find(const struct eval *e, int condition, int question)
{
    for (int c = 0; c < e->n_configs; c++)
        if (e->configs[c].condition == condition && eval_answer_at(e, c, question)->text &&
            eval_answer_at(e, c, question)->usage.completion_tokens)
            return eval_answer_at(e, c, question);
    return NULL;
}

static int answers_read(struct reading *r, struct tvd *tvd, int question, struct error *err)
{
    for (int c = 0; c < tvd->n_conditions; c++) {
        const struct eval_answer *answer = answer_find(r->e, tvd->conditions[c], question);
        struct divergence *rows[EVAL_SERVICES] = {0};
        float temperature = r->e->conditions[tvd->conditions[c]].temperature;
        if (!answer)
            continue;
        int n = positions_count(r, answer);
        for (int d = 0; d < tvd->n_drafters; d++)
            rows[d] = mem_new((size_t)n, sizeof *rows[d]);
        int result = answer_read(r, answer, n, temperature > 0 ? temperature : 1, rows, err);
        for (int d = 0; d < tvd->n_drafters; d++)
            if (result)
                free(rows[d]);
            else
                *tvd_answer_at(tvd, d, c, question) = (struct tvd_answer){n, rows[d]};
        if (result)
            return -1;
    }
    return 0;
}

static void question_end(struct reading *r)
{
    for (int i = 0; i < r->n_readers; i++) {
        struct reader *reader = &r->readers[i];
        sequence_release(reader->model, reader->sequence);
        prompt_free(&reader->prompt);
        for (int view = 0; view < reader->n_features; view++)
            free(reader->features[view]);
        free(reader->features);
        reader->sequence = NULL;
        reader->features = NULL;
        reader->n_features = 0;
    }
}

static bool is_answered(const struct reading *r, const struct tvd *tvd, int question)
{
    for (int c = 0; c < tvd->n_conditions; c++)
        if (answer_find(r->e, tvd->conditions[c], question))
            return true;
    return false;
}

static int question_read(struct reading *r, struct tvd *tvd, int question, struct error *err)
{
    const struct question *q = &r->e->questions.list[question];
    struct picture_shape shape;
    if (!is_answered(r, tvd, question))
        return 0;
    int result = (q->path && picture_read(r, q, &shape, err)) || prompts_make(r, q, &shape, err) ? -1 : 0;
    for (int i = 0; !result && i < r->n_readers; i++)
        result = prompt_read(&r->readers[i], err);
    if (!result)
        result = answers_read(r, tvd, question, err);
    question_end(r);
    return result ? fail_in(err, "line %d", q->line) : 0;
}

/* ---- all of it ---- */

static void tvd_init(struct tvd *tvd, const struct eval *e)
{
    const struct eval_options *o = e->options;
    *tvd = (struct tvd){.n_questions = e->questions.n};
    for (int i = 0; i < o->n_drafters; i++)
        tvd->drafters[tvd->n_drafters++] = i;
    for (int c = 0; c < e->n_conditions; c++)
        if (!c || e->conditions[c].temperature != e->conditions[c - 1].temperature)
            tvd->conditions[tvd->n_conditions++] = c;
    tvd->answers = mem_new((size_t)tvd->n_drafters * (size_t)tvd->n_conditions * (size_t)tvd->n_questions, sizeof *tvd->answers);
}

int eval_tvd_measure(struct tvd *tvd, struct eval *e, struct error *err)
{
    struct reading r = {.e = e};
    struct bar bar;
    tvd_init(tvd, e);
    int result = reading_open(&r, tvd, err);
    bar_begin(&bar);
    for (int q = 0; !result && q < e->questions.n; q++) {
        result = question_read(&r, tvd, q, err);
        bar_show(&bar, q + 1, e->questions.n, "distributions of target and drafters");
        if (!result && signals_pending())
            result = 1;
    }
    bar_end(&bar);
    reading_close(&r);
    return result;
}

void eval_tvd_free(struct tvd *tvd)
{
    for (int i = 0; tvd->answers && i < tvd->n_drafters * tvd->n_conditions * tvd->n_questions; i++)
        free(tvd->answers[i].rows);
    free(tvd->answers);
    *tvd = (struct tvd){0};
}
