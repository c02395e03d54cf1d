/* kv_pages.c - the page tables of sequences, the users of each page, and the stack of free blocks */
#include "model/kv_pages.h"

#include <assert.h>
#include <stdlib.h>

#include "base/memory.h"

static int pages_of(const struct kv_pages *pages, int positions)
{
    return positions / pages->layout.page_positions + (positions % pages->layout.page_positions != 0);
}

void kv_pages_init(struct kv_pages *pages, int n, const struct kv_layout *layout)
{
    *pages = (struct kv_pages){.layout = *layout,
                               .n = n,
                               .n_free = n,
                               .free = mem_new((size_t)n, sizeof *pages->free),
                               .uses = mem_new((size_t)n, sizeof *pages->uses),
                               .next = mem_new((size_t)n, sizeof *pages->next)};
    for (int i = 0; i < n; i++)
        pages->free[i] = n - 1 - i; /* low numbers are taken first: memory is touched when a block is first used */
}

void kv_pages_free(struct kv_pages *pages)
{
    free(pages->free);
    free(pages->uses);
    free(pages->next);
}

void kv_pages_sequence_free(struct kv_pages *pages, struct sequence *sequence)
{
    kv_pages_truncate(pages, sequence, 0);
    for (int kind = 0; kind < KV_KINDS; kind++)
        free(sequence->pages[kind]);
}

/* ---- pages ---- */

/* A page of so many blocks. */
static int32_t page_take(struct kv_pages *pages, int blocks)
{
    int32_t page = KV_NO_PAGE;
    if (!blocks)
        return page;
    for (int i = 0; i < blocks; i++) {
        int32_t block = pages->free[pages->n_free - blocks + i];
        pages->next[block] = page;
        page = block;
    }
    pages->n_free -= blocks;
    pages->uses[page] = 1;
    return page;
}

int kv_pages_blocks(const struct kv_pages *pages, int32_t page)
{
    int n = 0;
    for (; page != KV_NO_PAGE; page = pages->next[page])
        n++;
    return n;
}

void kv_pages_hold(struct kv_pages *pages, int32_t page)
{
    assert(pages->uses[page] > 0);
    pages->uses[page]++;
}

void kv_pages_drop(struct kv_pages *pages, int32_t page)
{
    assert(pages->uses[page] > 0);
    if (--pages->uses[page] > 0)
        return;
    for (; page != KV_NO_PAGE; page = pages->next[page])
        pages->free[pages->n_free++] = page;
}

/* ---- sequences ---- */

int kv_pages_needed(const struct kv_pages *pages, const struct sequence *sequence, int n)
{
    return (pages_of(pages, sequence->length + n) - sequence->n_pages) * kv_layout_whole(&pages->layout);
}

static void sequence_grow(struct sequence *sequence, int more)
{
    if (sequence->n_pages + more <= sequence->capacity)
        return;
    sequence->capacity = 2 * (sequence->n_pages + more);
    for (int kind = 0; kind < KV_KINDS; kind++)
        sequence->pages[kind] = mem_grow(sequence->pages[kind], (size_t)sequence->capacity, sizeof *sequence->pages[kind]);
}

void kv_pages_adopt(struct kv_pages *pages, struct sequence *sequence, const int32_t page[KV_KINDS])
{
    assert(sequence->length == sequence->n_pages * pages->layout.page_positions);
    sequence_grow(sequence, 1);
    for (int kind = 0; kind < KV_KINDS; kind++) {
        sequence->pages[kind][sequence->n_pages] = page[kind];
        if (page[kind] != KV_NO_PAGE)
            kv_pages_hold(pages, page[kind]);
    }
    sequence->n_pages++;
    sequence->length += pages->layout.page_positions;
    if (pages->layout.blocks[KV_LOCAL] && page[KV_LOCAL] == KV_NO_PAGE) {
        assert(sequence->first_local == sequence->n_pages - 1);
        sequence->first_local = sequence->n_pages;
    }
}

void kv_pages_extend(struct kv_pages *pages, struct sequence *sequence, int n)
{
    int more = pages_of(pages, sequence->length + n) - sequence->n_pages;
    assert(kv_pages_needed(pages, sequence, n) <= pages->n_free);
    assert(kv_pages_reaches(pages, sequence, sequence->length));
    assert(sequence->length % pages->layout.page_positions == 0 ||
           pages->uses[sequence->pages[KV_GLOBAL][sequence->n_pages - 1]] == 1);
    sequence_grow(sequence, more);
    for (; more > 0; more--, sequence->n_pages++)
        for (int kind = 0; kind < KV_KINDS; kind++)
            sequence->pages[kind][sequence->n_pages] = page_take(pages, pages->layout.blocks[kind]);
    sequence->length += n;
}

static void page_leave(struct kv_pages *pages, struct sequence *sequence, int kind, int i)
{
    if (sequence->pages[kind][i] != KV_NO_PAGE)
        kv_pages_drop(pages, sequence->pages[kind][i]);
    sequence->pages[kind][i] = KV_NO_PAGE;
}

void kv_pages_truncate(struct kv_pages *pages, struct sequence *sequence, int length)
{
    assert(length >= 0 && length <= sequence->length);
    assert(kv_pages_reaches(pages, sequence, length));
    int keep = pages_of(pages, length);
    for (; sequence->n_pages > keep; sequence->n_pages--)
        for (int kind = 0; kind < KV_KINDS; kind++)
            page_leave(pages, sequence, kind, sequence->n_pages - 1);
    sequence->length = length;
    if (!length)
        sequence->first_local = 0;
}

bool kv_pages_reaches(const struct kv_pages *pages, const struct sequence *sequence, int length)
{
    return !length || kv_layout_first(&pages->layout, length) >= sequence->first_local;
}

void kv_pages_settle(struct kv_pages *pages, struct sequence *sequence, int length)
{
    assert(length <= sequence->length);
    int first = kv_layout_first(&pages->layout, length);
    for (; sequence->first_local < first; sequence->first_local++)
        page_leave(pages, sequence, KV_LOCAL, sequence->first_local);
}
