/* kv_pages.c - the page tables of sequences, and the stack of free pages */
#include "model/kv_pages.h"

#include <assert.h>
#include <stdlib.h>

#include "base/memory.h"

static int pages_of(const struct kv_pages *pages, int positions)
{
    return positions / pages->page_positions + (positions % pages->page_positions != 0);
}

void kv_pages_init(struct kv_pages *pages, int n, int page_positions)
{
    *pages = (struct kv_pages){page_positions, n, n, mem_new((size_t)n, sizeof *pages->free)};
    for (int i = 0; i < n; i++)
        pages->free[i] = n - 1 - i; /* low numbers are taken first: memory is touched when a page is first used */
}

void kv_pages_free(struct kv_pages *pages)
{
    free(pages->free);
}

int kv_pages_needed(const struct kv_pages *pages, const struct sequence *sequence, int n)
{
    return pages_of(pages, sequence->length + n) - sequence->n_pages;
}

void kv_pages_extend(struct kv_pages *pages, struct sequence *sequence, int n)
{
    int needed = kv_pages_needed(pages, sequence, n);
    assert(needed <= pages->n_free);
    if (sequence->n_pages + needed > sequence->capacity) {
        sequence->capacity = 2 * (sequence->n_pages + needed);
        sequence->pages = mem_grow(sequence->pages, (size_t)sequence->capacity, sizeof *sequence->pages);
    }
    while (needed-- > 0)
        sequence->pages[sequence->n_pages++] = pages->free[--pages->n_free];
    sequence->length += n;
}

void kv_pages_truncate(struct kv_pages *pages, struct sequence *sequence, int length)
{
    assert(length >= 0 && length <= sequence->length);
    int keep = pages_of(pages, length);
    while (sequence->n_pages > keep)
        pages->free[pages->n_free++] = sequence->pages[--sequence->n_pages];
    sequence->length = length;
}

int32_t kv_pages_slot(const struct kv_pages *pages, const struct sequence *sequence, int position)
{
    return sequence->pages[position / pages->page_positions] * pages->page_positions + position % pages->page_positions;
}
