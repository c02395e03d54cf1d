/* shared_picture.h - a picture's features, counted: requests and the list of recent pictures hold one copy together */
#ifndef COORDINATOR_SHARED_PICTURE_H
#define COORDINATOR_SHARED_PICTURE_H

#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>

#include "model/views.h"

struct shared_picture {
    atomic_int holders;
    uint64_t hash[2]; /* XXH3-128 of the file's bytes */
    struct picture_shape shape;
    int rows, drafter_rows;  /* tokens of it, and of each crop, for the target and for the drafter */
    float *target, *drafter; /* ((1 + crops) * rows, d) of each; NULL before they are computed, drafter also without one */
    size_t bytes;            /* of both */
};

/* Held once. */
struct shared_picture *shared_picture_new(const uint64_t hash[2]);
struct shared_picture *shared_picture_hold(struct shared_picture *picture);
/* From any thread; the last one frees. NULL is legal. */
void shared_picture_drop(struct shared_picture *picture);

/* The most recently used pictures within a number of bytes. One thread. */
struct recent_pictures;
struct recent_pictures *recent_pictures_new(size_t bytes);
void recent_pictures_free(struct recent_pictures *recent); /* NULL is legal */
/* Held for the caller; NULL where it is not here. */
struct shared_picture *recent_pictures_find(struct recent_pictures *recent, const uint64_t hash[2]);
/* Keeps it as the most recent, and drops the oldest beyond the bound. One larger than the bound is not kept. */
void recent_pictures_keep(struct recent_pictures *recent, struct shared_picture *picture);

#endif
