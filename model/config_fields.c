/* config_fields.c - a configuration file, its fields, and the checks of one field */
#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "model/config_parts.h"

const json_t *field_get(const json_t *object, const char *name)
{
    const json_t *value = json_object_get(object, name);
    return json_is_null(value) ? NULL : value;
}

int source_open(struct source *s, const char *path, bool optional, struct error *err)
{
    json_error_t where;
    *s = (struct source){.path = path, .err = err};
    if (optional && access(path, F_OK) && errno == ENOENT)
        return 0;
    s->root = json_load_file(path, JSON_REJECT_DUPLICATES, &where);
    if (!s->root && where.line < 0)
        return fail(err, "%s", where.text); /* it could not be read; the text names the file */
    if (!s->root)
        return fail(err, "%s: line %d: %s", path, where.line, where.text);
    if (!json_is_object(s->root))
        return fail(err, "%s: must be a JSON object", path);
    s->text = field_get(s->root, "text_config");
    s->vision = field_get(s->root, "vision_config");
    if (s->text && !json_is_object(s->text))
        return fail(err, "%s: text_config must be a JSON object", path);
    return 0;
}

void source_close(struct source *s)
{
    json_decref(s->root);
}

const json_t *language_field(const struct source *s, const char *name)
{
    const json_t *value = field_get(s->text, name);
    return value ? value : field_get(s->root, name);
}

int int_check(const struct source *s, const char *name, const json_t *value, int least, int most, int *out)
{
    if (!value)
        return fail(s->err, "%s: %s is missing; it must be an integer from %d to %d", s->path, name, least, most);
    if (!json_is_integer(value) || json_integer_value(value) < least || json_integer_value(value) > most)
        return fail(s->err, "%s: %s must be an integer from %d to %d", s->path, name, least, most);
    *out = (int)json_integer_value(value);
    return 0;
}

int number_check(const struct source *s, const char *name, const json_t *value, double least, double most, float *out)
{
    double number = json_number_value(value);
    if (!json_is_number(value) || !(number >= least && number <= most))
        return fail(s->err, "%s: %s %s a number from %g to %g", s->path, name, value ? "must be" : "is missing; it must be", least,
                    most);
    *out = (float)number;
    return 0;
}

int string_check(const struct source *s, const char *name, const json_t *value, const char *must)
{
    if (value && (!json_is_string(value) || strcmp(json_string_value(value), must)))
        return fail(s->err, "%s: %s must be \"%s\"", s->path, name, must);
    return 0;
}
