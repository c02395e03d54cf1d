/* tokenizer.h - tokenizer.json: text to ids and back. BPE of two kinds: byte-level as in Qwen2.5 (added tokens, NFC, split pattern,
 * merges), and of characters with byte fallback and U+2581 for spaces as in Gemma3.
 * A tokenizer is read-only after opening and may be used by several threads at once. */
#ifndef MODEL_TOKENIZER_H
#define MODEL_TOKENIZER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"

struct tokenizer;

/* Reads dir/tokenizer.json. */
int tokenizer_open(struct tokenizer **tokenizer, const char *dir, struct error *err);
void tokenizer_close(struct tokenizer *tokenizer);

/* Special and added tokens are recognised in the text when parse_special is set (a chat prompt); a user's own text goes without, so
 * that it cannot forge a turn; added tokens that are ordinary text of the vocabulary (line feeds of Gemma3) are made of any text.
 * text is UTF-8; bytes that are not are an error. *ids is malloc'ed, the caller frees. Returns the
 * number of ids, or -1. */
int tokenizer_encode(const struct tokenizer *tokenizer, const char *text, size_t size, bool parse_special, int32_t **ids,
                     struct error *err);

/* Text of n ids, broken UTF-8 replaced by U+FFFD; special tokens kept or left out; unknown ids are empty. malloc'ed,
 * zero-terminated. */
char *tokenizer_decode(const struct tokenizer *tokenizer, const int32_t *ids, int n, bool keep_special, size_t *size);

/* Streaming, which shows characters as soon as they are whole, so that of a run of byte tokens that breaks it has shown the
 * beginning: the bytes of one id as they are (not necessarily whole characters), NULL for a special or unknown id; owned by the
 * tokenizer. */
const char *tokenizer_bytes(const struct tokenizer *tokenizer, int32_t id, size_t *size);

/* The id of a token by its content ("<|im_end|>"), or -1. */
int32_t tokenizer_find(const struct tokenizer *tokenizer, const char *content);

/* Number of ids in use (the largest + 1); padding rows of a head are not counted. */
int tokenizer_size(const struct tokenizer *tokenizer);

/* 0 if ids mean the same text in both (every id of the smaller one); else -1 naming the first difference. */
int tokenizer_compare(const struct tokenizer *a, const struct tokenizer *b, struct error *err);

/* Cuts a stream of bytes into whole UTF-8 characters: text of ids pushed one by one never splits a character. */
struct text_stream {
    char held[4];
    int n_held;
};
/* Writes to out (at least 3 * (size + 4) bytes: each broken byte becomes the three of U+FFFD) what can be shown now; returns its
 * length. bytes NULL flushes what is held as U+FFFD. */
size_t text_stream_push(struct text_stream *stream, const char *bytes, size_t size, char *out);

#endif
