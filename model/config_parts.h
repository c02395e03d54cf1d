/* config_parts.h - what the readers of a checkpoint's configuration files share: one file, its fields, and the checks of a field.
 * Checks fill in *out and return 0, or -1 with a text that names the file and the field. */
#ifndef MODEL_CONFIG_PARTS_H
#define MODEL_CONFIG_PARTS_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>

#include "model/config.h"

/* One file being read. A field of the language model stands in text_config where there is one (a nested file may hold stale copies
 * at the top), else at the top. */
struct source {
    const char *path;
    json_t *root;         /* NULL: an optional file that is not there */
    const json_t *text;   /* text_config, or NULL */
    const json_t *vision; /* vision_config, or NULL */
    struct error *err;
};

struct int_field {
    const char *name, *other; /* other: a second name, or NULL */
    size_t offset;            /* of an int in the struct to fill in */
    int least, most;
    int absent; /* what a file without the field means; 0: the field must be there */
};

/* A missing file is an error unless it is optional: then root is NULL. */
int source_open(struct source *s, const char *path, bool optional, struct error *err);
void source_close(struct source *s);

/* NULL where the field is absent or null. */
const json_t *field_get(const json_t *object, const char *name);
const json_t *language_field(const struct source *s, const char *name);

int int_check(const struct source *s, const char *name, const json_t *value, int least, int most, int *out);
int number_check(const struct source *s, const char *name, const json_t *value, double least, double most, float *out);
/* An absent field is in order. */
int number_or_absent(const struct source *s, const char *name, const json_t *value, double least, double most, float absent,
                     float *out);
int string_check(const struct source *s, const char *name, const json_t *value, const char *must);

/* Every field of a table into the struct at `to`. Values stand in `object`, named "prefix.name" in errors; object NULL: they are
 * the language model's. */
int fields_read(void *to, const struct source *s, const struct int_field *fields, size_t n, const json_t *object,
                const char *prefix);

/* What families share, for their readers below. */
int heads_check(struct model_config *c, const struct source *s, int absent); /* h, g, head_dim; absent 0: that is d / h */
int channels_read(const struct source *s, const char *name, double least, float out[3]); /* three numbers; may be absent */
int same_check(const struct source *s, const char *name, int other);                     /* a size that config.json also holds */
int steps_check(const struct source *s, int filter, const char *filter_name);            /* resize, divide by 255, normalise */

/* The member "massv" of a drafter that has another projector than its family's (config_projector.c). */
int projector_read(struct model_config *config, const struct source *s);

/* One family's reading of the files. A text family has no vision and no picture. */
struct config_reader {
    const struct int_field *language; /* sizes of the language model */
    size_t n_language;
    int (*rest)(struct model_config *config, const struct source *s);    /* everything else of it, after the sizes */
    int (*vision)(struct model_config *config, const struct source *s);  /* vision_config, and the ids around pictures */
    int (*picture)(struct model_config *config, const struct source *s); /* the preprocessor's settings; root may be NULL */
    /* From the contents of two config.json: that of `language` behind the target's tower, in the published layout; drafter: what it
     * must read as. Class, type of numbers and whether the head is the table are the caller's to write. */
    json_t *(*join)(const json_t *target, const json_t *language, const struct model_config *drafter);
};
extern const struct config_reader config_reader_qwen, config_reader_gemma;

#endif
