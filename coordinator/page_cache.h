/* page_cache.h - the pages that a worker group keeps under keys, as its coordinator counts them: who uses each, how many blocks of
 * the group's memory it is, and which is the first to be given up.
 *
 * A page is computing (in the step in flight), used by requests, or idle: it stays until room is wanted, the one whose last user
 * left longest ago first. Pages here are no longer those of the requests that computed them. */
#ifndef COORDINATOR_PAGE_CACHE_H
#define COORDINATOR_PAGE_CACHE_H

#include <stdbool.h>
#include <stdint.h>

struct page_cache;
enum page_state { PAGE_UNKNOWN, PAGE_COMPUTING, PAGE_USED, PAGE_IDLE };

struct page_cache *page_cache_new(void);
void page_cache_free(struct page_cache *cache); /* NULL is legal */

enum page_state page_cache_state(const struct page_cache *cache, const uint64_t key[2]);
int page_cache_idle(const struct page_cache *cache); /* blocks */

/* An unknown page of so many blocks, computed by the step that goes out for one user, or for none. */
void page_cache_add(struct page_cache *cache, const uint64_t key[2], int blocks, int users);
/* One user more, of a page that is used or idle; and one less. */
void page_cache_use(struct page_cache *cache, const uint64_t key[2]);
void page_cache_leave(struct page_cache *cache, const uint64_t key[2]);

/* The step in flight is done: what it computed is there. Or it was refused: what it was to compute, which nobody may use any more,
 * is unknown again. Returns how many blocks that frees. */
int page_cache_land(struct page_cache *cache, bool computed);

/* The idle page to be given up first is unknown from now on. Returns its blocks; 0: none is idle. */
int page_cache_evict(struct page_cache *cache, uint64_t key[2]);

#endif
