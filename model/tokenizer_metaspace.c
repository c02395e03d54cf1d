/* tokenizer_metaspace.c - files of BPE as in Gemma3: spaces are U+2581, words are not split, and a character that the vocabulary
 * lacks falls back to tokens for its bytes */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "model/tokenizer_parts.h"

#define SPACE "\xe2\x96\x81" /* U+2581 */

static int content(const char *text, size_t size, char *bytes)
{
    memcpy(bytes, text, size);
    return (int)size;
}

static int byte_name(int byte, char *name)
{
    return snprintf(name, 8, "<0x%02X>", (unsigned)byte);
}

/* {"type": "Replace", "pattern": {"String": from}, "content": to} */
static int expect_replace(const struct reading *r, const json_t *object, const char *where, const char *from, const char *to)
{
    if (tokenizer_expect_string(r, object, where, "type", "Replace") || tokenizer_expect_string(r, object, where, "content", to))
        return -1;
    return tokenizer_expect_string(r, json_object_get(object, "pattern"), where, "String", from);
}

/* Spaces are replaced before words are split at them, so that this splits nothing: it may be there or not. */
static int splitting_check(const struct reading *r, const json_t *pre)
{
    const char *behavior = "MergedWithPrevious";
    if (!pre || json_is_null(pre))
        return 0;
    if (tokenizer_expect_string(r, pre, "pre_tokenizer", "type", "Split") ||
        tokenizer_expect_string(r, pre, "pre_tokenizer", "behavior", behavior) ||
        tokenizer_expect_nothing(r, pre, "pre_tokenizer", "invert"))
        return -1;
    return tokenizer_expect_string(r, json_object_get(pre, "pattern"), "pre_tokenizer.pattern", "String", " ");
}

/* What goes around a text is the chat format's: a template may be there and is not asked. */
static int post_processor_check(const struct reading *r, const json_t *post)
{
    return json_is_object(post) ? tokenizer_expect_string(r, post, "post_processor", "type", "TemplateProcessing") : 0;
}

static int decoder_check(const struct reading *r, const json_t *decoder)
{
    const json_t *parts = json_object_get(decoder, "decoders");
    if (json_array_size(parts) != 3)
        return fail(r->err, "%s: decoder.decoders has %zu parts; supported are three, Replace, ByteFallback and Fuse", r->path,
                    json_array_size(parts));
    return expect_replace(r, json_array_get(parts, 0), "decoder.decoders[0]", SPACE, " ") ||
                   tokenizer_expect_string(r, json_array_get(parts, 1), "decoder.decoders[1]", "type", "ByteFallback") ||
                   tokenizer_expect_string(r, json_array_get(parts, 2), "decoder.decoders[2]", "type", "Fuse")
               ? -1
               : 0;
}

static int sections(const struct reading *r, const json_t *root)
{
    if (!json_is_true(json_object_get(json_object_get(root, "model"), "byte_fallback")))
        return fail(r->err, "%s: model.byte_fallback must be true", r->path);
    if (expect_replace(r, json_object_get(root, "normalizer"), "normalizer", " ", SPACE) ||
        splitting_check(r, json_object_get(root, "pre_tokenizer")) ||
        post_processor_check(r, json_object_get(root, "post_processor")) || decoder_check(r, json_object_get(root, "decoder")))
        return -1;
    r->t->by_character = true;
    r->t->space = SPACE;
    return 0;
}

/* The text of a content: spaces again. Its length. */
static size_t text_make(char *text, const char *bytes, size_t size)
{
    size_t n = 0, space = strlen(SPACE);
    for (size_t at = 0; at < size;) {
        bool is_space = size - at >= space && !memcmp(bytes + at, SPACE, space);
        text[n++] = is_space ? ' ' : bytes[at];
        at += is_space ? space : 1;
    }
    return n;
}

static int texts(const struct reading *r)
{
    struct tokenizer *t = r->t;
    char *text = NULL;
    int rc = 0;
    for (int id = 0; id < t->n && !rc; id++) {
        struct token *token = &t->tokens[id];
        text = mem_grow(text, (size_t)token->size + 1, 1);
        size_t n = text_make(text, t->pool + token->offset, token->size);
        if (n == token->size)
            continue;
        int64_t at = tokenizer_pool_add(r, text, n);
        rc = at < 0 ? -1 : 0;
        token->text_offset = (uint32_t)at;
        token->text_size = (uint32_t)n;
    }
    free(text);
    for (int b = 0; b < 256 && !rc; b++) {
        const char byte = (char)b;
        struct token *token = &t->tokens[t->byte_ids[b]];
        int64_t at = tokenizer_pool_add(r, &byte, 1);
        rc = at < 0 ? -1 : 0;
        token->text_offset = (uint32_t)at;
        token->text_size = 1;
        token->byte = true;
    }
    return rc;
}

static const char *const unsupported[] = {"ignore_merges", "continuing_subword_prefix", "end_of_word_suffix", "dropout", NULL};

const struct tokenizer_format tokenizer_metaspace = {
    .content = content,
    .refusal = "is empty",
    .byte = byte_name,
    .unsupported = unsupported,
    .sections = sections,
    .texts = texts,
};
