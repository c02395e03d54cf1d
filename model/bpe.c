/* bpe.c - byte-pair encoding of one word: neighbours merge, the pair of lowest rank first, the leftmost on ties (Sennrich, Haddow,
 * Birch 2016, "Neural machine translation of rare words with subword units"). A heap of candidate pairs over a linked list of
 * symbols: n log n, so a word of a megabyte is no attack. */
#include <stdlib.h>

#include "base/memory.h"
#include "model/tokenizer_parts.h"
#include "model/utf8.h"

struct symbol {
    int32_t id; /* -1: merged into its left neighbour */
    int32_t previous, next;
};

struct candidate {
    int32_t rank, at;    /* symbol that begins the pair */
    int32_t left, right; /* ids when it was found: a candidate whose symbols changed since is stale */
    int32_t id;
};

struct bpe {
    struct symbol *symbols;
    struct candidate *heap;
    size_t room; /* symbols */
    size_t heap_n;
};

struct bpe *bpe_new(void)
{
    return mem_new(1, sizeof(struct bpe));
}

void bpe_free(struct bpe *bpe)
{
    if (!bpe)
        return;
    free(bpe->symbols);
    free(bpe->heap);
    free(bpe);
}

static bool before(const struct candidate *a, const struct candidate *b)
{
    return a->rank != b->rank ? a->rank < b->rank : a->at < b->at;
}

static void heap_push(struct bpe *bpe, struct candidate new)
{
    size_t at = bpe->heap_n++;
    for (; at > 0 && before(&new, &bpe->heap[(at - 1) / 2]); at = (at - 1) / 2)
        bpe->heap[at] = bpe->heap[(at - 1) / 2];
    bpe->heap[at] = new;
}

static struct candidate heap_pop(struct bpe *bpe)
{
    struct candidate top = bpe->heap[0], last = bpe->heap[--bpe->heap_n];
    size_t at = 0;
    for (;;) {
        size_t child = 2 * at + 1;
        if (child + 1 < bpe->heap_n && before(&bpe->heap[child + 1], &bpe->heap[child]))
            child++;
        if (child >= bpe->heap_n || !before(&bpe->heap[child], &last))
            break;
        bpe->heap[at] = bpe->heap[child];
        at = child;
    }
    bpe->heap[at] = last;
    return top;
}

/* Offers the pair that begins at symbol `at`, if there is such a merge. */
static void offer(struct bpe *bpe, const struct tokenizer *t, int32_t at)
{
    if (at < 0 || bpe->symbols[at].next < 0)
        return;
    int32_t left = bpe->symbols[at].id, right = bpe->symbols[bpe->symbols[at].next].id;
    const struct merge *merge = merge_table_find(&t->merges, left, right);
    if (merge && !t->tokens[merge->id].special) /* only the template makes those */
        heap_push(bpe, (struct candidate){merge->rank, at, left, right, merge->id});
}

static bool stale(const struct bpe *bpe, const struct candidate *c)
{
    const struct symbol *s = &bpe->symbols[c->at];
    return s->id != c->left || s->next < 0 || bpe->symbols[s->next].id != c->right;
}

static void join(struct bpe *bpe, const struct tokenizer *t, const struct candidate *c)
{
    struct symbol *s = &bpe->symbols[c->at], *gone = &bpe->symbols[s->next];
    s->id = c->id;
    s->next = gone->next;
    gone->id = -1;
    if (s->next >= 0)
        bpe->symbols[s->next].previous = c->at;
    offer(bpe, t, s->previous);
    offer(bpe, t, c->at);
}

static void symbol_add(struct bpe *bpe, size_t *n, int32_t id)
{
    int32_t at = (int32_t)(*n)++;
    bpe->symbols[at] = (struct symbol){id, at - 1, -1};
    if (at > 0)
        bpe->symbols[at - 1].next = at;
}

/* The characters of a word, or the bytes of those that the vocabulary lacks; word is UTF-8. Returns how many symbols that are. */
static size_t begin_characters(struct bpe *bpe, const struct tokenizer *t, const char *word, size_t size)
{
    size_t n = 0, length;
    for (size_t at = 0; at < size; at += length) {
        utf8_next(word + at, size - at, &length);
        int32_t id = token_table_find(&t->contents, t, word + at, length);
        if (id >= 0)
            symbol_add(bpe, &n, id);
        for (size_t i = 0; id < 0 && i < length; i++)
            symbol_add(bpe, &n, t->byte_ids[(unsigned char)word[at + i]]);
    }
    return n;
}

static void begin(struct bpe *bpe, const struct tokenizer *t, const char *word, size_t size)
{
    size_t n = 0;
    if (size > bpe->room) {
        bpe->room = size < 64 ? 64 : size;
        bpe->symbols = mem_grow(bpe->symbols, bpe->room, sizeof *bpe->symbols);
        /* size - 1 pairs at first, and each of at most size - 1 joins offers two. */
        bpe->heap = mem_grow(bpe->heap, 3 * bpe->room, sizeof *bpe->heap);
    }
    if (t->by_character)
        n = begin_characters(bpe, t, word, size);
    while (!t->by_character && n < size)
        symbol_add(bpe, &n, t->byte_ids[(unsigned char)word[n]]);
    bpe->heap_n = 0;
    for (size_t i = 0; i < n; i++)
        offer(bpe, t, (int32_t)i);
}

int bpe_word(struct bpe *bpe, const struct tokenizer *t, const char *word, size_t size, int32_t *ids)
{
    if (size == 0)
        return 0;
    begin(bpe, t, word, size);
    while (bpe->heap_n > 0) {
        struct candidate c = heap_pop(bpe);
        if (!stale(bpe, &c))
            join(bpe, t, &c);
    }
    int n = 0;
    for (int32_t at = 0; at >= 0; at = bpe->symbols[at].next)
        ids[n++] = bpe->symbols[at].id;
    return n;
}
