/* tokenizer_parts.h - what the files of the tokenizer share; nobody else includes it */
#ifndef MODEL_TOKENIZER_PARTS_H
#define MODEL_TOKENIZER_PARTS_H

#define PCRE2_CODE_UNIT_WIDTH 8
#include <jansson.h>
#include <pcre2.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "model/tokenizer.h"

struct token {
    uint32_t offset, size;           /* its content in the pool: what it is found by */
    uint32_t text_offset, text_size; /* what it shows; mostly the same */
    bool used;                       /* ids may have gaps */
    bool added;                      /* matched in the text as it is */
    bool plain;                      /* added, but of the vocabulary and not special: a user's text makes it, too */
    bool special;                    /* left out of decoded text on request */
    bool byte;                       /* stands for a byte of a character that the vocabulary lacks */
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
    bool by_character;   /* words begin as characters, and as bytes only where the vocabulary lacks them; else as bytes */
    const char *space;   /* what stands for a space in contents, or NULL */
    pcre2_code *pattern; /* cuts words; NULL: what is between added tokens is one */
};

/* tokenizer_table.c */
void token_table_make(struct token_table *table, size_t count);
void token_table_put(struct token_table *table, const struct tokenizer *t, int32_t id);
int32_t token_table_find(const struct token_table *table, const struct tokenizer *t, const char *bytes, size_t size);
void merge_table_make(struct merge_table *table, size_t count);
void merge_table_put(struct merge_table *table, const struct merge *merge);
const struct merge *merge_table_find(const struct merge_table *table, int32_t left, int32_t right);

/* tokenizer_file.c, and what it knows of the kinds of files (tokenizer_bytelevel.c, tokenizer_metaspace.c). */
struct reading {
    struct tokenizer *t;
    const char *path;
    const struct tokenizer_format *format;
    struct error *err;
};

struct tokenizer_format {
    /* A token of the vocabulary, or half of a merge, to its content (bytes, at least size); its length, or -1 where it is none. */
    int (*content)(const char *text, size_t size, char *bytes);
    const char *refusal; /* of such a text: "is not written in ..." */
    /* The content of the token for a byte; name has 8 bytes. Its length. */
    int (*byte)(int byte, char *name);
    const char *const *unsupported; /* fields of the model that must not be set; NULL-terminated */
    /* Normaliser, splitting, post-processor, decoder. */
    int (*sections)(const struct reading *r, const json_t *root);
    /* Gives tokens their texts, once all are read; NULL: they show what they are found by. */
    int (*texts)(const struct reading *r);
};
extern const struct tokenizer_format tokenizer_bytelevel, tokenizer_metaspace;

/* Field `name` of `object`, which is called `where`, must be this string. */
int tokenizer_expect_string(const struct reading *r, const json_t *object, const char *where, const char *name, const char *want);
/* Field `name` must not ask for anything: absent, null, false, 0 or "". */
int tokenizer_expect_nothing(const struct reading *r, const json_t *object, const char *where, const char *name);
/* Bytes into the pool; where they begin, or -1 with text when it is full. */
int64_t tokenizer_pool_add(const struct reading *r, const char *bytes, size_t size);

/* tokenizer_file.c: fills an empty tokenizer from the file; what is there on failure is tokenizer_close's to release. */
int tokenizer_read(struct tokenizer *t, const char *path, struct error *err);

/* bpe.c: words of bytes to ids, in memory that grows with the longest word. */
struct bpe;
struct bpe *bpe_new(void);
void bpe_free(struct bpe *bpe);
/* Writes at most size ids; returns how many. */
int bpe_word(struct bpe *bpe, const struct tokenizer *t, const char *word, size_t size, int32_t *ids);

#endif
