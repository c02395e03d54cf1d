/* kv_pages.h - which pages of the cache belong to which sequence: bookkeeping only, the same on every rank */
#ifndef MODEL_KV_PAGES_H
#define MODEL_KV_PAGES_H

#include <stdint.h>

struct kv_pages {
    int page_positions;
    int n, n_free;
    int32_t *free; /* (n) a stack; the first n_free entries are free page numbers */
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

/* Lengthens the sequence by n positions; the pages must be there. */
void kv_pages_extend(struct kv_pages *pages, struct sequence *sequence, int n);

/* Shortens it to `length`; pages beyond are free again. */
void kv_pages_truncate(struct kv_pages *pages, struct sequence *sequence, int length);

/* Where a position stands in the cache (kernels.h). */
int32_t kv_pages_slot(const struct kv_pages *pages, const struct sequence *sequence, int position);

#endif
