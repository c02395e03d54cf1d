/* kv_layout.h - how a model's cache is cut: pages of two kinds over blocks of one size.
 *
 * A page holds page_positions positions of a sequence in the layers of one kind: in the global ones, which see everything before,
 * or in the local ones, which see a window and so need only the last pages. Both kinds share one pool of blocks: a block has the
 * keys and values of page_positions positions in block_layers layers, and a page of a kind is as many blocks as its layers need
 * (vLLM's hybrid key/value cache is cut so, too). A model with one kind of layers has global pages only, of one block. */
#ifndef MODEL_KV_LAYOUT_H
#define MODEL_KV_LAYOUT_H

#include "model/config.h"

enum kv_kind { KV_GLOBAL, KV_LOCAL, KV_KINDS };

struct kv_layout {
    int page_positions;
    int block_layers;
    int blocks[KV_KINDS]; /* of a page; 0 local ones: no page is ever outside a window */
    int window;           /* keys that a row of a local layer sees, its own included */
};

struct kv_place { /* of a layer: in block `block` of all that both pages have, the global one's first, as its layer `layer` */
    int block, layer;
};

/* Blocks are as large as waste little: at most one layer in 16 of a block set stays empty. */
struct kv_layout kv_layout(const struct model_config *config, int page_positions);
void kv_layout_places(const struct kv_layout *layout, const struct model_config *config, struct kv_place *places);

/* Blocks of the pages of both kinds. */
int kv_layout_whole(const struct kv_layout *layout);

/* The first local page of which a row at `position` or behind it sees a key. */
int kv_layout_first(const struct kv_layout *layout, int position);

/* The most local pages that a sequence holds at once whose rows come at most `rows` at a time, behind positions that are final. */
int kv_layout_local_most(const struct kv_layout *layout, int rows);

/* Blocks that suffice for such a sequence of so many positions at any time up to there; and the most positions for which so many
 * blocks suffice (INT32_MAX where more would). */
int64_t kv_layout_blocks(const struct kv_layout *layout, int positions, int rows);
int kv_layout_reach(const struct kv_layout *layout, int64_t blocks, int rows);

#endif
