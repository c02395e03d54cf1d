/* pictures.h - the picture features that a group was sent, by content hash: assembled from pieces, bounded in bytes */
#ifndef WORKER_PICTURES_H
#define WORKER_PICTURES_H

#include <stddef.h>

#include "base/error.h"
#include "proto/step.h"

struct pictures;

/* width: of a row, the model's d. limit: bytes over all pictures. */
struct pictures *pictures_new(int width, size_t limit);
void pictures_free(struct pictures *pictures); /* NULL is legal */

/* Stores the rows of a piece, or drops the picture (`forget`; one that is not here is no error). Pieces of a picture come in
 * order; rows that are here already may come again. */
int pictures_piece(struct pictures *pictures, const struct step_piece *piece, struct error *err);

/* Rows [first, first + count) of a picture, (count, width); NULL with text when it or some of them are not here. */
const float *pictures_rows(const struct pictures *pictures, const uint64_t hash[2], int first, int count, struct error *err);

void pictures_clear(struct pictures *pictures);

#endif
