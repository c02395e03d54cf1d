/* page_match.h - how much of a prompt a table of pages (page_cache.h) has: whole pages from its beginning on.
 *
 * The last row of a prompt is always computed: its scores are wanted. Nor may rows begin within a picture that must be whole. */
#ifndef COORDINATOR_PAGE_MATCH_H
#define COORDINATOR_PAGE_MATCH_H

#include "coordinator/page_cache.h"
#include "model/kv_layout.h"
#include "model/prompt.h"

struct page_match {
    const struct page_cache *cache;
    const struct kv_layout *layout; /* of the caches whose pages these are */
    const struct prompt *prompt;
    uint64_t (*keys)[2]; /* of the prompt's whole pages (page_key.h); NULL: it shares nothing */
    int held;            /* the first pages, of which it is a user already; local ones that it needs of these are there */
};

/* Pages in front of the prompt's last row. */
int page_match_most(const struct page_match *match);

/* Pages in front that are there, as far as rows may be computed behind them: those of the global layers, with those of the local
 * layers in the window behind which it would go on. Never fewer than are held. */
int page_match_there(const struct page_match *match);

/* The first local page that a row behind n pages sees; n where there are none. */
int page_match_first_seen(const struct page_match *match, int n);

/* Blocks that n of these pages would take from what is idle. */
int page_match_idle(const struct page_match *match, int n);

#endif
