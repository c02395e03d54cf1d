/* kept_pages.h - pages of prompt rows that a model keeps under keys, so that sequences to come can begin with them. Which, and for
 * how long, the caller says; the same on every rank. */
#ifndef MODEL_KEPT_PAGES_H
#define MODEL_KEPT_PAGES_H

#include "model/model.h"

struct kept_pages;

struct kept_pages *kept_pages_new(struct model *model); /* stays the caller's */
void kept_pages_free(struct kept_pages *kept);          /* before its model; NULL is legal */

/* The page's number in the model, or -1. */
int32_t kept_pages_find(const struct kept_pages *kept, const uint64_t key[2]);
/* The ids of its rows, (MODEL_PAGE_POSITIONS). */
const int32_t *kept_pages_ids(const struct kept_pages *kept, int32_t page);

/* Holds a page under a key that is not here; one page has one key. ids are copied. */
void kept_pages_add(struct kept_pages *kept, const uint64_t key[2], int32_t page, const int32_t *ids);
/* The key must be here. */
void kept_pages_forget(struct kept_pages *kept, const uint64_t key[2]);
void kept_pages_clear(struct kept_pages *kept);

#endif
