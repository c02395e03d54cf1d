/* prepare_parts.h - between the preparer (prepare.c) and the way of its pictures (prepare_pictures.c) */
#ifndef COORDINATOR_PREPARE_PARTS_H
#define COORDINATOR_PREPARE_PARTS_H

#include "coordinator/prepare.h"
#include "coordinator/shared_picture.h"

struct preparer {
    struct preparer_options options;
    struct tower *tower; /* NULL of a text model */
    struct merger *merger;
    struct recent_pictures *recent;
};

/* A picture of the request on its way to features. */
struct draft_picture {
    struct shared_picture *shared;
    struct views views; /* none: the features are here already */
};

/* A prompt of n tokens that leaves no room for an answer, or is longer than the service takes any. */
enum rpc_status prepare_rows_check(const struct preparer *preparer, int64_t n, struct error *err);

/* Files to patches and shapes, or to what is kept of them; (request's n_pictures), zeroed before. */
enum rpc_status pictures_begin(const struct preparer *preparer, struct draft_picture *pictures,
                               const struct generate_request *request, struct error *err);
/* Patches to features. */
int pictures_finish(const struct preparer *preparer, struct draft_picture *pictures, int n, struct error *err);
/* Also after an error. Frees the array. */
void pictures_drop(struct draft_picture *pictures, int n);

#endif
