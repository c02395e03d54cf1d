/* config.c - the configuration files of a checkpoint folder */
#include "model/config.h"

#include <errno.h>
#include <jansson.h>
#include <math.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/memory.h"
#include "model/chat_template.h"
#include "model/family.h"

/* One file being read. A field of the language model stands in text_config where there is one (a nested file may hold stale copies
 * at the top), else at the top. */
struct source {
    const char *path;
    json_t *root;
    const json_t *text;   /* text_config, or NULL */
    const json_t *vision; /* vision_config, or NULL */
    struct error *err;
};

struct int_field {
    const char *name, *other; /* other: a second name, or NULL */
    size_t offset;            /* of an int in the struct to fill in */
    int least, most;
};

#define LANGUAGE(name, member, most)                                                                                               \
    {                                                                                                                              \
        name, NULL, offsetof(struct model_config, member), 1, most                                                                 \
    }
#define VISION(name, other, member, most)                                                                                          \
    {                                                                                                                              \
        name, other, offsetof(struct vision_config, member), 1, most                                                               \
    }

/* The upper limits only keep products of two within an int; they are far above any model. */
static const struct int_field language_fields[] = {
    LANGUAGE("num_hidden_layers", layers, 1024),
    LANGUAGE("hidden_size", d, 1 << 17),
    LANGUAGE("num_attention_heads", h, 1 << 12),
    LANGUAGE("num_key_value_heads", g, 1 << 12),
    LANGUAGE("intermediate_size", ff, 1 << 20),
    LANGUAGE("vocab_size", vocabulary, 1 << 24),
    LANGUAGE("max_position_embeddings", max_positions, 1 << 24),
};

static const struct int_field vision_fields[] = {
    VISION("depth", NULL, depth, 128),
    VISION("hidden_size", NULL, d, 1 << 15),
    VISION("num_heads", NULL, heads, 1 << 10),
    VISION("intermediate_size", NULL, ff, 1 << 17),
    VISION("out_hidden_size", NULL, out_d, 1 << 17),
    VISION("patch_size", NULL, patch, 256),
    VISION("temporal_patch_size", NULL, temporal_patch, 16),
    VISION("spatial_merge_size", NULL, merge, 16),
    VISION("in_chans", "in_channels", channels, 16),
    VISION("window_size", NULL, window, 1 << 14),
};

/* ---- files and fields ---- */

/* A missing file is an error unless it is optional: then root is NULL. */
static int source_open(struct source *s, const char *path, bool optional, struct error *err)
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
    s->text = json_object_get(s->root, "text_config");
    s->vision = json_object_get(s->root, "vision_config");
    if (s->text && !json_is_object(s->text))
        return fail(err, "%s: text_config must be a JSON object", path);
    return 0;
}

static void source_close(struct source *s)
{
    json_decref(s->root);
}

/* NULL where the field is absent or null. */
static const json_t *field_get(const json_t *object, const char *name)
{
    const json_t *value = json_object_get(object, name);
    return json_is_null(value) ? NULL : value;
}

static const json_t *language_field(const struct source *s, const char *name)
{
    const json_t *value = field_get(s->text, name);
    return value ? value : field_get(s->root, name);
}

static int int_check(const struct source *s, const char *name, const json_t *value, int least, int most, int *out)
{
    if (!value)
        return fail(s->err, "%s: %s is missing; it must be an integer from %d to %d", s->path, name, least, most);
    if (!json_is_integer(value) || json_integer_value(value) < least || json_integer_value(value) > most)
        return fail(s->err, "%s: %s must be an integer from %d to %d", s->path, name, least, most);
    *out = (int)json_integer_value(value);
    return 0;
}

static int number_check(const struct source *s, const char *name, const json_t *value, double least, double most, float *out)
{
    double number = json_number_value(value);
    if (!json_is_number(value) || !(number >= least && number <= most))
        return fail(s->err, "%s: %s %s a number from %g to %g", s->path, name, value ? "must be" : "is missing; it must be", least,
                    most);
    *out = (float)number;
    return 0;
}

/* Leaves *out where the field is absent. */
static int number_or_default(const struct source *s, const char *name, double least, double most, float *out)
{
    const json_t *value = field_get(s->root, name);
    return value ? number_check(s, name, value, least, most, out) : 0;
}

/* ---- config.json ---- */

static int family_read(struct model_config *c, const struct source *s)
{
    const char *type = json_string_value(field_get(s->root, "model_type"));
    const json_t *architecture = json_array_get(field_get(s->root, "architectures"), 0);
    if (!type)
        return fail(s->err, "%s: model_type is missing; supported are %s", s->path, family_list());
    c->family = family_find(type);
    if (!c->family)
        return fail(s->err, "%s: model_type %s is not supported; supported are %s", s->path, type, family_list());
    if (architecture && (!json_is_string(architecture) || strcmp(json_string_value(architecture), c->family->architecture)))
        return fail(s->err, "%s: architectures names %s; for model_type %s it must be %s", s->path,
                    json_is_string(architecture) ? json_string_value(architecture) : "no string", type, c->family->architecture);
    return 0;
}

/* What this program would compute wrongly if it overlooked it. */
static int unsupported_check(const struct source *s)
{
    const json_t *act = language_field(s, "hidden_act");
    if (act && (!json_is_string(act) || strcmp(json_string_value(act), "silu")))
        return fail(s->err, "%s: hidden_act must be \"silu\"", s->path);
    if (json_is_true(language_field(s, "use_sliding_window")))
        return fail(s->err, "%s: use_sliding_window must be false", s->path);
    if (language_field(s, "quantization_config"))
        return fail(s->err, "%s: quantization_config: quantized weights are not supported; F32, F16 and BF16 are", s->path);
    return 0;
}

static int heads_check(struct model_config *c, const struct source *s)
{
    const json_t *width = language_field(s, "head_dim");
    if (c->h % c->g)
        return fail(s->err, "%s: num_attention_heads %d must be a multiple of num_key_value_heads %d", s->path, c->h, c->g);
    if (!width && c->d % c->h)
        return fail(s->err, "%s: hidden_size %d must be a multiple of num_attention_heads %d", s->path, c->d, c->h);
    c->c = c->d / c->h;
    if (width && int_check(s, "head_dim", width, 2, 1024, &c->c))
        return -1;
    if (c->c % 2)
        return fail(s->err, "%s: head_dim %d (hidden_size / num_attention_heads) must be even", s->path, c->c);
    return 0;
}

static int sections_read(struct model_config *c, const struct source *s, const json_t *sections)
{
    int sum = 0;
    if (!json_is_array(sections) || json_array_size(sections) != 3)
        return fail(s->err, "%s: mrope_section must be three integers (time, height, width)", s->path);
    for (int i = 0; i < 3; i++) {
        if (int_check(s, "mrope_section", json_array_get(sections, (size_t)i), 0, c->c / 2, &c->mrope_section[i]))
            return -1;
        sum += c->mrope_section[i];
    }
    if (sum != c->c / 2)
        return fail(s->err, "%s: mrope_section %d + %d + %d must sum to %d, half of the head width", s->path, c->mrope_section[0],
                    c->mrope_section[1], c->mrope_section[2], c->c / 2);
    return 0;
}

/* rope_theta and M-RoPE stand at the top, in rope_scaling, or (transformers >= 5) in rope_parameters. "type" may say mrope, default
 * or nothing: mrope_section alone tells. */
static int rope_read(struct model_config *c, const struct source *s)
{
    const json_t *parameters = language_field(s, "rope_parameters"), *scaling = language_field(s, "rope_scaling");
    const json_t *theta = field_get(parameters, "rope_theta"), *where = parameters ? parameters : scaling;
    const json_t *sections = field_get(where, "mrope_section");
    const json_t *type = field_get(where, "rope_type") ? field_get(where, "rope_type") : field_get(where, "type");
    if (number_check(s, "rope_theta", theta ? theta : language_field(s, "rope_theta"), 1, 1e12, &c->rope_theta))
        return -1;
    if (type && strcmp(json_is_string(type) ? json_string_value(type) : "", "default") &&
        strcmp(json_is_string(type) ? json_string_value(type) : "", "mrope"))
        return fail(s->err, "%s: rope type %s is not supported; default and mrope are", s->path,
                    json_is_string(type) ? json_string_value(type) : "(no string)");
    if (sections)
        return sections_read(c, s, sections);
    if (c->family->has_vision)
        return fail(s->err, "%s: rope_scaling: mrope_section is missing; it must be three integers that sum to %d", s->path,
                    c->c / 2);
    return 0;
}

static int vision_read(struct vision_config *v, const struct source *s)
{
    const json_t *blocks = field_get(s->vision, "fullatt_block_indexes");
    if (!json_is_object(s->vision))
        return fail(s->err, "%s: vision_config is missing; it must be a JSON object", s->path);
    for (size_t i = 0; i < sizeof vision_fields / sizeof *vision_fields; i++) {
        const struct int_field *f = &vision_fields[i];
        char name[64];
        const json_t *value = field_get(s->vision, f->name);
        snprintf(name, sizeof name, "vision_config.%s", f->name);
        if (!value && f->other)
            value = field_get(s->vision, f->other);
        if (int_check(s, name, value, f->least, f->most, (int *)(void *)((char *)v + f->offset)))
            return -1;
    }
    if (!json_is_array(blocks))
        return fail(s->err, "%s: vision_config.fullatt_block_indexes is missing; it must be a list of block numbers", s->path);
    for (size_t i = 0; i < json_array_size(blocks); i++) {
        int block;
        if (int_check(s, "vision_config.fullatt_block_indexes", json_array_get(blocks, i), 0, v->depth - 1, &block))
            return -1;
        v->full_attention[block] = 1;
    }
    return 0;
}

static int vision_check(const struct model_config *c, const struct source *s)
{
    const struct vision_config *v = &c->vision;
    if (v->d % v->heads || v->d / v->heads % 4)
        return fail(s->err, "%s: vision_config.hidden_size %d must be num_heads %d times a multiple of 4 (two axes of pairs)",
                    s->path, v->d, v->heads);
    if (v->out_d != c->d)
        return fail(s->err, "%s: vision_config.out_hidden_size %d must be hidden_size %d", s->path, v->out_d, c->d);
    if (v->window < v->patch * v->merge)
        return fail(s->err, "%s: vision_config.window_size %d must be at least patch_size x spatial_merge_size = %d", s->path,
                    v->window, v->patch * v->merge);
    if (v->channels != 3)
        return fail(s->err, "%s: vision_config.in_chans %d must be 3", s->path, v->channels);
    return 0;
}

static int picture_ids_read(struct model_config *c, const struct source *s)
{
    const struct {
        const char *name;
        int32_t *id;
    } ids[] = {{"image_token_id", &c->image_id},
               {"vision_start_token_id", &c->vision_start_id},
               {"vision_end_token_id", &c->vision_end_id}};
    for (int i = 0; i < 3; i++)
        if (int_check(s, ids[i].name, language_field(s, ids[i].name), 0, c->vocabulary - 1, ids[i].id))
            return -1;
    return 0;
}

/* tie_word_embeddings belongs to the whole model: the top counts before text_config. Absent = false, as in the Qwen2 classes. */
static int tied_read(struct model_config *c, const struct source *s)
{
    const json_t *tied = field_get(s->root, "tie_word_embeddings");
    if (!tied)
        tied = field_get(s->text, "tie_word_embeddings");
    if (tied && !json_is_boolean(tied))
        return fail(s->err, "%s: tie_word_embeddings must be true or false", s->path);
    c->tied = json_is_true(tied);
    return 0;
}

static int language_read(struct model_config *c, const struct source *s)
{
    for (size_t i = 0; i < sizeof language_fields / sizeof *language_fields; i++) {
        const struct int_field *f = &language_fields[i];
        if (int_check(s, f->name, language_field(s, f->name), f->least, f->most, (int *)(void *)((char *)c + f->offset)))
            return -1;
    }
    if (number_check(s, "rms_norm_eps", language_field(s, "rms_norm_eps"), 0, 1, &c->norm_eps))
        return -1;
    return unsupported_check(s) || heads_check(c, s) || rope_read(c, s) || tied_read(c, s) ? -1 : 0;
}

/* An id, or a list of ids; absent leaves none. */
static int stop_ids_read(struct model_config *c, const struct source *s, const json_t *value)
{
    struct generation_config *g = &c->generation;
    size_t n = json_is_array(value) ? json_array_size(value) : value ? 1 : 0;
    g->n_stop_ids = 0;
    if (n > CONFIG_STOP_IDS)
        return fail(s->err, "%s: eos_token_id has %zu ids; at most %d are supported", s->path, n, CONFIG_STOP_IDS);
    for (size_t i = 0; i < n; i++)
        if (int_check(s, "eos_token_id", json_is_array(value) ? json_array_get(value, i) : value, 0, c->vocabulary - 1,
                      &g->stop_ids[g->n_stop_ids++]))
            return -1;
    return 0;
}

static int main_read(struct model_config *c, const char *path, struct error *err)
{
    struct source s;
    int status = source_open(&s, path, false, err) || family_read(c, &s) || language_read(c, &s) ? -1 : 0;
    c->image_id = c->vision_start_id = c->vision_end_id = -1;
    c->has_vision = !status && c->family->has_vision;
    if (c->has_vision)
        status = vision_read(&c->vision, &s) || vision_check(c, &s) || picture_ids_read(c, &s) ? -1 : 0;
    if (!status)
        status = stop_ids_read(c, &s, language_field(&s, "eos_token_id"));
    source_close(&s);
    return status;
}

/* ---- preprocessor_config.json ---- */

static int pixels_read(const struct source *s, const char *name, const char *edge, int64_t *out)
{
    const json_t *value = field_get(s->root, name);
    if (!value)
        value = field_get(field_get(s->root, "size"), edge);
    if (!value)
        return 0;
    if (!json_is_integer(value) || json_integer_value(value) < 1 || json_integer_value(value) > (json_int_t)1 << 40)
        return fail(s->err, "%s: %s (or size.%s) must be an integer from 1 to 2^40", s->path, name, edge);
    *out = json_integer_value(value);
    return 0;
}

static int channels_read(const struct source *s, const char *name, double least, float out[3])
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
static int same_check(const struct source *s, const char *name, int other)
{
    const json_t *value = field_get(s->root, name);
    if (value && (!json_is_integer(value) || json_integer_value(value) != other))
        return fail(s->err, "%s: %s must be %d as in config.json", s->path, name, other);
    return 0;
}

static int picture_read(struct model_config *c, const char *path, struct error *err)
{
    struct source s;
    struct picture_config *p = &c->picture;
    /* What the published files say; CLIP's mean and deviation. */
    *p = (struct picture_config){.min_pixels = 56 * 56,
                                 .max_pixels = 16384 * 28 * 28,
                                 .mean = {0.48145466f, 0.4578275f, 0.40821073f},
                                 .std = {0.26862954f, 0.26130258f, 0.27577711f}};
    int status = source_open(&s, path, true, err) || pixels_read(&s, "min_pixels", "shortest_edge", &p->min_pixels) ||
                         pixels_read(&s, "max_pixels", "longest_edge", &p->max_pixels) ||
                         channels_read(&s, "image_mean", -1e3, p->mean) || channels_read(&s, "image_std", 1e-6, p->std) ||
                         same_check(&s, "patch_size", c->vision.patch) || same_check(&s, "merge_size", c->vision.merge) ||
                         same_check(&s, "temporal_patch_size", c->vision.temporal_patch)
                     ? -1
                     : 0;
    if (!status && p->min_pixels > p->max_pixels)
        status = fail(err, "%s: min_pixels %lld must not exceed max_pixels %lld", path, (long long)p->min_pixels,
                      (long long)p->max_pixels);
    source_close(&s);
    return status;
}

/* ---- generation_config.json ---- */

static int sampling_read(struct generation_config *g, const struct source *s)
{
    const json_t *top_k = field_get(s->root, "top_k");
    g->temperature = 1;
    g->top_p = 1;
    g->repetition_penalty = 1;
    if (top_k && int_check(s, "top_k", top_k, 0, 1 << 24, &g->top_k))
        return -1;
    if (number_or_default(s, "temperature", 0, 100, &g->temperature) || number_or_default(s, "top_p", 0, 1, &g->top_p) ||
        number_or_default(s, "min_p", 0, 1, &g->min_p) ||
        number_or_default(s, "repetition_penalty", 1e-3, 1e3, &g->repetition_penalty))
        return -1;
    if (!json_is_true(field_get(s->root, "do_sample")))
        g->temperature = 0;
    return 0;
}

static int generation_read(struct model_config *c, const char *path, struct error *err)
{
    struct source s;
    int status = source_open(&s, path, true, err) || sampling_read(&c->generation, &s) ? -1 : 0;
    const json_t *stop = field_get(s.root, "eos_token_id"); /* absent: what config.json says stays */
    if (!status && stop)
        status = stop_ids_read(c, &s, stop);
    source_close(&s);
    return status;
}

static const char *last_component(const char *dir, size_t *length)
{
    size_t end = strlen(dir), begin;
    while (end > 1 && dir[end - 1] == '/')
        end--;
    for (begin = end; begin > 0 && dir[begin - 1] != '/'; begin--)
        ;
    *length = end - begin;
    return dir + begin;
}

/* The last component of dir; what "." and ".." stand for. A link keeps its own name. */
static void name_read(struct model_config *c, const char *dir)
{
    size_t n;
    const char *name = last_component(dir, &n);
    bool dots = (n == 1 || n == 2) && !strncmp(name, "..", n);
    char *real = dots ? realpath(dir, NULL) : NULL;
    if (real)
        name = last_component(real, &n);
    snprintf(c->name, sizeof c->name, "%.*s", (int)n, name);
    free(real);
}

int config_read(struct model_config *config, const char *dir, struct error *err)
{
    char *paths[] = {mem_format("%s/config.json", dir), mem_format("%s/preprocessor_config.json", dir),
                     mem_format("%s/generation_config.json", dir)};
    *config = (struct model_config){0};
    name_read(config, dir);
    int status = main_read(config, paths[0], err);
    if (!status && config->has_vision)
        status = picture_read(config, paths[1], err);
    if (!status)
        status = generation_read(config, paths[2], err);
    if (!status) {
        snprintf(config->default_system, sizeof config->default_system, "%s", config->family->default_system);
        status = chat_template_system(config->default_system, sizeof config->default_system, dir, err);
    }
    for (int i = 0; i < 3; i++)
        free(paths[i]);
    return status;
}
