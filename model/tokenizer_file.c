/* tokenizer_file.c - tokenizer.json to tables: vocabulary, merges, added tokens, split pattern. Files that ask for anything but
 * byte-level BPE as in Qwen2.5 are refused by the name of what they ask for. */
#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "model/tokenizer_parts.h"
#include "model/utf8.h"

enum { IDS_MAX = 1 << 24 }; /* far above any vocabulary; keeps a lying id from asking for gigabytes */

struct reading {
    struct tokenizer *t;
    const char *path;
    struct error *err;
    int16_t byte_of[512]; /* code point of the vocabulary's alphabet to byte, or -1 */
};

/* The vocabulary writes bytes as printable characters: 33-126, 161-172 and 174-255 as themselves, the others as 256, 257, ... */
static void alphabet_make(int16_t byte_of[512])
{
    int other = 256;
    for (int i = 0; i < 512; i++)
        byte_of[i] = -1;
    for (int16_t b = 0; b < 256; b++) {
        bool printable = (b >= 33 && b <= 126) || (b >= 161 && b <= 172) || b >= 174;
        byte_of[printable ? b : other++] = b;
    }
}

/* text, written in the alphabet, to bytes; returns their number, or -1 where a character is not of the alphabet. */
static int alphabet_decode(const struct reading *r, const char *text, size_t size, char *bytes)
{
    int n = 0;
    for (size_t i = 0; i < size; i++) {
        unsigned char first = (unsigned char)text[i];
        unsigned code = first;
        if (first >= 0xc0 && first < 0xe0) /* JSON strings are whole UTF-8: the second byte is there */
            code = (unsigned)(first & 0x1f) << 6 | ((unsigned char)text[++i] & 0x3f);
        if (first >= 0xe0 || code >= 512 || r->byte_of[code] < 0)
            return -1;
        bytes[n++] = (char)r->byte_of[code];
    }
    return n;
}

/* Field `name` of `object` must be absent, null, or this string. */
static int expect_string(const struct reading *r, const json_t *object, const char *where, const char *name, const char *want)
{
    const json_t *value = json_object_get(object, name);
    const char *text = json_string_value(value);
    if (!text || strcmp(text, want) != 0)
        return fail(r->err, "%s: %s.%s is %s; supported is \"%s\" (byte-level BPE as in Qwen2.5)", r->path, where, name,
                    text ? text : "missing", want);
    return 0;
}

/* Field `name` must not ask for anything: absent, null, false, 0 or "". */
static int expect_nothing(const struct reading *r, const json_t *object, const char *where, const char *name)
{
    const json_t *value = json_object_get(object, name);
    bool nothing = !value || json_is_null(value) || json_is_false(value) ||
                   (json_is_number(value) && json_number_value(value) == 0) ||
                   (json_is_string(value) && json_string_length(value) == 0);
    return nothing ? 0 : fail(r->err, "%s: %s.%s is set; that is not supported", r->path, where, name);
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
    if (t->pool_size + size + 1 > t->pool_room) {
        t->pool_room = 2 * (t->pool_size + size + 1);
        t->pool = mem_grow(t->pool, t->pool_room, 1);
    }
    if (t->pool_size + size > UINT32_MAX)
        return fail(r->err, "%s: more than 4 GB of tokens", r->path);
    memcpy(t->pool + t->pool_size, bytes, size);
    *token = (struct token){.offset = (uint32_t)t->pool_size, .size = (uint32_t)size, .used = true};
    t->pool_size += size;
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
        int n = alphabet_decode(r, key, size, bytes);
        if (n < 1)
            rc = fail(r->err, "%s: model.vocab: \"%.80s\" is not written in the byte-level alphabet", r->path, key);
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
        char byte = (char)b;
        t->byte_ids[b] = token_table_find(&t->contents, t, &byte, 1);
        if (t->byte_ids[b] < 0)
            return fail(r->err, "%s: model.vocab has no token for byte 0x%02x; byte-level BPE needs all 256", r->path, (unsigned)b);
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
    n[0] = alphabet_decode(r, half[0], size[0], bytes);
    n[1] = n[0] < 0 ? -1 : alphabet_decode(r, half[1], size[1], bytes + n[0]);
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
    static const char *const unsupported[] = {"byte_fallback",      "ignore_merges", "continuing_subword_prefix",
                                              "end_of_word_suffix", "dropout",       "unk_token"};
    if (expect_string(r, model, "model", "type", "BPE"))
        return -1;
    for (size_t i = 0; i < sizeof unsupported / sizeof *unsupported; i++)
        if (expect_nothing(r, model, "model", unsupported[i]))
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
    if (add_token(r, json_integer_value(id), json_string_value(content), json_string_length(content)))
        return -1;
    struct token *token = &r->t->tokens[json_integer_value(id)];
    token->added = true;
    token->special = json_is_true(json_object_get(entry, "special"));
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

/* PCRE2's \s has U+180E, which is no white space in Unicode since 6.3 nor in the regular expressions that the file was made for. */
static char *translate_pattern(const char *regex)
{
    char *out = mem_new(strlen(regex) * 16 + 1, 1), *to = out;
    for (const char *from = regex; *from; from++) {
        if (from[0] == '\\' && (from[1] == 's' || from[1] == 'S')) {
            to = stpcpy(to, from[1] == 's' ? "\\p{White_Space}" : "\\P{White_Space}");
            from++;
        } else {
            *to++ = *from;
            if (from[0] == '\\' && from[1])
                *to++ = *++from;
        }
    }
    return out;
}

static int compile_pattern(const struct reading *r, const char *regex)
{
    char *pattern = translate_pattern(regex);
    int code, rc = 0;
    PCRE2_SIZE offset;
    r->t->pattern = pcre2_compile((PCRE2_SPTR)pattern, PCRE2_ZERO_TERMINATED, PCRE2_UTF | PCRE2_UCP, &code, &offset, NULL);
    if (!r->t->pattern) {
        PCRE2_UCHAR text[200];
        pcre2_get_error_message(code, text, sizeof text);
        rc = fail(r->err, "%s: pre_tokenizer: the Split pattern is wrong: %s", r->path, (const char *)text);
    } else {
        pcre2_jit_compile(r->t->pattern, PCRE2_JIT_COMPLETE); /* without a JIT the interpreter does the same, slower */
    }
    free(pattern);
    return rc;
}

static int read_splitting(const struct reading *r, const json_t *root)
{
    const json_t *pre = json_object_get(root, "pre_tokenizer"), *parts = json_object_get(pre, "pretokenizers");
    const json_t *split = json_array_get(parts, 0), *bytes = json_array_get(parts, 1);
    if (expect_string(r, pre, "pre_tokenizer", "type", "Sequence"))
        return -1;
    if (json_array_size(parts) != 2)
        return fail(r->err, "%s: pre_tokenizer.pretokenizers has %zu parts; supported are two, Split and ByteLevel", r->path,
                    json_array_size(parts));
    if (expect_string(r, split, "pre_tokenizer.pretokenizers[0]", "type", "Split") ||
        expect_string(r, split, "pre_tokenizer.pretokenizers[0]", "behavior", "Isolated") ||
        expect_nothing(r, split, "pre_tokenizer.pretokenizers[0]", "invert") ||
        expect_string(r, bytes, "pre_tokenizer.pretokenizers[1]", "type", "ByteLevel") ||
        expect_nothing(r, bytes, "pre_tokenizer.pretokenizers[1]", "add_prefix_space") ||
        expect_nothing(r, bytes, "pre_tokenizer.pretokenizers[1]", "use_regex"))
        return -1;
    const char *regex = json_string_value(json_object_get(json_object_get(split, "pattern"), "Regex"));
    if (!regex)
        return fail(r->err, "%s: pre_tokenizer.pretokenizers[0].pattern has no Regex", r->path);
    return compile_pattern(r, regex);
}

/* A text is encoded without what goes around it, which must be nothing: the template as transformers 5 writes it. */
static int read_post_processor(const struct reading *r, const json_t *post)
{
    const char *type = json_string_value(json_object_get(post, "type"));
    const json_t *special = json_object_get(post, "special_tokens");
    if (!json_is_object(post))
        return 0;
    if (!type || strcmp(type, "TemplateProcessing"))
        return expect_string(r, post, "post_processor", "type", "ByteLevel");
    if (!json_is_object(special) || json_object_size(special) > 0)
        return fail(r->err, "%s: post_processor.special_tokens must be {}: a template that adds tokens is not supported", r->path);
    return 0;
}

/* Sections that must be absent, or of this type. */
static int read_rest(const struct reading *r, const json_t *root)
{
    const json_t *normalizer = json_object_get(root, "normalizer");
    r->t->nfc = json_is_object(normalizer);
    if (r->t->nfc && expect_string(r, normalizer, "normalizer", "type", "NFC"))
        return -1;
    if (read_post_processor(r, json_object_get(root, "post_processor")))
        return -1;
    return expect_string(r, json_object_get(root, "decoder"), "decoder", "type", "ByteLevel");
}

int tokenizer_read(struct tokenizer *t, const char *path, struct error *err)
{
    struct reading r = {.t = t, .path = path, .err = err};
    alphabet_make(r.byte_of);
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
        rc = read_model(&r, root) || read_added(&r, root) || read_splitting(&r, root) || read_rest(&r, root) ? -1 : 0;
    json_decref(root);
    return rc;
}
