/* tokenizer_file.c - tokenizer.json to tables: vocabulary, merges, added tokens, and what the kind of file adds. Files that ask for
 * anything but BPE of one of the kinds are refused by the name of what they ask for. */
#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "model/tokenizer_parts.h"
#include "model/utf8.h"

enum { IDS_MAX = 1 << 24 }; /* far above any vocabulary; keeps a lying id from asking for gigabytes */

int tokenizer_expect_string(const struct reading *r, const json_t *object, const char *where, const char *name, const char *want)
{
    const json_t *value = json_object_get(object, name);
    const char *text = json_string_value(value);
    if (!text || strcmp(text, want) != 0)
        return fail(r->err, "%s: %s.%s is %s; supported is \"%s\"", r->path, where, name, text ? text : "missing", want);
    return 0;
}

int tokenizer_expect_nothing(const struct reading *r, const json_t *object, const char *where, const char *name)
{
    const json_t *value = json_object_get(object, name);
    bool nothing = !value || json_is_null(value) || json_is_false(value) ||
                   (json_is_number(value) && json_number_value(value) == 0) ||
                   (json_is_string(value) && json_string_length(value) == 0);
    return nothing ? 0 : fail(r->err, "%s: %s.%s is set; that is not supported", r->path, where, name);
}

int64_t tokenizer_pool_add(const struct reading *r, const char *bytes, size_t size)
{
    struct tokenizer *t = r->t;
    size_t at = t->pool_size;
    if (at + size + 1 > t->pool_room) {
        t->pool_room = 2 * (at + size + 1);
        t->pool = mem_grow(t->pool, t->pool_room, 1);
    }
    if (at + size > UINT32_MAX)
        return fail(r->err, "%s: more than 4 GB of tokens", r->path);
    memcpy(t->pool + at, bytes, size);
    t->pool_size += size;
    return (int64_t)at;
}

static int add_token(const struct reading *r, json_int_t id, const char *bytes, size_t size)
{
    struct tokenizer *t = r->t;
    if (id < 0 || id >= IDS_MAX)
        return fail(r->err, "%s: id %" JSON_INTEGER_FORMAT " is outside 0..%d", r->path, id, IDS_MAX - 1);
    if (id >= t->n) {
        int n = (int)id + 1;
        t->tokens = mem_grow(t->tokens, (size_t)n, sizeof *t->tokens);
        memset(t->tokens + t->n, 0, (size_t)(n - t->n) * sizeof *t->tokens);
        t->n = n;
    }
    struct token *token = &t->tokens[id];
    if (token->used) {
        if (token->size == size && memcmp(t->pool + token->offset, bytes, size) == 0)
            return 0;
        return fail(r->err, "%s: two tokens have the id %" JSON_INTEGER_FORMAT, r->path, id);
    }
    int64_t at = tokenizer_pool_add(r, bytes, size);
    if (at < 0)
        return -1;
    *token = (struct token){.offset = (uint32_t)at, .size = (uint32_t)size, .used = true};
    token->text_offset = token->offset;
    token->text_size = token->size;
    return 0;
}

static int read_vocabulary(const struct reading *r, json_t *vocabulary)
{
    if (!json_is_object(vocabulary) || json_object_size(vocabulary) == 0)
        return fail(r->err, "%s: model.vocab is missing, or no object of tokens and ids", r->path);
    const char *key;
    json_t *value;
    char *bytes = NULL;
    int rc = 0;
    json_object_foreach(vocabulary, key, value)
    {
        size_t size = strlen(key);
        bytes = mem_grow(bytes, size + 1, 1);
        int n = r->format->content(key, size, bytes);
        if (n < 1)
            rc = fail(r->err, "%s: model.vocab: \"%.80s\" %s", r->path, key, r->format->refusal);
        else if (!json_is_integer(value))
            rc = fail(r->err, "%s: model.vocab: the id of \"%.80s\" is no whole number", r->path, key);
        else
            rc = add_token(r, json_integer_value(value), bytes, (size_t)n);
        if (rc)
            break;
    }
    free(bytes);
    return rc;
}

static int index_vocabulary(const struct reading *r)
{
    struct tokenizer *t = r->t;
    token_table_make(&t->contents, (size_t)t->n);
    for (int32_t id = 0; id < t->n; id++) {
        const struct token *token = &t->tokens[id];
        if (!token->used)
            continue;
        if (token_table_find(&t->contents, t, t->pool + token->offset, token->size) >= 0)
            return fail(r->err, "%s: id %d has the content of another token", r->path, (int)id);
        token_table_put(&t->contents, t, id);
    }
    for (int b = 0; b < 256; b++) {
        char name[8];
        t->byte_ids[b] = token_table_find(&t->contents, t, name, (size_t)r->format->byte(b, name));
        if (t->byte_ids[b] < 0)
            return fail(r->err, "%s: model.vocab has no token for byte 0x%02x; all 256 are needed", r->path, (unsigned)b);
    }
    return 0;
}

/* The two halves of a merge: ["a", "b"] or "a b". */
static int split_merge(const json_t *entry, const char *half[2], size_t size[2])
{
    if (json_is_array(entry) && json_array_size(entry) == 2) {
        for (size_t i = 0; i < 2; i++) {
            const json_t *part = json_array_get(entry, i);
            half[i] = json_string_value(part);
            if (!half[i])
                return -1;
            size[i] = json_string_length(part);
        }
        return 0;
    }
    half[0] = json_string_value(entry);
    const char *space = half[0] ? strchr(half[0], ' ') : NULL;
    if (!space)
        return -1;
    half[1] = space + 1;
    size[0] = (size_t)(space - half[0]);
    size[1] = json_string_length(entry) - size[0] - 1;
    return 0;
}

static int read_merge(const struct reading *r, const json_t *entry, int rank)
{
    const char *half[2];
    size_t size[2];
    if (split_merge(entry, half, size))
        return fail(r->err, "%s: model.merges[%d] is neither \"a b\" nor [\"a\", \"b\"]", r->path, rank);
    struct tokenizer *t = r->t;
    char *bytes = mem_new(size[0] + size[1] + 1, 1);
    int n[2], rc = 0;
    n[0] = r->format->content(half[0], size[0], bytes);
    n[1] = n[0] < 0 ? -1 : r->format->content(half[1], size[1], bytes + n[0]);
    struct merge merge = {.left = -1, .right = -1, .rank = rank, .id = -1};
    if (n[0] > 0 && n[1] > 0) {
        merge.left = token_table_find(&t->contents, t, bytes, (size_t)n[0]);
        merge.right = token_table_find(&t->contents, t, bytes + n[0], (size_t)n[1]);
        merge.id = token_table_find(&t->contents, t, bytes, (size_t)(n[0] + n[1]));
    }
    if (merge.left < 0 || merge.right < 0 || merge.id < 0)
        rc = fail(r->err, "%s: model.merges[%d]: \"%.*s\" + \"%.*s\" or their sum is not in model.vocab", r->path, rank,
                  (int)(size[0] < 80 ? size[0] : 80), half[0], (int)(size[1] < 80 ? size[1] : 80), half[1]);
    else
        merge_table_put(&t->merges, &merge);
    free(bytes);
    return rc;
}

static int read_merges(const struct reading *r, const json_t *merges)
{
    if (!json_is_array(merges))
        return fail(r->err, "%s: model.merges is missing, or no list", r->path);
    if (json_array_size(merges) > IDS_MAX)
        return fail(r->err, "%s: model.merges has more than %d entries", r->path, IDS_MAX);
    int count = (int)json_array_size(merges);
    merge_table_make(&r->t->merges, (size_t)count);
    for (int i = 0; i < count; i++)
        if (read_merge(r, json_array_get(merges, (size_t)i), i))
            return -1;
    return 0;
}

static int read_model(const struct reading *r, const json_t *root)
{
    json_t *model = json_object_get(root, "model");
    if (tokenizer_expect_string(r, model, "model", "type", "BPE"))
        return -1;
    for (const char *const *name = r->format->unsupported; *name; name++)
        if (tokenizer_expect_nothing(r, model, "model", *name))
            return -1;
    return read_vocabulary(r, json_object_get(model, "vocab")) || index_vocabulary(r) ||
                   read_merges(r, json_object_get(model, "merges"))
               ? -1
               : 0;
}

static int read_added_token(const struct reading *r, const json_t *entry, size_t i)
{
    static const char *const unsupported[] = {"single_word", "lstrip", "rstrip", "normalized"};
    const json_t *content = json_object_get(entry, "content"), *id = json_object_get(entry, "id");
    if (!json_is_string(content) || json_string_length(content) == 0 || !json_is_integer(id))
        return fail(r->err, "%s: added_tokens[%zu] has no content or no id", r->path, i);
    for (size_t k = 0; k < sizeof unsupported / sizeof *unsupported; k++)
        if (json_is_true(json_object_get(entry, unsupported[k])))
            return fail(r->err, "%s: added_tokens[%zu] (\"%.80s\"): %s is not supported", r->path, i, json_string_value(content),
                        unsupported[k]);
    json_int_t number = json_integer_value(id);
    bool known = number >= 0 && number < r->t->n && r->t->tokens[number].used;
    if (add_token(r, number, json_string_value(content), json_string_length(content)))
        return -1;
    struct token *token = &r->t->tokens[number];
    token->added = true;
    token->special = json_is_true(json_object_get(entry, "special"));
    token->plain = known && !token->special;
    return 0;
}

/* First byte, then the longest first; qsort_r passes the tokenizer. */
static int compare_added(const void *a, const void *b, void *context)
{
    const struct tokenizer *t = context;
    const struct token *x = &t->tokens[*(const int32_t *)a], *y = &t->tokens[*(const int32_t *)b];
    int first = (unsigned char)t->pool[x->offset] - (unsigned char)t->pool[y->offset];
    return first ? first : (x->size < y->size) - (x->size > y->size);
}

static void index_added(struct tokenizer *t)
{
    int n = 0;
    for (int32_t id = 0; id < t->n; id++)
        if (t->tokens[id].added) {
            t->added = mem_grow(t->added, (size_t)n + 1, sizeof *t->added);
            t->added[n++] = id;
        }
    if (n > 0)
        qsort_r(t->added, (size_t)n, sizeof *t->added, compare_added, t);
    for (int b = 0, at = 0; b < 256; b++) {
        t->added_first[b] = at;
        while (at < n && (unsigned char)t->pool[t->tokens[t->added[at]].offset] == b)
            at++;
        t->added_first[b + 1] = at;
    }
}

static int read_added(const struct reading *r, const json_t *root)
{
    const json_t *list = json_object_get(root, "added_tokens");
    if (list && !json_is_null(list) && !json_is_array(list))
        return fail(r->err, "%s: added_tokens is no list", r->path);
    for (size_t i = 0; i < json_array_size(list); i++)
        if (read_added_token(r, json_array_get(list, i), i))
            return -1;
    index_added(r->t);
    /* Again, with the added tokens in it. */
    free(r->t->contents.slots);
    r->t->contents.slots = NULL;
    return index_vocabulary(r);
}

/* The decoder tells the kind of file. */
static int read_all(struct reading *r, const json_t *root)
{
    const char *decoder = json_string_value(json_object_get(json_object_get(root, "decoder"), "type"));
    r->format = decoder && !strcmp(decoder, "Sequence") ? &tokenizer_metaspace : &tokenizer_bytelevel;
    if (read_model(r, root) || read_added(r, root) || r->format->sections(r, root))
        return -1;
    return r->format->texts ? r->format->texts(r) : 0;
}

int tokenizer_read(struct tokenizer *t, const char *path, struct error *err)
{
    struct reading r = {.t = t, .path = path, .err = err};
    json_error_t error;
    json_t *root = json_load_file(path, JSON_REJECT_DUPLICATES, &error);
    if (!root && error.line < 0)
        return fail(err, "%s", error.text); /* it could not be read; the text names the file */
    if (!root)
        return fail(err, "%s: line %d: %s", path, error.line, error.text);
    int rc = -1;
    if (!json_is_object(root))
        fail(err, "%s: no JSON object", path);
    else
        rc = read_all(&r, root);
    json_decref(root);
    return rc;
}
