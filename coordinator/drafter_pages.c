/* drafter_pages.c - who has which pages of the drafter's cache: sequences, and prompts to come */
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "coordinator/drafter_parts.h"
#include "coordinator/page_match.h"
#include "proto/step.h"

enum { PAGE = MODEL_PAGE_POSITIONS };

int64_t draft_blocks(const struct drafter *drafter, int positions)
{
    return kv_layout_blocks(model_layout(drafter->model), positions, DRAFTER_ROWS_OPEN);
}

void draft_pages_begin(struct drafter *drafter, struct draft_sequence *s)
{
    s->sequence = sequence_new(drafter->model);
    if (!drafter->shares)
        return;
    s->n_keys = s->prompt.n / PAGE;
    s->keys = mem_new((size_t)s->n_keys, sizeof *s->keys);
    s->shared = mem_new((size_t)s->n_keys, sizeof *s->shared);
    page_keys_make(s->keys, s->n_keys, PAGE, &s->prompt, s->pictures, &drafter->secret);
}

void draft_pages_end(struct drafter *drafter, struct draft_sequence *s)
{
    draft_pages_drop(drafter, s);
    sequence_release(drafter->model, s->sequence);
    free(s->keys);
    free(s->shared);
}

/* ---- room ---- */

static int room(const struct drafter *drafter)
{
    return drafter->blocks_free + page_cache_idle(drafter->cache);
}

/* Takes so many blocks, for which there must be room: idle pages of the cache are given up for it. */
static void blocks_take(struct drafter *drafter, int blocks)
{
    uint64_t key[2];
    assert(blocks <= room(drafter));
    while (drafter->blocks_free < blocks) {
        drafter->blocks_free += page_cache_evict(drafter->cache, key);
        kept_pages_forget(drafter->kept, key);
    }
    drafter->blocks_free -= blocks;
}

bool draft_pages_hold(struct drafter *drafter, struct draft_sequence *s, int positions)
{
    int64_t more = draft_blocks(drafter, positions) - s->blocks;
    if (positions <= s->held)
        return true;
    if (more > room(drafter))
        return false;
    s->held = positions;
    if (more > 0) {
        blocks_take(drafter, (int)more);
        s->blocks += (int)more;
    }
    return true;
}

/* ---- what others have computed ---- */

static int pages_there(const struct drafter *drafter, const struct draft_sequence *s)
{
    const struct page_match match = {
        .cache = drafter->cache, .layout = model_layout(drafter->model), .prompt = &s->prompt, .keys = s->keys};
    return sequence_length(s->sequence) < s->prompt.n ? page_match_there(&match) : 0;
}

int draft_pages_there(const struct drafter *drafter, const struct draft_sequence *s)
{
    int has = sequence_length(s->sequence), there = PAGE * pages_there(drafter, s);
    return there > has ? there : has;
}

static void page_adopt(struct drafter *drafter, struct draft_sequence *s, int i, bool seen)
{
    uint64_t local[2];
    step_key_of(local, s->keys[i], true);
    const int32_t page[KV_KINDS] = {kept_pages_find(drafter->kept, s->keys[i]), seen ? kept_pages_find(drafter->kept, local) : -1};
    sequence_adopt(drafter->model, s->sequence, page);
    page_cache_use(drafter->cache, s->keys[i]);
    s->shared[i] = true;
    s->blocks += model_layout(drafter->model)->blocks[KV_GLOBAL];
}

/* From the beginning, whatever it has: of the local pages behind the window it has no use for those in front. There is room again
 * for what it held, since it takes over no fewer pages than it shared. */
int draft_pages_adopt(struct drafter *drafter, struct draft_sequence *s)
{
    const struct kv_layout *layout = model_layout(drafter->model);
    int n = pages_there(drafter, s), has = sequence_length(s->sequence), held = s->held;
    if (PAGE * n <= has)
        return 0;
    draft_pages_drop(drafter, s);
    for (int i = 0; i < n; i++)
        page_adopt(drafter, s, i, layout->blocks[KV_LOCAL] && i >= kv_layout_first(layout, PAGE * n));
    bool holds = draft_pages_hold(drafter, s, held);
    assert(holds);
    (void)holds;
    return PAGE * n - has;
}

/* ---- what others may use ---- */

/* What another request has computed meanwhile stays this one's own. */
static void keep_global(struct drafter *drafter, struct draft_sequence *s, int i)
{
    if (page_cache_state(drafter->cache, s->keys[i]) != PAGE_UNKNOWN)
        return;
    page_cache_add(drafter->cache, s->keys[i], model_layout(drafter->model)->blocks[KV_GLOBAL], 1);
    kept_pages_add(drafter->kept, s->keys[i], sequence_page(s->sequence, KV_GLOBAL, i), s->prompt.ids + i * PAGE);
    s->shared[i] = true;
}

static void keep_local(struct drafter *drafter, struct draft_sequence *s, int i)
{
    int blocks = model_layout(drafter->model)->blocks[KV_LOCAL];
    uint64_t key[2];
    step_key_of(key, s->keys[i], true);
    if (!blocks || blocks > room(drafter) || page_cache_state(drafter->cache, key) != PAGE_UNKNOWN)
        return;
    blocks_take(drafter, blocks);
    page_cache_add(drafter->cache, key, blocks, 0);
    kept_pages_add(drafter->kept, key, sequence_page(s->sequence, KV_LOCAL, i), s->prompt.ids + i * PAGE);
}

void draft_pages_keep(struct drafter *drafter, struct draft_sequence *s, int n)
{
    int length = sequence_length(s->sequence);
    for (int i = (length - n) / PAGE; s->keys && i < length / PAGE; i++) {
        keep_global(drafter, s, i);
        keep_local(drafter, s, i);
    }
    page_cache_land(drafter->cache, true);
}

void draft_pages_drop(struct drafter *drafter, struct draft_sequence *s)
{
    drafter->blocks_free += s->blocks;
    for (int i = s->n_keys; i-- > 0;) { /* the first page last: it is the last to be given up */
        if (!s->shared[i])
            continue;
        page_cache_leave(drafter->cache, s->keys[i]);
        drafter->blocks_free -= model_layout(drafter->model)->blocks[KV_GLOBAL];
        s->shared[i] = false;
    }
    sequence_truncate(drafter->model, s->sequence, 0);
    s->blocks = s->held = 0;
}
