/* kept_pages.c - pages by key, and the ids of their rows */
#include "model/kept_pages.h"

#include <stdlib.h>
#include <string.h>

#include "base/key_table.h"
#include "base/memory.h"

struct kept_pages {
    struct model *model;
    struct key_table pages;
    int32_t (*ids)[MODEL_PAGE_POSITIONS]; /* (blocks of the model) of the page there; memory is touched when a page is first kept */
};

struct kept_pages *kept_pages_new(struct model *model)
{
    struct kept_pages *kept = mem_new(1, sizeof *kept);
    kept->model = model;
    kept->ids = mem_new((size_t)model_blocks(model), sizeof *kept->ids);
    return kept;
}

void kept_pages_clear(struct kept_pages *kept)
{
    for (size_t i = 0; i < kept->pages.size; i++)
        if (kept->pages.slots[i].taken)
            model_page_drop(kept->model, kept->pages.slots[i].number);
    key_table_free(&kept->pages);
}

void kept_pages_free(struct kept_pages *kept)
{
    if (!kept)
        return;
    kept_pages_clear(kept);
    free(kept->ids);
    free(kept);
}

int32_t kept_pages_find(const struct kept_pages *kept, const uint64_t key[2])
{
    return key_table_find(&kept->pages, key);
}

const int32_t *kept_pages_ids(const struct kept_pages *kept, int32_t page)
{
    return kept->ids[page];
}

void kept_pages_add(struct kept_pages *kept, const uint64_t key[2], int32_t page, const int32_t *ids)
{
    model_page_hold(kept->model, page);
    key_table_put(&kept->pages, key, page);
    memcpy(kept->ids[page], ids, sizeof kept->ids[page]);
}

void kept_pages_forget(struct kept_pages *kept, const uint64_t key[2])
{
    model_page_drop(kept->model, key_table_find(&kept->pages, key));
    key_table_remove(&kept->pages, key);
}
