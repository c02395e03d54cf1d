/* inspect.c - massv inspect: what a checkpoint is, on how many ranks it fits, and which drafters go with it */
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/cli.h"
#include "model/complete.h"
#include "model/config.h"
#include "model/drafter_fit.h"
#include "model/family.h"
#include "model/model.h"
#include "model/projector.h"
#include "model/tokenizer.h"
#include "model/vision.h"

enum { KEY_WITH = 256, KEY_JSON };

struct arguments {
    const char *dir, *with;
    bool json;
};

static const struct argp_option flags[] = {
    {"with", KEY_WITH, "DIR", 0, "a second checkpoint: can it be this one's drafter, and of which kind?", 0},
    {"json", KEY_JSON, 0, 0, "one JSON object instead of text", 0},
    {0}};

static const char doc[] =
    "massv inspect - say what a checkpoint is\v"
    "Family, shapes, parameters, number format, weight bytes of each rank for 1, 2, 4 and 8 ranks (or why that many "
    "cannot hold it) and tokenizer. Of the weights only headers are read: every tensor must be there, in its shape.\n\n"
    "Example:\n  massv inspect models/scenes-large --with models/scenes-massv";

static error_t arguments_parse(int key, char *arg, struct argp_state *state)
{
    struct arguments *a = state->input;
    switch (key) {
    case KEY_WITH:
        a->with = arg;
        return 0;
    case KEY_JSON:
        a->json = true;
        return 0;
    case ARGP_KEY_ARG:
        if (a->dir)
            argp_error(state, "%s: one folder is wanted; a drafter is named by --with", arg);
        a->dir = arg;
        return 0;
    case ARGP_KEY_NO_ARGS:
        argp_error(state, "which folder?");
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

struct checkpoint {
    struct model_config config;
    struct safetensors *st;
    struct tokenizer *tokenizer;
};

static int checkpoint_open(struct checkpoint *c, const char *dir, struct error *err)
{
    if (config_read(&c->config, dir, err) || safetensors_open(&c->st, dir, err) || tokenizer_open(&c->tokenizer, dir, err))
        return -1;
    return checkpoint_complete(c->st, &c->config, err);
}

static void checkpoint_close(struct checkpoint *c)
{
    tokenizer_close(c->tokenizer);
    safetensors_close(c->st);
}

static json_int_t tensor_count(const struct tensor *t)
{
    return (json_int_t)(t->bytes / dtype_size(t->dtype));
}

/* All numbers of the files, and the format in which most of them are stored. */
static json_int_t checkpoint_parameters(const struct checkpoint *c, enum dtype *dtype)
{
    json_int_t count[DTYPE_COUNT] = {0}, all = 0;
    for (int i = 0; i < safetensors_count(c->st); i++) {
        const struct tensor *t = safetensors_at(c->st, i);
        count[t->dtype] += tensor_count(t);
        all += tensor_count(t);
    }
    *dtype = DTYPE_F32;
    for (int d = 0; d < DTYPE_COUNT; d++)
        if (count[d] > count[*dtype])
            *dtype = (enum dtype)d;
    return all;
}

static json_t *language_json(const struct model_config *c)
{
    int local = 0;
    for (int i = 0; i < c->layers; i++)
        local += c->local[i];
    return json_pack("{si si si si si si si sb si si si}", "layers", c->layers, "width", c->d, "query_heads", c->h,
                     "key_value_heads", c->g, "head_width", c->c, "mlp_width", c->ff, "vocabulary", c->vocabulary, "tied_head",
                     c->tied, "max_positions", c->max_positions, "local_layers", local, "window", c->window);
}

static json_t *vision_json(const struct model_config *c)
{
    const struct vision_config *v = &c->vision;
    if (!c->has_vision)
        return json_null();
    return json_pack("{si si si si si si si si si ss}", "blocks", v->depth, "width", v->d, "heads", v->heads, "mlp_width", v->ff,
                     "patch", v->patch, "merge", v->merge, "window_pixels", v->window, "picture_tokens", config_picture_tokens(c),
                     "most_crops", c->picture.crops ? c->picture.crop_most : 0, "projector", projector_kind_names[c->projector]);
}

static json_t *ranks_json(const struct model_config *c, enum dtype dtype)
{
    json_t *list = json_array();
    for (int ranks = 1; ranks <= 8; ranks *= 2) {
        struct error err;
        json_t *row;
        if (model_ranks_possible(c, ranks, &err))
            row = json_pack("{si sb ss}", "ranks", ranks, "possible", 0, "reason", err.text);
        else
            row = json_pack("{si sb sI sI sI}", "ranks", ranks, "possible", 1, "weight_bytes_per_rank",
                            (json_int_t)model_shard_bytes(c, ranks, dtype), "cache_bytes_per_position",
                            (json_int_t)model_position_bytes(c, ranks), "cache_bytes_of_a_context",
                            (json_int_t)model_sequence_bytes(c, ranks, c->max_positions, MODEL_ROWS));
        json_array_append_new(list, row);
    }
    return list;
}

/* As the coordinator decides it; a file that cannot be read ends the command, a drafter that does not fit is an answer. */
static json_t *drafter_json(struct checkpoint *t, struct checkpoint *d, const char *name, struct error *err)
{
    uint64_t tower[2];
    enum drafter_kind kind;
    if (t->config.has_vision && tower_hash(t->st, &t->config, tower, err))
        return NULL;
    const struct drafter_target target = {&t->config, t->tokenizer, t->config.has_vision ? tower : NULL};
    if (drafter_fit(&kind, &d->config, d->tokenizer, d->st, &target, err))
        return json_pack("{ss sb ss}", "drafter", name, "compatible", 0, "reason", err->text);
    return json_pack("{ss sb ss}", "drafter", name, "compatible", 1, "kind", drafter_kind_name(kind));
}

static json_t *inspect(struct checkpoint *t, struct checkpoint *d, struct error *err)
{
    enum dtype dtype;
    json_int_t parameters = checkpoint_parameters(t, &dtype);
    json_t *with = json_null();
    if (d && !(with = drafter_json(t, d, d->config.name, err)))
        return NULL;
    json_t *all = json_pack("{ss ss ss sI ss so so so s{si} so}", "model", t->config.name, "family", t->config.family->model_type,
                            "architecture", t->config.family->architecture, "parameters", parameters, "dtype", dtype_name(dtype),
                            "language", language_json(&t->config), "vision", vision_json(&t->config), "ranks",
                            ranks_json(&t->config, dtype), "tokenizer", "ids", tokenizer_size(t->tokenizer), "with", with);
    if (!all)
        fail(err, "no memory");
    return all;
}

static json_int_t whole(const json_t *object, const char *key)
{
    return json_integer_value(json_object_get(object, key));
}

static const char *text(const json_t *object, const char *key)
{
    return json_string_value(json_object_get(object, key));
}

static void print_ranks(const json_t *list)
{
    size_t i;
    const json_t *row;
    json_array_foreach(list, i, row)
    {
        if (json_is_true(json_object_get(row, "possible")))
            printf("%-12s %lld x %.2f MB of weights, %lld bytes a cached position, %.2f MB a context\n", i ? "" : "ranks",
                   (long long)whole(row, "ranks"), (double)whole(row, "weight_bytes_per_rank") * 1e-6,
                   (long long)whole(row, "cache_bytes_per_position"), (double)whole(row, "cache_bytes_of_a_context") * 1e-6);
        else
            printf("%-12s %lld not possible: %s\n", i ? "" : "ranks", (long long)whole(row, "ranks"), text(row, "reason"));
    }
}

static void print_with(const json_t *with)
{
    if (json_is_null(with))
        return;
    if (json_is_true(json_object_get(with, "compatible")))
        printf("%-12s %s: yes, kind %s\n", "drafter", text(with, "drafter"), text(with, "kind"));
    else
        printf("%-12s %s: no: %s\n", "drafter", text(with, "drafter"), text(with, "reason"));
}

static void print_vision(const json_t *v)
{
    if (json_is_null(v)) {
        printf("%-12s none\n", "vision");
        return;
    }
    printf("%-12s %lld blocks of %lld; %lld heads; MLP %lld; patch %lld, merge %lld", "vision", (long long)whole(v, "blocks"),
           (long long)whole(v, "width"), (long long)whole(v, "heads"), (long long)whole(v, "mlp_width"),
           (long long)whole(v, "patch"), (long long)whole(v, "merge"));
    if (whole(v, "window_pixels"))
        printf(", window %lld pixels", (long long)whole(v, "window_pixels"));
    if (whole(v, "picture_tokens"))
        printf("; %lld tokens a picture", (long long)whole(v, "picture_tokens"));
    if (whole(v, "most_crops"))
        printf(", and each of up to %lld crops of it", (long long)whole(v, "most_crops"));
    printf("; projector %s\n", text(v, "projector"));
}

static void print_text(const json_t *all)
{
    const json_t *l = json_object_get(all, "language"), *v = json_object_get(all, "vision");
    printf("%-12s %s (%s, %s)\n", "model", text(all, "model"), text(all, "family"), text(all, "architecture"));
    printf("%-12s %.2f M as %s\n", "parameters", (double)whole(all, "parameters") * 1e-6, text(all, "dtype"));
    printf("%-12s %lld layers of %lld; %lld query and %lld key/value heads of %lld; MLP %lld; vocabulary %lld%s; %lld positions\n",
           "language", (long long)whole(l, "layers"), (long long)whole(l, "width"), (long long)whole(l, "query_heads"),
           (long long)whole(l, "key_value_heads"), (long long)whole(l, "head_width"), (long long)whole(l, "mlp_width"),
           (long long)whole(l, "vocabulary"), json_is_true(json_object_get(l, "tied_head")) ? " (tied)" : "",
           (long long)whole(l, "max_positions"));
    if (whole(l, "local_layers"))
        printf("%-12s %lld of the layers see the last %lld positions\n", "", (long long)whole(l, "local_layers"),
               (long long)whole(l, "window"));
    print_vision(v);
    print_ranks(json_object_get(all, "ranks"));
    printf("%-12s %lld ids\n", "tokenizer", (long long)whole(json_object_get(all, "tokenizer"), "ids"));
    print_with(json_object_get(all, "with"));
}

int command_inspect(struct comm *comm, int argc, char **argv)
{
    struct arguments a = {0};
    struct checkpoint target = {0}, drafter = {0};
    struct error err;
    json_t *all = NULL;
    const struct argp argp = {.options = flags, .parser = arguments_parse, .args_doc = "DIR", .doc = doc};
    cli_parse(&argp, argc, argv, &a);
    if (!checkpoint_open(&target, a.dir, &err) && (!a.with || !checkpoint_open(&drafter, a.with, &err)))
        all = inspect(&target, a.with ? &drafter : NULL, &err);
    checkpoint_close(&drafter);
    checkpoint_close(&target);
    if (!all)
        return cli_failed(comm, argv[0], &err);
    if (comm->rank == 0 && a.json) {
        json_dumpf(all, stdout, JSON_COMPACT);
        putchar('\n');
    } else if (comm->rank == 0) {
        print_text(all);
    }
    json_decref(all);
    return CLI_DONE;
}
