/* shared_picture.c - counting, and a list in order of use */
#include "coordinator/shared_picture.h"

#include <stdlib.h>
#include <string.h>

#include "base/memory.h"

struct shared_picture *shared_picture_new(const uint64_t hash[2])
{
    struct shared_picture *picture = mem_new(1, sizeof *picture);
    atomic_init(&picture->holders, 1);
    memcpy(picture->hash, hash, sizeof picture->hash);
    return picture;
}

struct shared_picture *shared_picture_hold(struct shared_picture *picture)
{
    atomic_fetch_add(&picture->holders, 1);
    return picture;
}

void shared_picture_drop(struct shared_picture *picture)
{
    if (!picture || atomic_fetch_sub(&picture->holders, 1) != 1)
        return;
    free(picture->target);
    free(picture->drafter);
    free(picture);
}

struct recent_link {
    struct recent_link *next; /* used longer ago */
    struct shared_picture *picture;
};

struct recent_pictures {
    struct recent_link *first; /* a few dozen: a walk finds one */
    size_t limit;
};

struct recent_pictures *recent_pictures_new(size_t bytes)
{
    struct recent_pictures *recent = mem_new(1, sizeof *recent);
    recent->limit = bytes;
    return recent;
}

static void recent_cut(struct recent_link **at)
{
    struct recent_link *link = *at;
    *at = link->next;
    shared_picture_drop(link->picture);
    free(link);
}

void recent_pictures_free(struct recent_pictures *recent)
{
    if (!recent)
        return;
    while (recent->first)
        recent_cut(&recent->first);
    free(recent);
}

struct shared_picture *recent_pictures_find(struct recent_pictures *recent, const uint64_t hash[2])
{
    for (struct recent_link **at = &recent->first; *at; at = &(*at)->next) {
        struct recent_link *link = *at;
        if (memcmp(link->picture->hash, hash, sizeof link->picture->hash) != 0)
            continue;
        *at = link->next;
        link->next = recent->first;
        recent->first = link;
        return shared_picture_hold(link->picture);
    }
    return NULL;
}

/* Drops from the first link on that does not fit behind the more recent ones. */
static void recent_trim(struct recent_pictures *recent)
{
    size_t bytes = 0;
    struct recent_link **at = &recent->first;
    while (*at && bytes + (*at)->picture->bytes <= recent->limit) {
        bytes += (*at)->picture->bytes;
        at = &(*at)->next;
    }
    while (*at)
        recent_cut(at);
}

void recent_pictures_keep(struct recent_pictures *recent, struct shared_picture *picture)
{
    if (picture->bytes > recent->limit)
        return;
    struct recent_link *link = mem_new(1, sizeof *link);
    link->picture = shared_picture_hold(picture);
    link->next = recent->first;
    recent->first = link;
    recent_trim(recent);
}
