/* config_parts.h - what the readers of a checkpoint's configuration files share: one file, its fields, and the checks of a field.
 * Checks fill in *out and return 0, or -1 with a text that names the file and the field. */
#ifndef MODEL_CONFIG_PARTS_H
#define MODEL_CONFIG_PARTS_H

#include <jansson.h>
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
int string_check(const struct source *s, const char *name, const json_t *value, const char *must);

/* vision_config of config.json. */
int vision_read(struct model_config *config, const struct source *s);
/* Preprocessing, from processor_config.json or preprocessor_config.json in dir. */
int picture_read(struct model_config *config, const char *dir, struct error *err);

#endif
