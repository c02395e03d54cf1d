/* kv_pages.c - the page tables of sequences, the users of each page, and the stack of free pages */
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
    *pages =
        (struct kv_pages){page_positions, n, n, mem_new((size_t)n, sizeof *pages->free), mem_new((size_t)n, sizeof *pages->uses)};
    for (int i = 0; i < n; i++)
        pages->free[i] = n - 1 - i; /* low numbers are taken first: memory is touched when a page is first used */
}

void kv_pages_free(struct kv_pages *pages)
{
    free(pages->free);
    free(pages->uses);
}

int kv_pages_needed(const struct kv_pages *pages, const struct sequence *sequence, int n)
{
    return pages_of(pages, sequence->length + n) - sequence->n_pages;
}

static int32_t page_take(struct kv_pages *pages)
{
    int32_t page = pages->free[--pages->n_free];
    pages->uses[page] = 1;
    return page;
}

void kv_pages_hold(struct kv_pages *pages, int32_t page)
{
    assert(pages->uses[page] > 0);
    pages->uses[page]++;
}

void kv_pages_drop(struct kv_pages *pages, int32_t page)
{
    assert(pages->uses[page] > 0);
    if (--pages->uses[page] == 0)
        pages->free[pages->n_free++] = page;
}

static void sequence_grow(struct sequence *sequence, int more)
{
    if (sequence->n_pages + more <= sequence->capacity)
        return;
    sequence->capacity = 2 * (sequence->n_pages + more);
    sequence->pages = mem_grow(sequence->pages, (size_t)sequence->capacity, sizeof *sequence->pages);
}

void kv_pages_adopt(struct kv_pages *pages, struct sequence *sequence, int32_t page)
{
    assert(sequence->length == sequence->n_pages * pages->page_positions);
    kv_pages_hold(pages, page);
    sequence_grow(sequence, 1);
    sequence->pages[sequence->n_pages++] = page;
    sequence->length += pages->page_positions;
}

void kv_pages_extend(struct kv_pages *pages, struct sequence *sequence, int n)
{
    int needed = kv_pages_needed(pages, sequence, n);
    assert(needed <= pages->n_free);
    assert(sequence->length % pages->page_positions == 0 || pages->uses[sequence->pages[sequence->n_pages - 1]] == 1);
    sequence_grow(sequence, needed);
    while (needed-- > 0)
        sequence->pages[sequence->n_pages++] = page_take(pages);
    sequence->length += n;
}

void kv_pages_truncate(struct kv_pages *pages, struct sequence *sequence, int length)
{
    assert(length >= 0 && length <= sequence->length);
    int keep = pages_of(pages, length);
    while (sequence->n_pages > keep)
        kv_pages_drop(pages, sequence->pages[--sequence->n_pages]);
    sequence->length = length;
}

int32_t kv_pages_slot(const struct kv_pages *pages, const struct sequence *sequence, int position)
{
    return sequence->pages[position / pages->page_positions] * pages->page_positions + position % pages->page_positions;
}
