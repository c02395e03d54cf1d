/* prefix.c - shared pages of requests */
#include "coordinator/prefix.h"

#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "coordinator/page_match.h"

void prefix_keys(struct request *request, int page_positions, const struct page_secret *secret)
{
    if (request->page_positions == page_positions)
        return;
    int n = request->prepared.prompt.n / page_positions;
    free(request->page_keys);
    free(request->page_shared);
    request->page_keys = mem_new((size_t)n, sizeof *request->page_keys);
    request->page_shared = mem_new((size_t)n, sizeof *request->page_shared);
    request->n_page_keys = n;
    request->page_positions = page_positions;
    page_keys_make(request->page_keys, n, page_positions, &request->prepared.prompt, request->prepared.pictures, secret);
}

static struct page_match match_of(const struct group *group, const struct request *request)
{
    return (struct page_match){.cache = group->cache,
                               .layout = &group->layout,
                               .prompt = &request->prepared.prompt,
                               .keys = request->page_keys,
                               .held = request->adopted};
}

/* Local pages are held in the table beside those that the request will have of its own: not where these would not fit then. */
static int pages_had(const struct group *group, const struct request *request)
{
    const struct page_match match = match_of(group, request);
    int n = page_match_there(&match), shared = (n - request->adopted) * group->layout.blocks[KV_GLOBAL];
    int more = group_blocks(group, request_known(request) + 1) - request->blocks - shared;
    return more + page_match_idle(&match, n) <= group_room(group) ? n : request->adopted;
}

int prefix_match(const struct group *group, const struct request *request, int *idle)
{
    const struct page_match match = match_of(group, request);
    int n = pages_had(group, request);
    *idle = page_match_idle(&match, n);
    return n;
}

/* Holds local pages [from, adopted) in the table instead of those that it held. */
static void local_pin(struct group *group, struct request *request, int from, int adopted)
{
    uint64_t key[2];
    for (int i = from; i < adopted; i++) {
        step_key_of(key, request->page_keys[i], true);
        page_cache_use(group->cache, key);
    }
    for (int i = request->pinned; i < request->adopted; i++) {
        step_key_of(key, request->page_keys[i], true);
        page_cache_leave(group->cache, key);
    }
    request->pinned = from;
}

void prefix_adopt(struct group *group, struct request *request)
{
    if (request->begun)
        return;
    const struct page_match match = match_of(group, request);
    int n = pages_had(group, request), blocks = group->layout.blocks[KV_GLOBAL];
    local_pin(group, request, page_match_first_seen(&match, n), n);
    for (; request->adopted < n; request->adopted++) {
        page_cache_use(group->cache, request->page_keys[request->adopted]);
        request->page_shared[request->adopted] = true;
        if (request->blocks > request->adopted * blocks)
            group->blocks_free += blocks;
        else
            request->blocks += blocks;
    }
    request->computed = request->adopted * request->page_positions;
}

void prefix_begun(struct group *group, struct request *request)
{
    local_pin(group, request, request->adopted, request->adopted);
}

bool prefix_waits(const struct group *group, const struct request *request, struct request *const *older, int n)
{
    const struct page_match match = match_of(group, request);
    int next = request->adopted;
    if (request->begun || next >= page_match_most(&match) ||
        page_cache_state(group->cache, request->page_keys[next]) != PAGE_UNKNOWN)
        return false;
    for (int i = 0; i < n; i++)
        if (older[i]->n_page_keys > next && older[i]->computed < (next + 1) * request->page_positions &&
            memcmp(older[i]->page_keys[next], request->page_keys[next], sizeof *request->page_keys) == 0)
            return true;
    return false;
}

static void adopt_fill(struct request *request, struct step_span *span)
{
    if (request->n_tokens == 0)
        request->cached_tokens = request->adopted * request->page_positions;
    span->n_adopt = request->adopted;
    span->adopt = mem_new((size_t)request->adopted, sizeof *span->adopt);
    if (span->n_adopt)
        memcpy(span->adopt, request->page_keys, (size_t)span->n_adopt * sizeof *span->adopt);
    request->begun = true;
}

static void keep_page(struct step_span *span, const uint64_t key[2], int page)
{
    memcpy(span->keep[span->n_keep], key, sizeof *span->keep);
    span->keep_pages[span->n_keep++] = page;
}

/* What another request has computed meanwhile stays this one's own. */
static void keep_global(struct group *group, struct request *request, struct step_span *span, int page)
{
    const uint64_t *key = request->page_keys[page];
    if (page_cache_state(group->cache, key) != PAGE_UNKNOWN)
        return;
    page_cache_add(group->cache, key, group->layout.blocks[KV_GLOBAL], 1);
    request->page_shared[page] = true;
    keep_page(span, key, page);
}

/* Beside the request's own local pages, which the window leaves behind: it takes room of its own, and is nobody's. */
static void keep_local(struct group *group, const struct request *request, struct step_span *span, int page)
{
    int blocks = group->layout.blocks[KV_LOCAL];
    uint64_t key[2];
    step_key_of(key, request->page_keys[page], true);
    if (!blocks || blocks > group_room(group) || page_cache_state(group->cache, key) != PAGE_UNKNOWN)
        return;
    group_free_blocks(group, blocks);
    group->blocks_free -= blocks;
    page_cache_add(group->cache, key, blocks, 0);
    keep_page(span, key, page);
}

static void keep_fill(struct group *group, struct request *request, struct step_span *span)
{
    int from = span->length / request->page_positions, to = (span->length + span->n) / request->page_positions;
    if (from >= to)
        return;
    span->keep = mem_new(KV_KINDS * (size_t)(to - from), sizeof *span->keep);
    span->keep_pages = mem_new(KV_KINDS * (size_t)(to - from), sizeof *span->keep_pages);
    for (int i = from; i < to; i++) {
        keep_global(group, request, span, i);
        keep_local(group, request, span, i);
    }
}

void prefix_fill(struct group *group, struct request *request, struct step_span *span)
{
    if (!request->begun)
        adopt_fill(request, span);
    if (!span->generated && request->n_page_keys)
        keep_fill(group, request, span);
}

int prefix_leave(struct group *group, struct request *request)
{
    int shared = 0;
    prefix_begun(group, request);
    for (int i = request->n_page_keys; i-- > 0;) { /* the first page last: it is the last to be given up */
        if (!request->page_shared[i])
            continue;
        page_cache_leave(group->cache, request->page_keys[i]);
        request->page_shared[i] = false;
        shared += group->layout.blocks[KV_GLOBAL];
    }
    request->adopted = request->pinned = 0;
    return shared;
}
