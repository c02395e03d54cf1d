/* key_table.c - linear probing with gaps closed on removal (Knuth, The Art of Computer Programming 3, 6.4, algorithm R) */
#include "base/key_table.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"

enum { SIZE_FIRST = 64 };

void key_table_free(struct key_table *table)
{
    free(table->slots);
    *table = (struct key_table){0};
}

static size_t slot_home(const struct key_table *table, const uint64_t key[2])
{
    return (size_t)key[0] & (table->size - 1);
}

/* Where the key is, or would be put. */
static size_t slot_of(const struct key_table *table, const uint64_t key[2])
{
    size_t at = slot_home(table, key);
    while (table->slots[at].taken && memcmp(table->slots[at].key, key, sizeof table->slots[at].key) != 0)
        at = (at + 1) & (table->size - 1);
    return at;
}

int32_t key_table_find(const struct key_table *table, const uint64_t key[2])
{
    if (!table->n)
        return -1;
    const struct key_slot *slot = &table->slots[slot_of(table, key)];
    return slot->taken ? slot->number : -1;
}

static void table_grow(struct key_table *table)
{
    struct key_table old = *table;
    table->size = old.size ? 2 * old.size : SIZE_FIRST;
    table->slots = mem_new(table->size, sizeof *table->slots);
    for (size_t i = 0; i < old.size; i++)
        if (old.slots[i].taken)
            table->slots[slot_of(table, old.slots[i].key)] = old.slots[i];
    free(old.slots);
}

void key_table_put(struct key_table *table, const uint64_t key[2], int32_t number)
{
    if (2 * (table->n + 1) > table->size)
        table_grow(table);
    struct key_slot *slot = &table->slots[slot_of(table, key)];
    assert(!slot->taken && number >= 0);
    *slot = (struct key_slot){{key[0], key[1]}, number, 1};
    table->n++;
}

void key_table_remove(struct key_table *table, const uint64_t key[2])
{
    size_t mask = table->size - 1, gap = slot_of(table, key);
    assert(table->n && table->slots[gap].taken);
    for (size_t at = (gap + 1) & mask; table->slots[at].taken; at = (at + 1) & mask)
        if (((at - slot_home(table, table->slots[at].key)) & mask) >=
            ((at - gap) & mask)) { /* its way from home leads over the gap */
            table->slots[gap] = table->slots[at];
            gap = at;
        }
    table->slots[gap].taken = 0;
    table->n--;
}
