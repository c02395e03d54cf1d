/* page_key.h - names for the whole pages of a prompt: equal where everything that their rows in a cache depend on is equal.
 *
 * The key of page i, as of the global layers (proto/step.h), is XXH3-128, but for a bit, over the key of page i - 1, the page's
 * ids, their positions (three axes) and, for rows of pictures, the picture's content hash and which of its rows they are. The model
 * is the same in one coordinator; its row classes and ranks are the group's, whose table it is. Two prompts whose keys collide
 * would share rows that are not theirs: among 10^9 pages by chance once in 10^20 such sets, and nobody can search for one, since
 * the hash's secret is drawn at every start. */
#ifndef COORDINATOR_PAGE_KEY_H
#define COORDINATOR_PAGE_KEY_H

#include "coordinator/prepare.h"

struct page_secret {
    unsigned char bytes[192];
};

void page_secret_draw(struct page_secret *secret);

/* keys: of the first n pages of page_positions rows; the prompt has as many rows. pictures: those of the prompt, in its order. */
void page_keys_make(uint64_t (*keys)[2], int n, int page_positions, const struct prompt *prompt,
                    const struct prepared_picture *pictures, const struct page_secret *secret);

#endif
