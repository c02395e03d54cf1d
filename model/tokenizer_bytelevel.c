/* tokenizer_bytelevel.c - files of byte-level BPE as in Qwen2.5: every byte is a character of an alphabet, a pattern splits words
 */
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "model/tokenizer_parts.h"

/* The vocabulary writes bytes as printable characters: 33-126, 161-172 and 174-255 as themselves, the others, in order, as 256,
 * 257, ... The byte that `code` stands for, or -1. */
static int byte_of(unsigned code)
{
    if (code < 256)
        return (code >= 33 && code <= 126) || (code >= 161 && code <= 172) || code >= 174 ? (int)code : -1;
    if (code < 256 + 33)
        return (int)code - 256;
    if (code < 256 + 33 + 34)
        return (int)code - 256 - 33 + 127;
    return code == 256 + 33 + 34 ? 173 : -1;
}

static int content(const char *text, size_t size, char *bytes)
{
    int n = 0;
    for (size_t i = 0; i < size; i++) {
        unsigned char first = (unsigned char)text[i];
        unsigned code = first;
        if (first >= 0xc0 && first < 0xe0) /* JSON strings are whole UTF-8: the second byte is there */
            code = (unsigned)(first & 0x1f) << 6 | ((unsigned char)text[++i] & 0x3f);
        int byte = first >= 0xe0 ? -1 : byte_of(code);
        if (byte < 0)
            return -1;
        bytes[n++] = (char)byte;
    }
    return n;
}

static int byte_name(int byte, char *name)
{
    name[0] = (char)byte;
    return 1;
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
    if (tokenizer_expect_string(r, pre, "pre_tokenizer", "type", "Sequence"))
        return -1;
    if (json_array_size(parts) != 2)
        return fail(r->err, "%s: pre_tokenizer.pretokenizers has %zu parts; supported are two, Split and ByteLevel", r->path,
                    json_array_size(parts));
    if (tokenizer_expect_string(r, split, "pre_tokenizer.pretokenizers[0]", "type", "Split") ||
        tokenizer_expect_string(r, split, "pre_tokenizer.pretokenizers[0]", "behavior", "Isolated") ||
        tokenizer_expect_nothing(r, split, "pre_tokenizer.pretokenizers[0]", "invert") ||
        tokenizer_expect_string(r, bytes, "pre_tokenizer.pretokenizers[1]", "type", "ByteLevel") ||
        tokenizer_expect_nothing(r, bytes, "pre_tokenizer.pretokenizers[1]", "add_prefix_space") ||
        tokenizer_expect_nothing(r, bytes, "pre_tokenizer.pretokenizers[1]", "use_regex"))
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
        return tokenizer_expect_string(r, post, "post_processor", "type", "ByteLevel");
    if (!json_is_object(special) || json_object_size(special) > 0)
        return fail(r->err, "%s: post_processor.special_tokens must be {}: a template that adds tokens is not supported", r->path);
    return 0;
}

/* Sections that must be absent, or of this type. */
static int sections(const struct reading *r, const json_t *root)
{
    const json_t *normalizer = json_object_get(root, "normalizer");
    r->t->nfc = json_is_object(normalizer);
    if (r->t->nfc && tokenizer_expect_string(r, normalizer, "normalizer", "type", "NFC"))
        return -1;
    if (read_splitting(r, root) || read_post_processor(r, json_object_get(root, "post_processor")))
        return -1;
    return tokenizer_expect_string(r, json_object_get(root, "decoder"), "decoder", "type", "ByteLevel");
}

static const char *const unsupported[] = {
    "byte_fallback", "ignore_merges", "continuing_subword_prefix", "end_of_word_suffix", "dropout", "unk_token", NULL};

const struct tokenizer_format tokenizer_bytelevel = {
    .content = content,
    .refusal = "is not written in the byte-level alphabet",
    .byte = byte_name,
    .unsupported = unsupported,
    .sections = sections,
};
