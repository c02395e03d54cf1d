/* page_cache.c - a table of pages, and the idle ones in order of their last use */
#include "coordinator/page_cache.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "base/key_table.h"
#include "base/memory.h"

enum { NONE = -1 };

struct cached_page {
    uint64_t key[2];
    int users, blocks;
    bool computing;
    int32_t older, newer; /* of the idle ones; older also links the entries that are not in use */
};

struct page_cache {
    struct key_table table; /* key -> entry */
    struct cached_page *pages;
    int32_t n, capacity, spare; /* spare: the first entry that is not in use, or NONE */
    int32_t oldest, newest;     /* idle; NONE */
    int idle;                   /* blocks */
    int32_t *computing;         /* entries */
    int n_computing;
};

struct page_cache *page_cache_new(void)
{
    struct page_cache *cache = mem_new(1, sizeof *cache);
    cache->spare = cache->oldest = cache->newest = NONE;
    return cache;
}

void page_cache_free(struct page_cache *cache)
{
    if (!cache)
        return;
    key_table_free(&cache->table);
    free(cache->pages);
    free(cache->computing);
    free(cache);
}

/* ---- entries ---- */

static struct cached_page *page_of(const struct page_cache *cache, const uint64_t key[2])
{
    int32_t at = key_table_find(&cache->table, key);
    return at < 0 ? NULL : &cache->pages[at];
}

static int32_t number_of(const struct page_cache *cache, const struct cached_page *page)
{
    return (int32_t)(page - cache->pages);
}

static struct cached_page *page_new(struct page_cache *cache)
{
    int32_t at = cache->spare;
    if (at != NONE) {
        cache->spare = cache->pages[at].older;
        return &cache->pages[at];
    }
    if (cache->n == cache->capacity) {
        cache->capacity = cache->capacity ? 2 * cache->capacity : 64;
        cache->pages = mem_grow(cache->pages, (size_t)cache->capacity, sizeof *cache->pages);
    }
    return &cache->pages[cache->n++];
}

static void page_remove(struct page_cache *cache, struct cached_page *page)
{
    key_table_remove(&cache->table, page->key);
    page->older = cache->spare;
    cache->spare = number_of(cache, page);
}

/* ---- idle ones ---- */

static void idle_add(struct page_cache *cache, struct cached_page *page)
{
    int32_t at = number_of(cache, page);
    page->older = cache->newest;
    page->newer = NONE;
    if (cache->newest != NONE)
        cache->pages[cache->newest].newer = at;
    else
        cache->oldest = at;
    cache->newest = at;
    cache->idle += page->blocks;
}

static void idle_cut(struct page_cache *cache, const struct cached_page *page)
{
    *(page->older != NONE ? &cache->pages[page->older].newer : &cache->oldest) = page->newer;
    *(page->newer != NONE ? &cache->pages[page->newer].older : &cache->newest) = page->older;
    cache->idle -= page->blocks;
}

static bool is_idle(const struct cached_page *page)
{
    return !page->users && !page->computing;
}

/* ---- what callers do ---- */

enum page_state page_cache_state(const struct page_cache *cache, const uint64_t key[2])
{
    const struct cached_page *page = page_of(cache, key);
    return !page ? PAGE_UNKNOWN : page->computing ? PAGE_COMPUTING : page->users ? PAGE_USED : PAGE_IDLE;
}

int page_cache_idle(const struct page_cache *cache)
{
    return cache->idle;
}

void page_cache_add(struct page_cache *cache, const uint64_t key[2], int blocks, int users)
{
    struct cached_page *page = page_new(cache);
    *page = (struct cached_page){.key = {key[0], key[1]}, .users = users, .blocks = blocks, .computing = true};
    key_table_put(&cache->table, key, number_of(cache, page));
    cache->computing = mem_grow(cache->computing, (size_t)cache->n_computing + 1, sizeof *cache->computing);
    cache->computing[cache->n_computing++] = number_of(cache, page);
}

void page_cache_use(struct page_cache *cache, const uint64_t key[2])
{
    struct cached_page *page = page_of(cache, key);
    assert(page && !page->computing);
    if (is_idle(page))
        idle_cut(cache, page);
    page->users++;
}

void page_cache_leave(struct page_cache *cache, const uint64_t key[2])
{
    struct cached_page *page = page_of(cache, key);
    assert(page && page->users > 0);
    page->users--;
    if (is_idle(page))
        idle_add(cache, page);
}

int page_cache_land(struct page_cache *cache, bool computed)
{
    int freed = 0;
    for (int i = 0; i < cache->n_computing; i++) {
        struct cached_page *page = &cache->pages[cache->computing[i]];
        page->computing = false;
        if (computed && is_idle(page)) {
            idle_add(cache, page);
        } else if (!computed) {
            assert(!page->users);
            freed += page->blocks;
            page_remove(cache, page);
        }
    }
    cache->n_computing = 0;
    return freed;
}

int page_cache_evict(struct page_cache *cache, uint64_t key[2])
{
    if (cache->oldest == NONE)
        return 0;
    struct cached_page *page = &cache->pages[cache->oldest];
    memcpy(key, page->key, sizeof page->key);
    idle_cut(cache, page);
    page_remove(cache, page);
    return page->blocks;
}
