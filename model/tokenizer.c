/* tokenizer.c - text to ids: added tokens cut the text, each piece is normalised, split into words, and these are merged */
#include "model/tokenizer.h"

#include <stdlib.h>
#include <string.h>
#include <utf8proc.h>

#include "base/memory.h"
#include "model/tokenizer_parts.h"
#include "model/utf8.h"

enum {
    TEXT_MAX = 64 << 20, /* bytes of one text: what a message may carry at most */
    MARKS_MAX = 1024,    /* combining marks in a row: normalisation sorts them in quadratic time. Languages use a few. */
};

int tokenizer_open(struct tokenizer **tokenizer, const char *dir, struct error *err)
{
    struct tokenizer *t = mem_new(1, sizeof *t);
    char *path = mem_format("%s/tokenizer.json", dir);
    int rc = tokenizer_read(t, path, err);
    free(path);
    if (rc) {
        tokenizer_close(t);
        return -1;
    }
    *tokenizer = t;
    return 0;
}

void tokenizer_close(struct tokenizer *t)
{
    if (!t)
        return;
    free(t->pool);
    free(t->tokens);
    free(t->contents.slots);
    free(t->merges.slots);
    free(t->added);
    pcre2_code_free(t->pattern);
    free(t);
}

/* One call of tokenizer_encode. */
struct encoding {
    const struct tokenizer *t;
    struct bpe *bpe;
    pcre2_match_data *match;
    int32_t *ids;
    size_t n, room;
    struct error *err;
};

static void reserve(struct encoding *e, size_t more)
{
    if (e->n + more <= e->room)
        return;
    e->room = e->n + more + e->room / 2;
    e->ids = mem_grow(e->ids, e->room, sizeof *e->ids);
}

static void put_word(struct encoding *e, const char *word, size_t size)
{
    reserve(e, size);
    e->n += (size_t)bpe_word(e->bpe, e->t, word, size, e->ids + e->n);
}

/* Words of the pattern; what lies between two matches is a word too. */
static int put_words(struct encoding *e, const char *text, size_t size)
{
    size_t at = 0;
    while (at < size) {
        int rc = pcre2_match(e->t->pattern, (PCRE2_SPTR)text, size, at, PCRE2_NOTEMPTY | PCRE2_NO_UTF_CHECK, e->match, NULL);
        if (rc < 0 && rc != PCRE2_ERROR_NOMATCH) {
            PCRE2_UCHAR reason[200];
            pcre2_get_error_message(rc, reason, sizeof reason);
            return fail(e->err, "the tokenizer's split pattern gave up on the text at byte %zu: %s", at, (const char *)reason);
        }
        const PCRE2_SIZE *span = pcre2_get_ovector_pointer(e->match);
        size_t from = rc < 0 ? size : span[0], to = rc < 0 ? size : span[1];
        if (from < at || to < from) /* \K in a lookbehind can do that */
            return fail(e->err, "the tokenizer's split pattern matched backwards at byte %zu", at);
        put_word(e, text + at, from - at);
        put_word(e, text + from, to - from);
        at = to;
    }
    return 0;
}

static bool is_ascii(const char *text, size_t size)
{
    unsigned char all = 0;
    for (size_t i = 0; i < size; i++)
        all |= (unsigned char)text[i];
    return all < 0x80;
}

static int check_marks(struct encoding *e, const char *text, size_t size)
{
    int run = 0;
    for (size_t at = 0; at < size;) {
        utf8proc_int32_t code;
        at += (size_t)utf8proc_iterate((const utf8proc_uint8_t *)text + at, (utf8proc_ssize_t)(size - at), &code);
        run = utf8proc_get_property(code)->combining_class ? run + 1 : 0;
        if (run > MARKS_MAX)
            return fail(e->err, "the text has more than %d combining marks in a row", MARKS_MAX);
    }
    return 0;
}

/* One word, with what stands for spaces. */
static int put_spaced(struct encoding *e, const char *text, size_t size)
{
    size_t spaces = 0, n = 0, width = strlen(e->t->space);
    for (size_t i = 0; i < size; i++)
        spaces += text[i] == ' ';
    char *word = mem_new(size + spaces * width + 1, 1);
    for (size_t i = 0; i < size; i++) {
        memcpy(word + n, text[i] == ' ' ? e->t->space : text + i, text[i] == ' ' ? width : 1);
        n += text[i] == ' ' ? width : 1;
    }
    put_word(e, word, n);
    free(word);
    return 0;
}

/* A piece without added tokens. */
static int put_text(struct encoding *e, const char *text, size_t size)
{
    if (e->t->space)
        return put_spaced(e, text, size);
    if (!e->t->nfc || is_ascii(text, size))
        return put_words(e, text, size);
    if (check_marks(e, text, size))
        return -1;
    utf8proc_uint8_t *composed = NULL;
    utf8proc_ssize_t n =
        utf8proc_map((const utf8proc_uint8_t *)text, (utf8proc_ssize_t)size, &composed, UTF8PROC_STABLE | UTF8PROC_COMPOSE);
    if (n < 0)
        return fail(e->err, "the text cannot be normalised: %s", utf8proc_errmsg(n));
    int rc = put_words(e, (const char *)composed, (size_t)n);
    free(composed);
    return rc;
}

/* The longest added token at the start of text, or -1; without `special` only those that any text makes. */
static int32_t added_at(const struct tokenizer *t, const char *text, size_t size, bool special)
{
    int first = (unsigned char)text[0];
    for (int i = t->added_first[first]; i < t->added_first[first + 1]; i++) {
        const struct token *token = &t->tokens[t->added[i]];
        if ((special || token->plain) && token->size <= size && memcmp(t->pool + token->offset, text, token->size) == 0)
            return t->added[i];
    }
    return -1;
}

static int put_marked_text(struct encoding *e, const char *text, size_t size, bool special)
{
    size_t from = 0;
    for (size_t at = 0; at < size;) {
        int32_t id = added_at(e->t, text + at, size - at, special);
        if (id < 0) {
            at++;
            continue;
        }
        if (put_text(e, text + from, at - from))
            return -1;
        reserve(e, 1);
        e->ids[e->n++] = id;
        at += e->t->tokens[id].size;
        from = at;
    }
    return put_text(e, text + from, size - from);
}

int tokenizer_encode(const struct tokenizer *t, const char *text, size_t size, bool parse_special, int32_t **ids, struct error *err)
{
    if (size > TEXT_MAX)
        return fail(err, "the text has %zu bytes; at most %d are tokenized at once", size, TEXT_MAX);
    size_t broken = utf8_check(text, size);
    if (broken < size)
        return fail(err, "the text is not UTF-8: byte 0x%02x at offset %zu", (unsigned)(unsigned char)text[broken], broken);
    struct encoding e = {.t = t, .bpe = bpe_new(), .match = pcre2_match_data_create(1, NULL), .err = err};
    reserve(&e, size / 4 + 16);
    int rc = -1;
    if (!e.match)
        fail(err, "no memory to tokenize");
    else
        rc = put_marked_text(&e, text, size, parse_special);
    pcre2_match_data_free(e.match);
    bpe_free(e.bpe);
    if (rc) {
        free(e.ids);
        return -1;
    }
    *ids = e.ids;
    return (int)e.n;
}
