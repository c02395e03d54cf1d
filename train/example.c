/* example.c - one record as a sample: the prompt as the drafter reads it, the answer behind it, its pictures, what the target
 * thought likely */
#include "train/example.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "model/prompt.h"

/* The id that ends a turn is what follows an empty answer in a conversation that goes on. */
int example_maker_open(struct example_maker *m, const struct dataset_options *options, const struct dataset_reader *reader,
                       struct error *err)
{
    *m = (struct example_maker){options, reader, 0};
    const struct prompt_part word = {"x"}, nothing = {""};
    const struct prompt_turn turns[] = {{ROLE_USER, &word, 1}, {ROLE_ASSISTANT, &nothing, 1}, {ROLE_USER, &word, 1}};
    struct prompt asked = {0}, answered = {0};
    int result = prompt_make_turns(&asked, reader->target, reader->tokenizer, turns, 1, NULL, 0, err) ||
                         prompt_make_turns(&answered, reader->target, reader->tokenizer, turns, 3, NULL, 0, err)
                     ? -1
                     : 0;
    if (!result)
        m->end_id = answered.ids[asked.n];
    prompt_free(&asked);
    prompt_free(&answered);
    return result;
}

/* malloc'ed ids of the answer with its end; the number, or -1. */
static int answer_ids(const struct example_maker *m, const struct record *record, int32_t **ids, struct error *err)
{
    if (m->options->labels == LABELS_TARGET || (m->options->labels == LABELS_EITHER && record->answer)) {
        if (!record->answer || record->n < 1)
            return fail(err, "has no answer of a target; `massv-train distill` makes such files");
        *ids = mem_new((size_t)record->n, sizeof **ids);
        memcpy(*ids, record->ids, (size_t)record->n * sizeof **ids);
        return record->n;
    }
    if (!record->question.reference)
        return fail(err, "has no reference to learn from");
    int n = tokenizer_encode(m->reader->tokenizer, record->question.reference, strlen(record->question.reference), false, ids, err);
    if (n < 0)
        return -1;
    *ids = mem_grow(*ids, (size_t)n + 1, sizeof **ids);
    (*ids)[n] = m->end_id;
    return n + 1;
}

static int prompt_of(const struct example_maker *m, const struct question *q, const struct feature_rows *rows,
                     struct prompt *prompt, struct error *err)
{
    const struct prompt_question question = {q->earlier, q->n_earlier, q->prompt, q->image ? &rows->shape : NULL};
    struct prompt targets;
    if (prompt_make_question(&targets, m->reader->target, m->reader->tokenizer, &question, err))
        return -1;
    prompt_for_projector(prompt, &targets, m->reader->drafter);
    prompt_free(&targets);
    return 0;
}

/* The k most probable ids of each answer token that the drafter knows, their probabilities summing to 1. */
static int soft_of(const struct example_maker *m, const struct record *record, struct train_sample *sample, struct error *err)
{
    int k = m->options->soft_k;
    if (!record->logprobs)
        return fail(err, "has no logprobs; `massv-train distill --logprobs K` stores them");
    int32_t *ids = mem_new((size_t)record->n * (size_t)k, sizeof *ids);
    float *probs = mem_new((size_t)record->n * (size_t)k, sizeof *probs);
    for (int i = 0; i < record->n; i++) {
        const struct logprobs *l = &record->logprobs[i];
        double sum = 0;
        for (int j = 0; j < k; j++) {
            bool known = j < l->n_top && l->top_ids[j] < m->reader->vocabulary;
            ids[i * k + j] = known ? l->top_ids[j] : -1;
            probs[i * k + j] = known ? expf(l->top[j]) : 0;
            sum += probs[i * k + j];
        }
        for (int j = 0; j < k && sum > 0; j++)
            probs[i * k + j] = (float)(probs[i * k + j] / sum);
    }
    sample->soft_k = k;
    sample->soft_ids = ids;
    sample->soft_probs = probs;
    return 0;
}

static int ids_check(const struct example_maker *m, const struct prompt *prompt, const int32_t *answer, int n, struct error *err)
{
    if (prompt->n + n > m->options->max_length)
        return fail(err, "%d tokens, the picture's included; --max-length is %d", prompt->n + n, m->options->max_length);
    for (int i = 0; i < prompt->n + n; i++) {
        int32_t id = i < prompt->n ? prompt->ids[i] : answer[i - prompt->n];
        bool pad = i < prompt->n && id == m->reader->target->image_id; /* is replaced by features */
        if (!pad && (id < 0 || id >= m->reader->vocabulary))
            return fail(err, "token %" PRId32 " is not in the drafter's vocabulary of %d", id, m->reader->vocabulary);
    }
    return 0;
}

/* Joins prompt and answer. */
static void sample_make(struct train_sample *sample, const struct prompt *prompt, const int32_t *answer, int n)
{
    size_t all = (size_t)(prompt->n + n), asked = (size_t)prompt->n;
    int32_t *ids = mem_new(all, sizeof *ids), *labels = mem_new(all, sizeof *labels);
    int32_t(*positions)[3] = mem_new(all, sizeof *positions);
    memcpy(ids, prompt->ids, asked * sizeof *ids);
    memcpy(positions, prompt->positions, asked * sizeof *positions);
    memcpy(ids + asked, answer, (size_t)n * sizeof *ids);
    for (size_t i = 0; i < asked; i++)
        labels[i] = TRAIN_UNSUPERVISED;
    for (int i = 0; i < n; i++) {
        labels[asked + (size_t)i] = answer[i];
        for (int axis = 0; axis < 3; axis++)
            positions[asked + (size_t)i][axis] = prompt->next_position + i;
    }
    *sample = (struct train_sample){.n = (int)all, .ids = ids, .labels = labels, .positions = (const int32_t(*)[3])positions};
}

/* Where its picture and the crops of it stand; their cells, of which the drafter's projector may make another number of tokens. */
static void pictures_place(const struct example_maker *m, struct example *example, const struct prompt *prompt)
{
    int cells = example->rows.shape.lines * example->rows.shape.columns;
    size_t width = (size_t)features_width(m->reader->features);
    example->pictures = mem_new((size_t)prompt->n_pictures, sizeof *example->pictures);
    for (int i = 0; i < prompt->n_pictures; i++)
        example->pictures[i] =
            (struct train_picture){prompt->pictures[i].first, cells, example->rows.numbers + (size_t)i * (size_t)cells * width};
    example->sample.pictures = example->pictures;
    example->sample.n_pictures = prompt->n_pictures;
}

int example_make(const struct example_maker *m, const struct record *record, const struct feature_rows *rows,
                 struct example *example, struct error *err)
{
    struct prompt prompt = {0};
    int32_t *answer = NULL;
    *example = (struct example){.rows = *rows};
    int n = answer_ids(m, record, &answer, err);
    int result = n < 0 || prompt_of(m, &record->question, rows, &prompt, err) || ids_check(m, &prompt, answer, n, err) ? -1 : 0;
    if (!result) {
        sample_make(&example->sample, &prompt, answer, n);
        result = m->options->soft_k ? soft_of(m, record, &example->sample, err) : 0;
    }
    if (!result && prompt.n_pictures)
        pictures_place(m, example, &prompt);
    free(answer);
    prompt_free(&prompt);
    return result;
}

void example_free(struct example *example)
{
    const void *parts[] = {example->sample.ids, example->sample.labels, example->sample.positions, example->sample.soft_ids,
                           example->sample.soft_probs};
    for (size_t i = 0; i < sizeof parts / sizeof *parts; i++)
        free((void *)(uintptr_t)parts[i]); /* made here; const to everybody else */
    free(example->rows.numbers);
    free(example->pictures);
    *example = (struct example){0};
}
