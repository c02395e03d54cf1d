/* pictures.c - a list of pictures; a group holds a handful at a time, so a walk finds one */
#include "worker/pictures.h"

#include <stdlib.h>
#include <string.h>

#include "base/memory.h"

struct picture {
    struct picture *next;
    uint64_t hash[2];
    int rows, here;  /* rows [0, here) came */
    float *features; /* (rows, width) */
};

struct pictures {
    struct picture *first;
    int width;
    size_t bytes, limit;
};

struct pictures *pictures_new(int width, size_t limit)
{
    struct pictures *pictures = mem_new(1, sizeof *pictures);
    pictures->width = width;
    pictures->limit = limit;
    return pictures;
}

static size_t picture_bytes(const struct pictures *pictures, int rows)
{
    return (size_t)rows * (size_t)pictures->width * sizeof(float);
}

static void picture_drop(struct pictures *pictures, struct picture **at)
{
    struct picture *picture = *at;
    *at = picture->next;
    pictures->bytes -= picture_bytes(pictures, picture->rows);
    free(picture->features);
    free(picture);
}

void pictures_clear(struct pictures *pictures)
{
    while (pictures->first)
        picture_drop(pictures, &pictures->first);
}

void pictures_free(struct pictures *pictures)
{
    if (!pictures)
        return;
    pictures_clear(pictures);
    free(pictures);
}

/* The link that points to the picture, or the last, empty one. */
static struct picture **picture_find(struct pictures *pictures, const uint64_t hash[2])
{
    struct picture **at = &pictures->first;
    while (*at && ((*at)->hash[0] != hash[0] || (*at)->hash[1] != hash[1]))
        at = &(*at)->next;
    return at;
}

static struct picture *picture_add(struct pictures *pictures, const struct step_piece *piece, struct error *err)
{
    size_t row = picture_bytes(pictures, 1);
    if ((size_t)piece->rows > (pictures->limit - pictures->bytes) / row) {
        fail(err, "picture of %d rows: %zu of %zu bytes for pictures are taken", piece->rows, pictures->bytes, pictures->limit);
        return NULL;
    }
    struct picture *picture = mem_new(1, sizeof *picture);
    picture->features = malloc((size_t)piece->rows * row);
    if (!picture->features) {
        fail(err, "picture of %d rows: out of memory", piece->rows);
        free(picture);
        return NULL;
    }
    memcpy(picture->hash, piece->hash, sizeof picture->hash);
    picture->rows = piece->rows;
    picture->next = pictures->first;
    pictures->first = picture;
    pictures->bytes += (size_t)piece->rows * row;
    return picture;
}

int pictures_piece(struct pictures *pictures, const struct step_piece *piece, struct error *err)
{
    struct picture **at = picture_find(pictures, piece->hash), *picture = *at;
    if (piece->forget) {
        if (picture)
            picture_drop(pictures, at);
        return 0;
    }
    if (piece->width != pictures->width)
        return fail(err, "picture: rows of %d numbers, but this model's have %d", piece->width, pictures->width);
    if (piece->first < 0 || piece->n < 1 || piece->rows < 1 || (int64_t)piece->first + piece->n > piece->rows || !piece->features)
        return fail(err, "picture: %d rows from %d on are no part of its %d", piece->n, piece->first, piece->rows);
    if (picture && picture->rows != piece->rows)
        return fail(err, "picture: %d rows now, %d before", piece->rows, picture->rows);
    if (piece->first > (picture ? picture->here : 0))
        return fail(err, "picture: rows from %d on came before those from %d on", piece->first, picture ? picture->here : 0);
    if (!picture && !(picture = picture_add(pictures, piece, err)))
        return -1;
    memcpy(picture->features + (size_t)piece->first * (size_t)pictures->width, piece->features, picture_bytes(pictures, piece->n));
    if (piece->first + piece->n > picture->here)
        picture->here = piece->first + piece->n;
    return 0;
}

const float *pictures_rows(const struct pictures *pictures, const uint64_t hash[2], int first, int count, struct error *err)
{
    const struct picture *picture = pictures->first;
    while (picture && (picture->hash[0] != hash[0] || picture->hash[1] != hash[1]))
        picture = picture->next;
    int here = picture ? picture->here : 0;
    if (first < 0 || count < 1 || (int64_t)first + count > here) {
        fail(err, "picture %016llx%016llx: rows %d to %lld are named, %d are here", (unsigned long long)hash[0],
             (unsigned long long)hash[1], first, (long long)first + count, here);
        return NULL;
    }
    return picture->features + (size_t)first * (size_t)pictures->width;
}
