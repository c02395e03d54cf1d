/* config.c - the configuration of a checkpoint folder: which files there are, which family reads them, and generation_config.json
 */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "model/config_parts.h"
#include "model/family.h"
#include "model/prompt_parts.h"

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

static int language_read(struct model_config *c, const struct source *s)
{
    const struct config_reader *reader = c->family->config;
    if (fields_read(c, s, reader->language, reader->n_language, NULL, NULL))
        return -1;
    if (language_field(s, "quantization_config"))
        return fail(s->err, "%s: quantization_config: quantized weights are not supported; F32, F16 and BF16 are", s->path);
    return reader->rest(c, s);
}

static int vision_read(struct model_config *c, const struct source *s)
{
    if (!json_is_object(s->vision))
        return fail(s->err, "%s: vision_config is missing; it must be a JSON object", s->path);
    return c->family->config->vision(c, s);
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
        status = vision_read(c, &s);
    if (!status)
        status = projector_read(c, &s);
    const json_t *stop = field_get(s.root, "eos_token_id"); /* of the conversation; text_config's only ends a text */
    if (!status)
        status = stop_ids_read(c, &s, stop ? stop : language_field(&s, "eos_token_id"));
    source_close(&s);
    return status;
}

/* ---- the preprocessor ---- */

/* transformers from 5 on keeps the settings of all of a processor's parts in processor_config.json, and prefers it; older ones put
 * other things there, and the settings into preprocessor_config.json. Without either root is NULL. */
static int settings_open(struct source *s, const char *processor, const char *preprocessor, struct error *err)
{
    if (source_open(s, processor, true, err))
        return -1;
    json_t *settings = json_object_get(s->root, "image_processor");
    if (json_is_object(settings)) {
        json_incref(settings);
        source_close(s);
        s->root = settings;
        return 0;
    }
    source_close(s);
    return source_open(s, preprocessor, true, err);
}

static int picture_read(struct model_config *config, const char *dir, struct error *err)
{
    struct source s;
    char *processor = mem_format("%s/processor_config.json", dir), *preprocessor = mem_format("%s/preprocessor_config.json", dir);
    int status = settings_open(&s, processor, preprocessor, err) || config->family->config->picture(config, &s) ? -1 : 0;
    source_close(&s);
    free(processor);
    free(preprocessor);
    return status;
}

/* ---- generation_config.json ---- */

static int sampling_read(struct generation_config *g, const struct source *s)
{
    const json_t *top_k = field_get(s->root, "top_k");
    const struct {
        const char *name;
        double least, most;
        float absent, *out;
    } numbers[] = {{"temperature", 0, 100, 1, &g->temperature},
                   {"top_p", 0, 1, 1, &g->top_p},
                   {"min_p", 0, 1, 0, &g->min_p},
                   {"repetition_penalty", 1e-3, 1e3, 1, &g->repetition_penalty}};
    if (top_k && int_check(s, "top_k", top_k, 0, 1 << 24, &g->top_k))
        return -1;
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++)
        if (number_or_absent(s, numbers[i].name, field_get(s->root, numbers[i].name), numbers[i].least, numbers[i].most,
                             numbers[i].absent, numbers[i].out))
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

float config_attention_scale(const struct model_config *config)
{
    return 1.0f / sqrtf((float)(config->query_scalar ? config->query_scalar : config->c));
}

float config_embed_scale(const struct model_config *config, enum dtype dtype)
{
    float scale = config->family->scaled_embeddings ? (float)sqrt((double)config->d) : 1;
    if (dtype == DTYPE_F32)
        return scale;
    int exponent, bits = dtype == DTYPE_BF16 ? 8 : 11; /* of the significand */
    float fraction = frexpf(scale, &exponent);
    return ldexpf(rintf(ldexpf(fraction, bits)), exponent - bits);
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
        const struct chat_format *chat = config->family->chat;
        snprintf(config->default_system, sizeof config->default_system, "%s", chat->default_system);
        if (chat->template_system)
            status = chat->template_system(config->default_system, sizeof config->default_system, dir, err);
    }
    for (int i = 0; i < 2; i++)
        free(paths[i]);
    return status;
}

int config_pan_and_scan(struct model_config *config, enum pan_and_scan choice, struct error *err)
{
    if (choice == PAN_AND_SCAN_ON && !config->picture.crop_most)
        return fail(err, "%s cannot pan and scan: models of its family see no crops of pictures", config->name);
    if (choice != PAN_AND_SCAN_AUTO)
        config->picture.crops = choice == PAN_AND_SCAN_ON;
    return 0;
}
