/* dataset.c - a file of records: which of them can be used, and what is known of all of them */
#include "train/dataset.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

#include "base/bar.h"
#include "base/memory.h"
#include "base/signals.h"
#include "train/example.h"
#include "train/ranks.h"

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
    struct example_maker maker;
    struct usable *usable; /* (n) */
    int n, skipped;
    int64_t tokens, supervised;
    struct error first_fault;
};

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

/* The features of its picture, where it has one, on disk and in rows; 1 and -1 as features_add has them. */
static int picture_add(struct dataset *d, const struct question *q, uint64_t hash[2], struct feature_rows *rows, struct error *err)
{
    hash[0] = hash[1] = 0;
    if (!q->path)
        return 0;
    return d->reader.features ? features_add(d->reader.features, q->path, hash, rows, err)
                              : -fail(err, "has a picture, but the target reads none");
}

/* Counts record i where it can be used. 1: it cannot. -1: nothing can be said of it, and the run must end. */
static int record_try(struct dataset *d, int i, const struct record *record, struct error *err)
{
    struct usable usable = {.record = i};
    struct feature_rows rows = {0};
    struct example example = {0};
    int result = picture_add(d, &record->question, usable.picture, &rows, err);
    if (!result)
        result = example_make(&d->maker, record, &rows, &example, err) ? 1 : 0;
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
    if (!result)
        result = record_try(d, i, &record, err);
    if (result > 0) {
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
    int result = example_maker_open(&d->maker, &d->options, &d->reader, err)
                     ? -1
                     : records_open(&d->records, options->path, options->pictures, err);
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
        result = example_make(&d->maker, &record, &rows, example, err);
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
