/* page_match.c - the longest beginning of a prompt that is there */
#include "coordinator/page_match.h"

#include "proto/step.h"

int page_match_most(const struct page_match *match)
{
    return match->keys ? (match->prompt->n - 1) / match->layout->page_positions : 0;
}

static bool is_there(enum page_state state)
{
    return state == PAGE_USED || state == PAGE_IDLE;
}

/* Whether rows may be computed from page n on: not where that cuts a picture that must be whole. */
static bool may_begin(const struct page_match *match, int n)
{
    const struct prompt *prompt = match->prompt;
    int row = n * match->layout->page_positions;
    for (int i = 0; i < prompt->n_pictures && prompt->pictures_whole; i++)
        if (prompt->pictures[i].first < row && row < prompt->pictures[i].first + prompt->pictures[i].count)
            return false;
    return true;
}

static enum page_state local_state(const struct page_match *match, int page)
{
    uint64_t key[2];
    step_key_of(key, match->keys[page], true);
    return page_cache_state(match->cache, key);
}

int page_match_first_seen(const struct page_match *match, int n)
{
    return match->layout->blocks[KV_LOCAL] ? kv_layout_first(match->layout, n * match->layout->page_positions) : n;
}

int page_match_there(const struct page_match *match)
{
    int there = match->held, seen = page_match_first_seen(match, there); /* local ones from `seen` on are there */
    for (int n = there; n < page_match_most(match) && is_there(page_cache_state(match->cache, match->keys[n])); n++) {
        if (match->layout->blocks[KV_LOCAL] && !is_there(local_state(match, n)))
            seen = n + 1;
        if (may_begin(match, n + 1) && seen <= page_match_first_seen(match, n + 1))
            there = n + 1;
    }
    return there;
}

int page_match_idle(const struct page_match *match, int n)
{
    int idle = 0;
    for (int i = match->held; i < n; i++)
        if (page_cache_state(match->cache, match->keys[i]) == PAGE_IDLE)
            idle += match->layout->blocks[KV_GLOBAL];
    for (int i = page_match_first_seen(match, n); i < n; i++)
        if (local_state(match, i) == PAGE_IDLE)
            idle += match->layout->blocks[KV_LOCAL];
    return idle;
}
