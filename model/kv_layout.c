/* kv_layout.c - the size of a block, and what sequences need of them */
#include "model/kv_layout.h"

static int blocks_of(int layers, int block_layers)
{
    return (layers + block_layers - 1) / block_layers;
}

struct kv_layout kv_layout(const struct model_config *config, int page_positions)
{
    int layers[KV_KINDS] = {0}, waste = config->layers / 16;
    for (int i = 0; i < config->layers; i++)
        layers[config->local[i] ? KV_LOCAL : KV_GLOBAL]++;
    if (!layers[KV_LOCAL] || !layers[KV_GLOBAL])
        return (struct kv_layout){.page_positions = page_positions, .block_layers = config->layers, .blocks = {1, 0}};
    struct kv_layout l = {.page_positions = page_positions, .window = config->window};
    for (l.block_layers = layers[KV_GLOBAL];; l.block_layers--) {
        for (int kind = 0; kind < KV_KINDS; kind++)
            l.blocks[kind] = blocks_of(layers[kind], l.block_layers);
        if (kv_layout_whole(&l) * l.block_layers <= config->layers + waste)
            return l; /* blocks of one layer waste none */
    }
}

void kv_layout_places(const struct kv_layout *layout, const struct model_config *config, struct kv_place *places)
{
    int count[KV_KINDS] = {0};
    for (int i = 0; i < config->layers; i++) {
        enum kv_kind kind = config->local[i] && layout->blocks[KV_LOCAL] ? KV_LOCAL : KV_GLOBAL;
        int at = count[kind]++, first = kind == KV_LOCAL ? layout->blocks[KV_GLOBAL] : 0;
        places[i] = (struct kv_place){first + at / layout->block_layers, at % layout->block_layers};
    }
}

int kv_layout_whole(const struct kv_layout *layout)
{
    return layout->blocks[KV_GLOBAL] + layout->blocks[KV_LOCAL];
}

int kv_layout_first(const struct kv_layout *layout, int position)
{
    int key = position + 1 - layout->window; /* the first that the row there sees */
    return layout->blocks[KV_LOCAL] && key > 0 ? key / layout->page_positions : 0;
}

int kv_layout_local_most(const struct kv_layout *layout, int rows)
{
    /* Keys of the first new row's window, and the new rows: wherever they begin in a page. */
    int positions = layout->window - 1 + rows;
    return (positions + layout->page_positions - 2) / layout->page_positions + 1;
}

static int64_t pages_of(const struct kv_layout *layout, int positions)
{
    return ((int64_t)positions + layout->page_positions - 1) / layout->page_positions;
}

int64_t kv_layout_blocks(const struct kv_layout *layout, int positions, int rows)
{
    int64_t pages = pages_of(layout, positions), most = kv_layout_local_most(layout, rows);
    return pages * layout->blocks[KV_GLOBAL] + (pages < most ? pages : most) * layout->blocks[KV_LOCAL];
}

int kv_layout_reach(const struct kv_layout *layout, int64_t blocks, int rows)
{
    int64_t pages = blocks / kv_layout_whole(layout), most = kv_layout_local_most(layout, rows);
    if (layout->blocks[KV_LOCAL] && pages >= most)
        pages = (blocks - most * layout->blocks[KV_LOCAL]) / layout->blocks[KV_GLOBAL];
    int64_t positions = pages * layout->page_positions;
    return positions < INT32_MAX ? (int)positions : INT32_MAX;
}
