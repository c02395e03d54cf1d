/* kv_pages.h - which pages of the cache belong to which sequences: bookkeeping only, the same on every rank. A page may have
 * several users: sequences that share whole pages, and whoever keeps one for sequences to come. It is free when the last lets go of
 * it. */
#ifndef MODEL_KV_PAGES_H
#define MODEL_KV_PAGES_H

#include <stdint.h>

struct kv_pages {
    int page_positions;
    int n, n_free;
    int32_t *free; /* (n) a stack; the first n_free entries are free page numbers */
    int32_t *uses; /* (n) of each page; 0 = free */
};

struct sequence {
    int length;   /* positions */
    int n_pages;  /* ceil(length / page_positions) */
    int capacity; /* of pages */
    int32_t *pages;
    uint64_t step; /* the last step that named it */
};

void kv_pages_init(struct kv_pages *pages, int n, int page_positions);
void kv_pages_free(struct kv_pages *pages);

/* Pages that n more positions would take from the free ones. */
int kv_pages_needed(const struct kv_pages *pages, const struct sequence *sequence, int n);

/* One user more, or one less, of a page that is not free. */
void kv_pages_hold(struct kv_pages *pages, int32_t page);
void kv_pages_drop(struct kv_pages *pages, int32_t page);

/* Lengthens a sequence of whole pages by one that is not free: it uses that page, too. */
void kv_pages_adopt(struct kv_pages *pages, struct sequence *sequence, int32_t page);

/* Lengthens the sequence by n positions; the pages must be there, and a page that is not full must be its own. */
void kv_pages_extend(struct kv_pages *pages, struct sequence *sequence, int n);

/* Shortens it to `length`; it lets go of the pages beyond. */
void kv_pages_truncate(struct kv_pages *pages, struct sequence *sequence, int length);

/* Where a position stands in the cache (kernels.h). */
int32_t kv_pages_slot(const struct kv_pages *pages, const struct sequence *sequence, int position);

#endif
