/* key_table.h - numbers by 128-bit keys that are hashes already: open addressing, never more than half full */
#ifndef BASE_KEY_TABLE_H
#define BASE_KEY_TABLE_H

#include <stddef.h>
#include <stdint.h>

struct key_table { /* zeroed: empty */
    struct key_slot {
        uint64_t key[2];
        int32_t number;
        int32_t taken;
    } * slots; /* (size) a power of two */
    size_t size, n;
};

void key_table_free(struct key_table *table); /* and leaves it empty */

/* The number, or -1. */
int32_t key_table_find(const struct key_table *table, const uint64_t key[2]);
/* number >= 0; the key must not be there. */
void key_table_put(struct key_table *table, const uint64_t key[2], int32_t number);
/* The key must be there. */
void key_table_remove(struct key_table *table, const uint64_t key[2]);

#endif
