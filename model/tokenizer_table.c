/* tokenizer_table.c - the tokenizer's two hash tables: content to id, and pair of ids to merge */
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

#include "base/memory.h"
#include "model/tokenizer_parts.h"

/* Slots for count entries at a load of at most a half: probing always meets a free one. */
static size_t slots_for(size_t count)
{
    size_t slots = 16;
    while (slots < 2 * count)
        slots *= 2;
    return slots;
}

void token_table_make(struct token_table *table, size_t count)
{
    size_t slots = slots_for(count);
    table->slots = mem_new(slots, sizeof *table->slots);
    table->mask = slots - 1;
    for (size_t i = 0; i < slots; i++)
        table->slots[i] = -1;
}

void token_table_put(struct token_table *table, const struct tokenizer *t, int32_t id)
{
    const struct token *token = &t->tokens[id];
    size_t at = XXH3_64bits(t->pool + token->offset, token->size) & table->mask;
    while (table->slots[at] >= 0)
        at = (at + 1) & table->mask;
    table->slots[at] = id;
}

int32_t token_table_find(const struct token_table *table, const struct tokenizer *t, const char *bytes, size_t size)
{
    for (size_t at = XXH3_64bits(bytes, size) & table->mask; table->slots[at] >= 0; at = (at + 1) & table->mask) {
        const struct token *token = &t->tokens[table->slots[at]];
        if (token->size == size && memcmp(t->pool + token->offset, bytes, size) == 0)
            return table->slots[at];
    }
    return -1;
}

void merge_table_make(struct merge_table *table, size_t count)
{
    size_t slots = slots_for(count);
    table->slots = mem_new(slots, sizeof *table->slots);
    table->mask = slots - 1;
    for (size_t i = 0; i < slots; i++)
        table->slots[i].left = -1;
}

/* The slot that holds the pair, or the free one where it belongs. */
static size_t merge_slot(const struct merge_table *table, int32_t left, int32_t right)
{
    int32_t pair[2] = {left, right};
    size_t at = XXH3_64bits(pair, sizeof pair) & table->mask;
    while (table->slots[at].left >= 0 && (table->slots[at].left != left || table->slots[at].right != right))
        at = (at + 1) & table->mask;
    return at;
}

void merge_table_put(struct merge_table *table, const struct merge *merge)
{
    table->slots[merge_slot(table, merge->left, merge->right)] = *merge;
}

const struct merge *merge_table_find(const struct merge_table *table, int32_t left, int32_t right)
{
    const struct merge *merge = &table->slots[merge_slot(table, left, right)];
    return merge->left >= 0 ? merge : NULL;
}
