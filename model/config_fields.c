/* config_fields.c - a configuration file, its fields, and the checks of fields that families share */
#include <errno.h>
#include <math.h>
#include <stdio.h>
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

int number_or_absent(const struct source *s, const char *name, const json_t *value, double least, double most, float absent,
                     float *out)
{
    *out = absent;
    return value ? number_check(s, name, value, least, most, out) : 0;
}

int string_check(const struct source *s, const char *name, const json_t *value, const char *must)
{
    if (value && (!json_is_string(value) || strcmp(json_string_value(value), must)))
        return fail(s->err, "%s: %s must be \"%s\"", s->path, name, must);
    return 0;
}

int fields_read(void *to, const struct source *s, const struct int_field *fields, size_t n, const json_t *object,
                const char *prefix)
{
    for (size_t i = 0; i < n; i++) {
        const struct int_field *f = &fields[i];
        int *out = (int *)(void *)((char *)to + f->offset);
        char name[128];
        const json_t *value = object ? field_get(object, f->name) : language_field(s, f->name);
        snprintf(name, sizeof name, "%s%s%s", object ? prefix : "", object ? "." : "", f->name);
        if (!value && f->other)
            value = object ? field_get(object, f->other) : language_field(s, f->other);
        *out = f->absent;
        if ((value || !f->absent) && int_check(s, name, value, f->least, f->most, out))
            return -1;
    }
    return 0;
}

int heads_check(struct model_config *c, const struct source *s, int absent)
{
    const json_t *width = language_field(s, "head_dim");
    if (c->h % c->g)
        return fail(s->err, "%s: num_attention_heads %d must be a multiple of num_key_value_heads %d", s->path, c->h, c->g);
    if (!width && !absent && c->d % c->h)
        return fail(s->err, "%s: hidden_size %d must be a multiple of num_attention_heads %d", s->path, c->d, c->h);
    c->c = absent ? absent : c->d / c->h;
    if (width && int_check(s, "head_dim", width, 2, 1024, &c->c))
        return -1;
    if (c->c % 2)
        return fail(s->err, "%s: head_dim %d must be even", s->path, c->c);
    return 0;
}

int channels_read(const struct source *s, const char *name, double least, float out[3])
{
    const json_t *value = field_get(s->root, name);
    if (!value)
        return 0;
    if (!json_is_array(value) || json_array_size(value) != 3)
        return fail(s->err, "%s: %s must be three numbers", s->path, name);
    for (int i = 0; i < 3; i++)
        if (number_check(s, name, json_array_get(value, (size_t)i), least, 1e3, &out[i]))
            return -1;
    return 0;
}

/* Sizes that config.json also holds must agree with it. */
int same_check(const struct source *s, const char *name, int other)
{
    const json_t *value = field_get(s->root, name);
    if (value && (!json_is_integer(value) || json_integer_value(value) != other))
        return fail(s->err, "%s: %s must be %d as in config.json", s->path, name, other);
    return 0;
}

/* The steps from bytes to numbers are fixed: resized by the family's filter (its number in Pillow), divided by 255, normalised. */
int steps_check(const struct source *s, int filter, const char *filter_name)
{
    static const char *const steps[] = {"do_resize", "do_rescale", "do_normalize"};
    const json_t *factor = field_get(s->root, "rescale_factor"), *resample = field_get(s->root, "resample");
    for (size_t i = 0; i < sizeof steps / sizeof *steps; i++)
        if (field_get(s->root, steps[i]) && !json_is_true(field_get(s->root, steps[i])))
            return fail(s->err, "%s: %s must be true", s->path, steps[i]);
    if (factor && !(fabs(json_number_value(factor) * 255 - 1) < 1e-6))
        return fail(s->err, "%s: rescale_factor must be 1 / 255", s->path);
    if (resample && json_integer_value(resample) != filter)
        return fail(s->err, "%s: resample must be %d (%s)", s->path, filter, filter_name);
    return 0;
}
