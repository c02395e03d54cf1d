/* dataset.c - records to samples, and what is known of all of them */
#include "train/dataset.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

#include "base/bar.h"
#include "base/memory.h"
#include "base/signals.h"
#include "model/prompt.h"
#include "train/ranks.h"
#include "train/record.h"

enum { BLOCK = 16 }; /* records of a rank between two meetings; of large pictures that is minutes of a slow tower */

struct usable { /* a record that can be used */
    int record;
    uint64_t picture[2];
    uint64_t key; /* of picture, turns before and prompt */
};

struct dataset {
    struct dataset_options options;
    struct dataset_reader reader;
    struct records *records;
    int32_t end_id;        /* of an assistant's turn */
    struct usable *usable; /* (n) */
    int n, skipped;
    int64_t tokens, supervised;
    struct error first_fault;
};

/* ---- a record to a sample ---- */

/* The id that ends an assistant's turn: what follows an empty answer in a conversation that goes on. */
static int end_find(struct dataset *d, struct error *err)
{
    const struct prompt_part word = {"x"}, nothing = {""};
    const struct prompt_turn turns[] = {{ROLE_USER, &word, 1}, {ROLE_ASSISTANT, &nothing, 1}, {ROLE_USER, &word, 1}};
    struct prompt asked = {0}, answered = {0};
    const struct dataset_reader *r = &d->reader;
    int result = prompt_make_turns(&asked, r->target, r->tokenizer, turns, 1, NULL, 0, err) ||
                         prompt_make_turns(&answered, r->target, r->tokenizer, turns, 3, NULL, 0, err)
                     ? -1
                     : 0;
    if (!result)
        d->end_id = answered.ids[asked.n];
    prompt_free(&asked);
    prompt_free(&answered);
    return result;
}

/* malloc'ed ids of the answer with its end; the number, or -1. */
static int answer_ids(const struct dataset *d, const struct record *record, int32_t **ids, struct error *err)
{
    if (d->options.labels == LABELS_TARGET || (d->options.labels == LABELS_EITHER && record->answer)) {
        if (!record->answer || record->n < 1)
            return fail(err, "has no answer of a target; `massv-train distill` makes such files");
        *ids = mem_new((size_t)record->n, sizeof **ids);
        memcpy(*ids, record->ids, (size_t)record->n * sizeof **ids);
        return record->n;
    }
    if (!record->question.reference)
        return fail(err, "has no reference to learn from");
    int n = tokenizer_encode(d->reader.tokenizer, record->question.reference, strlen(record->question.reference), false, ids, err);
    if (n < 0)
        return -1;
    *ids = mem_grow(*ids, (size_t)n + 1, sizeof **ids);
    (*ids)[n] = d->end_id;
    return n + 1;
}

static int prompt_of(const struct dataset *d, const struct question *q, const struct feature_rows *rows, struct prompt *prompt,
                     struct error *err)
{
    const struct prompt_question question = {q->earlier, q->n_earlier, q->prompt, q->image ? &rows->shape : NULL};
    struct prompt targets;
    if (prompt_make_question(&targets, d->reader.target, d->reader.tokenizer, &question, err))
        return -1;
    prompt_for_projector(prompt, &targets, d->reader.drafter);
    prompt_free(&targets);
    return 0;
}

/* The k most probable ids of each answer token that the drafter knows, their probabilities summing to 1. */
static int soft_of(const struct dataset *d, const struct record *record, struct train_sample *sample, struct error *err)
{
    int k = d->options.soft_k;
    if (!record->logprobs)
        return fail(err, "has no logprobs; `massv-train distill --logprobs K` stores them");
    int32_t *ids = mem_new((size_t)record->n * (size_t)k, sizeof *ids);
    float *probs = mem_new((size_t)record->n * (size_t)k, sizeof *probs);
    for (int i = 0; i < record->n; i++) {
        const struct logprobs *l = &record->logprobs[i];
        double sum = 0;
        for (int j = 0; j < k; j++) {
            bool known = j < l->n_top && l->top_ids[j] < d->reader.vocabulary;
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

static int ids_check(const struct dataset *d, const struct prompt *prompt, const int32_t *answer, int n, struct error *err)
{
    if (prompt->n + n > d->options.max_length)
        return fail(err, "%d tokens, the picture's included; --max-length is %d", prompt->n + n, d->options.max_length);
    for (int i = 0; i < prompt->n + n; i++) {
        int32_t id = i < prompt->n ? prompt->ids[i] : answer[i - prompt->n];
        bool pad = i < prompt->n && id == d->reader.target->image_id; /* is replaced by features */
        if (!pad && (id < 0 || id >= d->reader.vocabulary))
            return fail(err, "token %" PRId32 " is not in the drafter's vocabulary of %d", id, d->reader.vocabulary);
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
static void pictures_place(const struct dataset *d, struct example *example, const struct prompt *prompt)
{
    int cells = example->rows.shape.lines * example->rows.shape.columns;
    size_t width = (size_t)features_width(d->reader.features);
    example->pictures = mem_new((size_t)prompt->n_pictures, sizeof *example->pictures);
    for (int i = 0; i < prompt->n_pictures; i++)
        example->pictures[i] =
            (struct train_picture){prompt->pictures[i].first, cells, example->rows.numbers + (size_t)i * (size_t)cells * width};
    example->sample.pictures = example->pictures;
    example->sample.n_pictures = prompt->n_pictures;
}

/* rows: of the record's picture, if it has one; the example's afterwards, also where -1 is returned. */
static int example_make(const struct dataset *d, const struct record *record, const struct feature_rows *rows,
                        struct example *example, struct error *err)
{
    struct prompt prompt = {0};
    int32_t *answer = NULL;
    *example = (struct example){.rows = *rows};
    int n = answer_ids(d, record, &answer, err);
    int result = n < 0 || prompt_of(d, &record->question, rows, &prompt, err) || ids_check(d, &prompt, answer, n, err) ? -1 : 0;
    if (!result) {
        sample_make(&example->sample, &prompt, answer, n);
        result = d->options.soft_k ? soft_of(d, record, &example->sample, err) : 0;
    }
    if (!result && prompt.n_pictures)
        pictures_place(d, example, &prompt);
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

/* ---- opening ---- */

static uint64_t key_of(const struct question *q, const uint64_t picture[2])
{
    uint64_t key = picture[0] ^ picture[1];
    for (int i = 0; i <= q->n_earlier; i++) {
        const char *text = i < q->n_earlier ? q->earlier[i] : q->prompt;
        key = XXH3_64bits_withSeed(text, strlen(text), key);
    }
    return key;
}

/* The features of its picture, where it has one, on disk and in rows. */
static int picture_add(struct dataset *d, const struct question *q, uint64_t hash[2], struct feature_rows *rows, struct error *err)
{
    hash[0] = hash[1] = 0;
    if (!q->path)
        return 0;
    return d->reader.features ? features_add(d->reader.features, q->path, hash, rows, err)
                              : fail(err, "has a picture, but the target reads none");
}

/* Counts record i where it can be used. */
static int record_try(struct dataset *d, int i, const struct record *record, struct error *err)
{
    struct usable usable = {.record = i};
    struct feature_rows rows = {0};
    struct example example = {0};
    if (picture_add(d, &record->question, usable.picture, &rows, err))
        return -1;
    int result = example_make(d, record, &rows, &example, err);
    if (!result) {
        usable.key = key_of(&record->question, usable.picture);
        d->tokens += example.sample.n;
        d->supervised += train_sample_supervised(&example.sample);
        d->usable[d->n++] = usable;
    }
    example_free(&example);
    return result;
}

/* Tries record i, and skips it where it cannot be used and that is allowed. */
static int record_use(struct dataset *d, int i, struct error *err)
{
    struct record record;
    int result = records_read(d->records, i, &record, err);
    if (result < 0)
        return -1;
    if (result || record_try(d, i, &record, err)) {
        result = records_blame(d->records, i, err);
        if (d->options.skip_errors) {
            if (!d->skipped++)
                d->first_fault = *err;
            result = 0;
        }
    }
    record_free(&record);
    return result;
}

/* This rank's part of the pictures of records [first, end): what it finds wrong comes again when the record is tried. 1: a signal
 * came. */
static int pictures_share(struct dataset *d, int first, int end)
{
    struct comm *comm = d->reader.comm;
    for (int i = first + comm->rank; i < end && comm->size > 1; i += comm->size) {
        struct record record;
        struct feature_rows rows = {0};
        struct error ignored;
        uint64_t hash[2];
        if (!records_read(d->records, i, &record, &ignored))
            picture_add(d, &record.question, hash, &rows, &ignored);
        free(rows.numbers);
        record_free(&record);
        if (signals_pending())
            return 1;
    }
    return 0;
}

static int records_use(struct dataset *d, int first, int end, struct error *err)
{
    for (int i = first; i < end; i++) {
        if (record_use(d, i, err))
            return -1;
        if (signals_pending())
            return 1;
    }
    return 0;
}

/* Every rank tries every record, behind the ranks' shares of their pictures. They meet often: one that is ahead does not wait long.
 */
static int records_take(struct dataset *d, struct error *err)
{
    struct comm *comm = d->reader.comm;
    struct bar bar;
    int n = records_count(d->records), result = 0;
    if (d->options.limit && d->options.limit < n)
        n = d->options.limit;
    d->usable = mem_new((size_t)n, sizeof *d->usable);
    bar_begin(&bar);
    for (int first = 0, end; first < n && !result; first = end) {
        end = n - first > BLOCK * comm->size ? first + BLOCK * comm->size : n;
        result = ranks_agree(comm, pictures_share(d, first, end), err);
        if (!result)
            result = ranks_agree(comm, records_use(d, first, end, err), err);
        if (d->options.bar_words)
            bar_show(&bar, end, n, d->options.bar_words);
    }
    bar_end(&bar);
    if (!result && !d->n)
        result = fail(err, "%s: no record can be used; the first: %s", d->options.path, d->first_fault.text);
    return result;
}

int dataset_open(struct dataset **dataset, const struct dataset_options *options, const struct dataset_reader *reader,
                 struct error *err)
{
    struct dataset *d = mem_new(1, sizeof *d);
    *d = (struct dataset){.options = *options, .reader = *reader};
    int result = end_find(d, err) ? -1 : records_open(&d->records, options->path, options->pictures, err);
    result = ranks_agree(reader->comm, result, err);
    if (!result)
        result = records_take(d, err);
    if (result)
        dataset_close(d);
    else
        *dataset = d;
    return result;
}

void dataset_close(struct dataset *d)
{
    if (!d)
        return;
    records_close(d->records);
    free(d->usable);
    free(d);
}

/* ---- asking ---- */

int dataset_count(const struct dataset *d)
{
    return d->n;
}

int dataset_skipped(const struct dataset *d)
{
    return d->skipped;
}

const char *dataset_first_fault(const struct dataset *d)
{
    return d->skipped ? d->first_fault.text : "";
}

int64_t dataset_tokens(const struct dataset *d)
{
    return d->tokens;
}

int64_t dataset_supervised(const struct dataset *d)
{
    return d->supervised;
}

int dataset_example(struct dataset *d, int i, struct example *example, struct error *err)
{
    struct record record;
    struct feature_rows rows = {0};
    const struct usable *usable = &d->usable[i];
    *example = (struct example){0};
    if (records_read(d->records, usable->record, &record, err))
        return -1;
    int result = record.question.image ? features_read(d->reader.features, usable->picture, &rows, err) : 0;
    if (!result)
        result = example_make(d, &record, &rows, example, err);
    record_free(&record);
    if (result)
        example_free(example);
    return result;
}

int dataset_blame(const struct dataset *d, int i, struct error *err)
{
    return records_blame(d->records, d->usable[i].record, err);
}

static int keys_compare(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return (x > y) - (x < y);
}

int dataset_overlap(const struct dataset *a, const struct dataset *b, struct error *err)
{
    int found = 0;
    uint64_t *keys = mem_new((size_t)a->n, sizeof *keys);
    for (int i = 0; i < a->n; i++)
        keys[i] = a->usable[i].key;
    qsort(keys, (size_t)a->n, sizeof *keys, keys_compare);
    for (int i = 0; i < b->n && !found; i++)
        if (bsearch(&b->usable[i].key, keys, (size_t)a->n, sizeof *keys, keys_compare)) {
            fail(err, "the same picture and prompt are in %s", a->options.path);
            dataset_blame(b, i, err);
            found = 1;
        }
    free(keys);
    return found;
}
