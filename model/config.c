/* config.c - the configuration of a checkpoint folder: config.json's language model, and generation_config.json */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "model/chat_template.h"
#include "model/config_parts.h"
#include "model/family.h"

#define LANGUAGE(name, member, most)                                                                                               \
    {                                                                                                                              \
        name, NULL, offsetof(struct model_config, member), 1, most, 0                                                              \
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
    const json_t *types = language_field(s, "layer_types");
    if (string_check(s, "hidden_act", language_field(s, "hidden_act"), "silu"))
        return -1;
    for (size_t i = 0; i < json_array_size(types); i++)
        if (string_check(s, "layer_types", json_array_get(types, i), "full_attention"))
            return -1;
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

/* Where rope_theta and M-RoPE stand: in rope_scaling or (transformers >= 5) rope_parameters, of text_config or else of the top. */
static const json_t *rope_find(const struct source *s)
{
    const json_t *const objects[] = {s->text, s->root};
    const json_t *rope = NULL;
    for (int i = 0; i < 2 && !rope; i++) {
        rope = field_get(objects[i], "rope_scaling");
        rope = rope ? rope : field_get(objects[i], "rope_parameters");
    }
    return rope;
}

/* "type" may say mrope, default or nothing: mrope_section alone tells. rope_theta may also stand beside the object. */
static int rope_read(struct model_config *c, const struct source *s)
{
    const json_t *rope = rope_find(s), *theta = field_get(rope, "rope_theta"), *sections = field_get(rope, "mrope_section");
    const json_t *type = field_get(rope, "rope_type") ? field_get(rope, "rope_type") : field_get(rope, "type");
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

/* Either place may say so, whatever the other says; absent = false, as in the Qwen2 classes. */
static int tied_read(struct model_config *c, const struct source *s)
{
    const json_t *const objects[] = {s->root, s->text};
    for (int i = 0; i < 2; i++) {
        const json_t *tied = field_get(objects[i], "tie_word_embeddings");
        if (tied && !json_is_boolean(tied))
            return fail(s->err, "%s: tie_word_embeddings must be true or false", s->path);
        c->tied = c->tied || json_is_true(tied);
    }
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
        status = vision_read(c, &s) || picture_ids_read(c, &s) ? -1 : 0;
    if (!status)
        status = stop_ids_read(c, &s, language_field(&s, "eos_token_id"));
    source_close(&s);
    return status;
}

/* ---- generation_config.json ---- */

/* Leaves *out where the field is absent. */
static int number_or_default(const struct source *s, const char *name, double least, double most, float *out)
{
    const json_t *value = field_get(s->root, name);
    return value ? number_check(s, name, value, least, most, out) : 0;
}

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
    char *paths[] = {mem_format("%s/config.json", dir), mem_format("%s/generation_config.json", dir)};
    *config = (struct model_config){0};
    name_read(config, dir);
    int status = main_read(config, paths[0], err);
    if (!status && config->has_vision)
        status = picture_read(config, dir, err);
    if (!status)
        status = generation_read(config, paths[1], err);
    if (!status) {
        snprintf(config->default_system, sizeof config->default_system, "%s", config->family->default_system);
        status = chat_template_system(config->default_system, sizeof config->default_system, dir, err);
    }
    for (int i = 0; i < 2; i++)
        free(paths[i]);
    return status;
}
