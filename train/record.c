/* record.c - one record of training data, from and to JSON */
#include "train/record.h"

#include <errno.h>
#include <limits.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"

/* ---- from JSON ---- */

/* A string, or NULL where it is null or not there. */
static int text_take(char **text, const json_t *object, const char *name, struct error *err)
{
    const json_t *value = json_object_get(object, name);
    if (!value || json_is_null(value))
        return 0;
    if (!json_is_string(value))
        return fail(err, "%s: a string is wanted", name);
    *text = mem_string(json_string_value(value));
    return 0;
}

static int whole_take(int *number, const json_t *object, const char *name, int least, struct error *err)
{
    const json_t *value = json_object_get(object, name);
    json_int_t n = json_integer_value(value);
    if (!json_is_integer(value) || n < least || n > INT_MAX)
        return fail(err, "%s: a whole number from %d is wanted", name, least);
    *number = (int)n;
    return 0;
}

static int real_take(double *number, const json_t *object, const char *name, struct error *err)
{
    const json_t *value = json_object_get(object, name);
    if (!json_is_number(value))
        return fail(err, "%s: a number is wanted", name);
    *number = json_number_value(value);
    return 0;
}

static int ids_take(struct record *r, const json_t *object, struct error *err)
{
    const json_t *ids = json_object_get(object, "ids");
    size_t n = json_array_size(ids);
    if (!n || n > INT_MAX)
        return fail(err, "ids: an array of token ids is wanted");
    r->ids = mem_new(n, sizeof *r->ids);
    r->n = (int)n;
    for (size_t i = 0; i < n; i++) {
        const json_t *id = json_array_get(ids, i);
        if (!json_is_integer(id) || json_integer_value(id) < 0 || json_integer_value(id) > INT32_MAX)
            return fail(err, "ids[%zu]: a token id is wanted", i);
        r->ids[i] = (int32_t)json_integer_value(id);
    }
    return 0;
}

static int logprob_take(float *value, const json_t *number)
{
    *value = (float)json_number_value(number);
    return json_is_number(number) && isfinite(*value) ? 0 : -1;
}

/* [logprob, [[id, logprob], ...]] */
static int logprobs_one(struct logprobs *l, const json_t *token)
{
    const json_t *top = json_array_get(token, 1);
    size_t n = json_array_size(top);
    if (logprob_take(&l->chosen, json_array_get(token, 0)) || !json_is_array(top) || n > SAMPLING_TOP_LOGPROBS)
        return -1;
    l->n_top = (int)n;
    for (size_t i = 0; i < n; i++) {
        const json_t *pair = json_array_get(top, i), *id = json_array_get(pair, 0);
        if (!json_is_integer(id) || json_integer_value(id) < 0 || json_integer_value(id) > INT32_MAX ||
            logprob_take(&l->top[i], json_array_get(pair, 1)))
            return -1;
        l->top_ids[i] = (int32_t)json_integer_value(id);
    }
    return 0;
}

static int logprobs_take(struct record *r, const json_t *object, struct error *err)
{
    const json_t *all = json_object_get(object, "logprobs");
    if (!all || json_is_null(all))
        return 0;
    if (json_array_size(all) != (size_t)r->n)
        return fail(err, "logprobs: an array of %d is wanted, one for each id", r->n);
    r->logprobs = mem_new((size_t)r->n, sizeof *r->logprobs);
    for (int i = 0; i < r->n; i++)
        if (logprobs_one(&r->logprobs[i], json_array_get(all, (size_t)i)))
            return fail(err, "logprobs[%d]: [logprob, [[id, logprob], at most %d]] is wanted", i, SAMPLING_TOP_LOGPROBS);
    return 0;
}

static int distilled_take(struct record *r, const json_t *object, struct error *err)
{
    const json_t *seed = json_object_get(object, "seed");
    if (!json_is_integer(seed))
        return fail(err, "seed: a whole number is wanted");
    r->seed = (uint64_t)json_integer_value(seed);
    if (ids_take(r, object, err) || logprobs_take(r, object, err) || text_take(&r->finish, object, "finish", err) ||
        text_take(&r->target, object, "target", err) || text_take(&r->fingerprint, object, "fingerprint", err) ||
        whole_take(&r->line, object, "line", 1, err) || whole_take(&r->sample, object, "sample", 0, err) ||
        whole_take(&r->max_tokens, object, "max_tokens", 0, err) || real_take(&r->temperature, object, "temperature", err) ||
        real_take(&r->top_p, object, "top_p", err))
        return -1;
    return r->finish ? 0 : fail(err, "finish: stop or length is wanted");
}

int record_take(struct record *r, const json_t *object, struct error *err)
{
    *r = (struct record){0};
    if (question_take(&r->question, object, err) || text_take(&r->answer, object, "answer", err) ||
        (r->answer && distilled_take(r, object, err))) {
        record_free(r);
        return -1;
    }
    return 0;
}

/* ---- to JSON ---- */

static json_t *text_or_null(const char *text)
{
    return text ? json_string(text) : json_null();
}

/* Six digits of a log-probability are more than its arithmetic has, and half as long as all. */
static json_t *logprob_json(float value)
{
    char digits[32];
    snprintf(digits, sizeof digits, "%.6g", (double)value);
    return json_real(strtod(digits, NULL));
}

static json_t *logprobs_json(const struct logprobs *l)
{
    json_t *top = json_array();
    for (int i = 0; i < l->n_top; i++)
        json_array_append_new(top, json_pack("[io]", l->top_ids[i], logprob_json(l->top[i])));
    return json_pack("[oo]", logprob_json(l->chosen), top);
}

static void distilled_add(json_t *object, const struct record *r)
{
    json_t *ids = json_array(), *logprobs = r->logprobs ? json_array() : NULL;
    for (int i = 0; i < r->n; i++) {
        json_array_append_new(ids, json_integer(r->ids[i]));
        if (logprobs)
            json_array_append_new(logprobs, logprobs_json(&r->logprobs[i]));
    }
    json_t *more =
        json_pack("{ss so ss si si sf sf sI si so so}", "answer", r->answer, "ids", ids, "finish", r->finish, "line", r->line,
                  "sample", r->sample, "temperature", r->temperature, "top_p", r->top_p, "seed", (json_int_t)r->seed, "max_tokens",
                  r->max_tokens, "target", text_or_null(r->target), "fingerprint", text_or_null(r->fingerprint));
    json_object_update(object, more);
    json_decref(more);
    if (logprobs)
        json_object_set_new(object, "logprobs", logprobs);
}

static json_t *question_json(const struct question *q)
{
    json_t *object = json_pack("{so ss}", "image", text_or_null(q->image), "prompt", q->prompt);
    if (q->n_earlier) {
        json_t *earlier = json_array();
        for (int i = 0; i < q->n_earlier; i++)
            json_array_append_new(earlier, json_string(q->earlier[i]));
        json_object_set_new(object, "earlier", earlier);
    }
    if (q->reference)
        json_object_set_new(object, "reference", json_string(q->reference));
    if (q->task)
        json_object_set_new(object, "task", json_string(q->task));
    return object;
}

char *record_text(const struct record *r)
{
    json_t *object = question_json(&r->question);
    if (r->answer)
        distilled_add(object, r);
    char *json = json_dumps(object, JSON_COMPACT | JSON_REAL_PRECISION(8)), *text = mem_format("%s\n", json);
    free(json);
    json_decref(object);
    return text;
}

void record_free(struct record *r)
{
    question_free(&r->question);
    free(r->answer);
    free(r->ids);
    free(r->logprobs);
    free(r->finish);
    free(r->target);
    free(r->fingerprint);
    *r = (struct record){0};
}

/* ---- paths ---- */

/* The folder of a file, without detours; malloc'ed, "" for the root. */
static char *folder_of(const char *file, struct error *err)
{
    const char *slash = strrchr(file, '/');
    char *folder = slash ? mem_format("%.*s", slash == file ? 1 : (int)(slash - file), file) : mem_string(".");
    char *real = realpath(folder, NULL);
    if (!real)
        fail(err, "%s: %s", folder, strerror(errno));
    else if (!strcmp(real, "/"))
        *real = 0;
    free(folder);
    return real;
}

/* Both begin with '/' or are empty. How far they go through the same folders. */
static size_t common_folders(const char *a, const char *b)
{
    size_t same = 0;
    for (size_t i = 0;; i++) {
        if ((a[i] == '/' || !a[i]) && (b[i] == '/' || !b[i]))
            same = i;
        if (!a[i] || a[i] != b[i])
            return same;
    }
}

char *record_path_from(const char *to, const char *from, const char *path, struct error *err)
{
    if (*path == '/')
        return mem_string(path);
    char *here = folder_of(to, err), *there = here ? folder_of(from, err) : NULL, *seen = NULL;
    if (there) {
        size_t same = common_folders(here, there);
        seen = mem_string("");
        for (const char *up = here + same; *up; up++)
            if (*up == '/') {
                char *longer = mem_format("../%s", seen);
                free(seen);
                seen = longer;
            }
        const char *down = there + same + (there[same] == '/');
        char *whole = mem_format("%s%s%s%s", seen, down, *down ? "/" : "", path);
        free(seen);
        seen = whole;
    }
    free(here);
    free(there);
    return seen;
}
