/* tokenizer_text.c - ids to text, whole or as a stream, and questions about ids */
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "model/tokenizer_parts.h"
#include "model/utf8.h"

static const struct token *token_of(const struct tokenizer *t, int32_t id)
{
    return id >= 0 && id < t->n && t->tokens[id].used ? &t->tokens[id] : NULL;
}

/* bytes as UTF-8 into out (at least 3 * size), broken parts replaced; returns its length. */
static size_t put_lossy(char *out, const char *bytes, size_t size)
{
    size_t n = 0, length;
    for (size_t at = 0; at < size; at += length) {
        bool whole = utf8_next(bytes + at, size - at, &length) == UTF8_WHOLE;
        memcpy(out + n, whole ? bytes + at : UTF8_REPLACEMENT, whole ? length : 3);
        n += whole ? length : 3;
    }
    return n;
}

/* Texts of ids one after another; runs: of ids that stand for a byte, or that do not. */
struct gathering {
    const struct tokenizer *t;
    const int32_t *ids;
    int n;
    bool keep_special;
};

/* The bytes of the run that begins at *i, to `bytes` unless NULL; *i moves behind it. Returns their number. */
static size_t gather_run(const struct gathering *g, int *i, bool *bytes_of_characters, char *bytes)
{
    size_t total = 0;
    bool begun = false;
    for (; *i < g->n; ++*i) {
        const struct token *token = token_of(g->t, g->ids[*i]);
        if (!token || (token->special && !g->keep_special))
            continue;
        if (begun && token->byte != *bytes_of_characters)
            break;
        *bytes_of_characters = token->byte;
        begun = true;
        if (bytes)
            memcpy(bytes + total, g->t->pool + token->text_offset, token->text_size);
        total += token->text_size;
    }
    return total;
}

/* A run of byte tokens is text as a whole or not at all, as decoders of Hugging Face tokenizers have it. */
static size_t put_bytes(char *out, const char *bytes, size_t size)
{
    if (utf8_check(bytes, size) == size) {
        memcpy(out, bytes, size);
        return size;
    }
    for (size_t i = 0; i < size; i++)
        memcpy(out + 3 * i, UTF8_REPLACEMENT, 3);
    return 3 * size;
}

char *tokenizer_decode(const struct tokenizer *t, const int32_t *ids, int n, bool keep_special, size_t *size)
{
    const struct gathering g = {t, ids, n, keep_special};
    size_t total = 0;
    bool characters = false;
    for (int i = 0; i < n;)
        total += gather_run(&g, &i, &characters, NULL);
    char *bytes = mem_new(total + 1, 1), *text = mem_new(3 * total + 1, 1);
    *size = 0;
    for (int i = 0; i < n;) {
        size_t run = gather_run(&g, &i, &characters, bytes);
        *size += characters ? put_bytes(text + *size, bytes, run) : put_lossy(text + *size, bytes, run);
    }
    free(bytes);
    return text;
}

const char *tokenizer_bytes(const struct tokenizer *t, int32_t id, size_t *size)
{
    const struct token *token = token_of(t, id);
    *size = token && !token->special ? token->text_size : 0;
    return token && !token->special ? t->pool + token->text_offset : NULL;
}

int32_t tokenizer_find(const struct tokenizer *t, const char *content)
{
    return token_table_find(&t->contents, t, content, strlen(content));
}

int tokenizer_size(const struct tokenizer *t)
{
    return t->n;
}

static bool same_token(const struct tokenizer *a, const struct tokenizer *b, int32_t id)
{
    const struct token *x = &a->tokens[id], *y = &b->tokens[id];
    if (x->used != y->used || x->special != y->special || x->size != y->size)
        return false;
    return memcmp(a->pool + x->offset, b->pool + y->offset, x->size) == 0;
}

/* A token's text for an error line. */
static const char *shown(const struct tokenizer *t, int32_t id, char text[3 * 32 + 1])
{
    const struct token *token = &t->tokens[id];
    text[put_lossy(text, t->pool + token->offset, token->size < 32 ? token->size : 32)] = 0;
    return text;
}

int tokenizer_compare(const struct tokenizer *a, const struct tokenizer *b, struct error *err)
{
    int n = a->n < b->n ? a->n : b->n;
    char x[97], y[97];
    for (int32_t id = 0; id < n; id++)
        if (!same_token(a, b, id))
            return fail(err, "the tokenizers differ: id %d is \"%s\" in one and \"%s\" in the other", (int)id, shown(a, id, x),
                        shown(b, id, y));
    return 0;
}

/* What is held is the start of one character; new bytes finish it, or show that it is broken. */
size_t text_stream_push(struct text_stream *stream, const char *bytes, size_t size, char *out)
{
    size_t n = 0, held = (size_t)stream->n_held;
    if (!bytes) {
        stream->n_held = 0;
        return put_lossy(out, stream->held, held);
    }
    char head[8]; /* held bytes and the first new ones: enough to settle the held character */
    size_t fresh = size < 4 ? size : 4, settled = 0, length;
    memcpy(head, stream->held, held);
    memcpy(head + held, bytes, fresh);
    while (settled < held) {
        enum utf8_kind kind = utf8_next(head + settled, held + fresh - settled, &length);
        if (kind == UTF8_CUT) { /* all of the new bytes went into it */
            stream->n_held = (int)(held + fresh - settled);
            memcpy(stream->held, head + settled, held + fresh - settled);
            return n;
        }
        n += put_lossy(out + n, head + settled, length);
        settled += length;
    }
    size_t from = settled - held, at = from;
    enum utf8_kind kind = UTF8_WHOLE;
    while (at < size && (kind = utf8_next(bytes + at, size - at, &length)) != UTF8_CUT)
        at += length;
    n += put_lossy(out + n, bytes + from, at - from);
    stream->n_held = (int)(size - at);
    if (size > at)
        memcpy(stream->held, bytes + at, size - at);
    return n;
}
