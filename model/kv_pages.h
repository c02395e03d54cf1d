/* kv_pages.h - which pages of the cache belong to which sequences: bookkeeping only, the same on every rank. A page is blocks
 * (kv_layout.h) and has the number of the first. It may have several users: sequences that share whole pages, and whoever keeps one
 * for sequences to come. Its blocks are free when the last lets go of it. */
#ifndef MODEL_KV_PAGES_H
#define MODEL_KV_PAGES_H

#include <stdbool.h>
#include <stdint.h>

#include "model/kv_layout.h"

enum { KV_NO_PAGE = -1 };

struct kv_pages {
    struct kv_layout layout;
    int n, n_free; /* blocks */
    int32_t *free; /* (n) a stack; the first n_free entries are free blocks */
    int32_t *uses; /* (n) of the page that begins with the block; else 0 */
    int32_t *next; /* (n) the block behind it in its page, or KV_NO_PAGE */
};

struct sequence {
    int length;               /* positions */
    int n_pages;              /* ceil(length / page_positions), of each kind */
    int first_local;          /* local pages before this one are gone */
    int capacity;             /* of pages */
    int32_t *pages[KV_KINDS]; /* (n_pages); KV_NO_PAGE for one that is gone, or of a kind without blocks */
    uint64_t step;            /* the last step that named it */
};

void kv_pages_init(struct kv_pages *pages, int n, const struct kv_layout *layout);
void kv_pages_free(struct kv_pages *pages);
void kv_pages_sequence_free(struct kv_pages *pages, struct sequence *sequence); /* lets go of all of its pages; not of itself */

/* Blocks that n more positions would take from the free ones. */
int kv_pages_needed(const struct kv_pages *pages, const struct sequence *sequence, int n);

/* Blocks of a page. */
int kv_pages_blocks(const struct kv_pages *pages, int32_t page);

/* One user more, or one less, of a page that is not free. */
void kv_pages_hold(struct kv_pages *pages, int32_t page);
void kv_pages_drop(struct kv_pages *pages, int32_t page);

/* Lengthens a sequence of whole pages by one that is in use: it uses that page, too. The local one may be KV_NO_PAGE where no later
 * row sees it. */
void kv_pages_adopt(struct kv_pages *pages, struct sequence *sequence, const int32_t page[KV_KINDS]);

/* Lengthens the sequence by n positions; the blocks must be there, and a page that is not full must be its own. */
void kv_pages_extend(struct kv_pages *pages, struct sequence *sequence, int n);

/* Shortens it to `length`; it lets go of the pages beyond. kv_pages_reaches: whether rows can be appended there, or what they see
 * is gone. */
void kv_pages_truncate(struct kv_pages *pages, struct sequence *sequence, int length);
bool kv_pages_reaches(const struct kv_pages *pages, const struct sequence *sequence, int length);

/* The sequence is never cut before `length` again: it lets go of the local pages that no row from there on sees. */
void kv_pages_settle(struct kv_pages *pages, struct sequence *sequence, int length);

#endif
