/* prefix.c - shared pages of requests */
#include "coordinator/prefix.h"

#include <stdlib.h>
#include <string.h>

#include "base/memory.h"

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
    page_keys_make(request->page_keys, n, page_positions, &request->prepared, secret);
}

/* Pages in front of the prompt's last row. */
static int pages_most(const struct request *request)
{
    return request->n_page_keys ? (request->prepared.prompt.n - 1) / request->page_positions : 0;
}

static bool is_there(enum page_state state)
{
    return state == PAGE_USED || state == PAGE_IDLE;
}

/* Whether rows may be computed from page n on: not where that cuts a picture that must be whole. */
static bool may_begin(const struct request *request, int n)
{
    const struct prompt *prompt = &request->prepared.prompt;
    int row = n * request->page_positions;
    for (int i = 0; i < prompt->n_pictures && prompt->pictures_whole; i++)
        if (prompt->pictures[i].first < row && row < prompt->pictures[i].first + prompt->pictures[i].count)
            return false;
    return true;
}

/* Pages in front that are there, as far as rows may be computed behind them. */
static int pages_there(const struct group *group, const struct request *request)
{
    int there = request->adopted;
    for (int n = there; n < pages_most(request); n++) {
        if (!is_there(page_cache_state(group->cache, request->page_keys[n])))
            break;
        if (may_begin(request, n + 1))
            there = n + 1;
    }
    return there;
}

int prefix_match(const struct group *group, const struct request *request, int *idle)
{
    int n = pages_there(group, request);
    *idle = 0;
    for (int i = 0; i < n; i++)
        *idle += page_cache_state(group->cache, request->page_keys[i]) == PAGE_IDLE;
    return n;
}

void prefix_adopt(struct group *group, struct request *request)
{
    if (request->begun)
        return;
    int there = pages_there(group, request);
    for (int *n = &request->adopted; *n < there; ++*n) {
        page_cache_use(group->cache, request->page_keys[*n]);
        request->page_shared[*n] = true;
        if (request->pages > *n)
            group->pages_free++;
        else
            request->pages++;
    }
    request->computed = request->adopted * request->page_positions;
}

bool prefix_waits(const struct group *group, const struct request *request, struct request *const *older, int n)
{
    int next = request->adopted;
    if (request->begun || next >= pages_most(request) || page_cache_state(group->cache, request->page_keys[next]) != PAGE_UNKNOWN)
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

/* What another request has computed meanwhile stays this one's own. */
static void keep_fill(struct group *group, struct request *request, struct step_span *span)
{
    int from = span->length / request->page_positions, to = (span->length + span->n) / request->page_positions;
    to = to < request->n_page_keys ? to : request->n_page_keys;
    if (from >= to)
        return;
    span->keep = mem_new((size_t)(to - from), sizeof *span->keep);
    span->keep_pages = mem_new((size_t)(to - from), sizeof *span->keep_pages);
    for (int i = from; i < to; i++) {
        if (page_cache_state(group->cache, request->page_keys[i]) != PAGE_UNKNOWN)
            continue;
        page_cache_add(group->cache, request->page_keys[i]);
        request->page_shared[i] = true;
        memcpy(span->keep[span->n_keep], request->page_keys[i], sizeof *span->keep);
        span->keep_pages[span->n_keep++] = i;
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
    for (int i = request->n_page_keys; i-- > 0;) { /* the first page last: it is the last to be given up */
        if (!request->page_shared[i])
            continue;
        page_cache_leave(group->cache, request->page_keys[i]);
        request->page_shared[i] = false;
        shared++;
    }
    request->adopted = 0;
    return shared;
}
