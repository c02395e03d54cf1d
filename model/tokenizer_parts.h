/* tokenizer_parts.h - what the files of the tokenizer share; nobody else includes it */
#ifndef MODEL_TOKENIZER_PARTS_H
#define MODEL_TOKENIZER_PARTS_H

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "model/tokenizer.h"

struct token {
    uint32_t offset, size; /* its bytes in the pool */
    bool used;             /* ids may have gaps */
    bool added;            /* matched in the text as it is */
    bool special;          /* left out of decoded text on request */
};

/* Content to id: open addressing over the tokens themselves. */
struct token_table {
    int32_t *slots; /* id, or -1 */
    size_t mask;
};

/* Pair of neighbouring ids to its merge. */
struct merge {
    int32_t left, right; /* left -1: free */
    int32_t rank, id;    /* lower ranks merge first; what the pair becomes */
};
struct merge_table {
    struct merge *slots;
    size_t mask;
};

struct tokenizer {
    char *pool;
    size_t pool_size, pool_room;
    struct token *tokens;
    int n;
    struct token_table contents;
    struct merge_table merges;
    int32_t byte_ids[256];
    int32_t *added;       /* ids of added tokens by first byte, the longest first */
    int added_first[257]; /* added tokens that begin with byte b: [added_first[b], added_first[b + 1]) */
    bool nfc;
    pcre2_code *pattern;
};

/* tokenizer_table.c */
void token_table_make(struct token_table *table, size_t count);
void token_table_put(struct token_table *table, const struct tokenizer *t, int32_t id);
int32_t token_table_find(const struct token_table *table, const struct tokenizer *t, const char *bytes, size_t size);
void merge_table_make(struct merge_table *table, size_t count);
void merge_table_put(struct merge_table *table, const struct merge *merge);
const struct merge *merge_table_find(const struct merge_table *table, int32_t left, int32_t right);

/* tokenizer_file.c: fills an empty tokenizer from the file; what is there on failure is tokenizer_close's to release. */
int tokenizer_read(struct tokenizer *t, const char *path, struct error *err);

/* bpe.c: words of bytes to ids, in memory that grows with the longest word. */
struct bpe;
struct bpe *bpe_new(void);
void bpe_free(struct bpe *bpe);
/* Writes at most size ids; returns how many. */
int bpe_word(struct bpe *bpe, const struct tokenizer *t, const char *word, size_t size, int32_t *ids);

#endif
