/* export_run.c - the tensors of an export, and the files beside them */
#include "train/export.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/memory.h"
#include "model/family.h"
#include "model/fingerprint.h"
#include "model/vision.h"
#include "train/graft.h"
#include "train/run.h"
#include "train/state.h"

struct export
{
    const struct export_options *options;
    struct export_folder folder;
    struct model_config target, language, drafter;
    struct safetensors *target_st, *drafter_st, *state;
    enum dtype dtype; /* of trained tensors */
    struct tensor *tensors;
    void **data;
    int n;
};

/* ---- opening ---- */

static int checkpoints_open(struct export *x, struct error *err)
{
    const struct export_options *o = x->options;
    uint64_t target[2], drafter[2];
    struct graft_projector projector;
    char *path = o->step ? state_kept_path(o->run, o->step) : state_path(o->run);
    int result = run_projector(o->run, &projector, err) || safetensors_open(&x->state, path, err) ||
                         config_read(&x->target, o->target, err) || config_read(&x->language, o->drafter, err) ||
                         graft_config(&x->drafter, &x->target, &x->language, &projector, err) ||
                         safetensors_open(&x->target_st, o->target, err) || safetensors_open(&x->drafter_st, o->drafter, err) ||
                         model_fingerprint(x->target_st, &x->target, target, err) ||
                         model_fingerprint(x->drafter_st, &x->language, drafter, err) || run_check(o->run, target, drafter, err)
                     ? -1
                     : 0;
    free(path);
    return result;
}

/* The first of the family's prefixes that the checkpoint uses, seen at one tensor that all have. */
static const char *prefix_of(const struct safetensors *st, const char *const *prefixes, const char *tensor)
{
    char name[320];
    for (int i = 0; prefixes[i]; i++) {
        snprintf(name, sizeof name, "%s%s", prefixes[i], tensor);
        if (safetensors_find(st, name))
            return prefixes[i];
    }
    return prefixes[0];
}

/* ---- tensors ---- */

static int tensor_add(struct export *x, struct safetensors *from, const struct tensor *t, char *name, enum dtype dtype,
                      struct error *err)
{
    int64_t rows, cols;
    size_t count = t->bytes / dtype_size(t->dtype);
    bool narrow = dtype == DTYPE_BF16 && t->dtype == DTYPE_F32;
    void *data = malloc(t->bytes ? t->bytes : 1);
    if (!data || (!narrow && dtype != t->dtype)) {
        free(data);
        free(name);
        return fail(err, data ? "%s: %s cannot be written as %s" : "no memory for %s", t->name, dtype_name(t->dtype),
                    dtype_name(dtype));
    }
    struct tensor *new = &x->tensors[x->n];
    *new = *t;
    new->name = name;
    x->data[x->n++] = data;
    tensor_matrix(t, &rows, &cols);
    if (safetensors_read(from, t, 0, rows, 0, cols, data, err))
        return -1;
    if (narrow) {
        uint16_t *halves = mem_new(count, sizeof *halves);
        for (size_t i = 0; i < count; i++)
            halves[i] = bf16_from_f32(((const float *)data)[i]);
        free(data);
        x->data[x->n - 1] = halves;
        new->dtype = dtype;
        new->bytes = count * sizeof *halves;
    }
    return 0;
}

static int tower_add(struct export *x, struct error *err)
{
    for (int i = 0; i < safetensors_count(x->target_st); i++) {
        const struct tensor *t = safetensors_at(x->target_st, i);
        char *name = tower_published(x->target_st, &x->target, t->name);
        if (name && tensor_add(x, x->target_st, t, name, t->dtype, err))
            return -1;
    }
    return 0;
}

static int trained_add(struct export *x, struct error *err)
{
    for (int i = 0; i < safetensors_count(x->state); i++) {
        const struct tensor *t = safetensors_at(x->state, i);
        if (!strncmp(t->name, "value/", 6) && tensor_add(x, x->state, t, mem_string(t->name + 6), x->dtype, err))
            return -1;
    }
    return 0;
}

/* Is it behind one of the prefixes? Some of those of language models begin those of what sees, too. */
static bool has_prefix(const struct tensor *t, const char *const *prefixes)
{
    for (; prefixes && *prefixes; prefixes++)
        if (!strncmp(t->name, *prefixes, strlen(*prefixes)))
            return true;
    return false;
}

/* What the run did not train. */
static int language_add(struct export *x, struct error *err)
{
    const char *prefix = prefix_of(x->drafter_st, x->language.family->language_prefixes, "embed_tokens.weight");
    const char *head = prefix_of(x->drafter_st, x->language.family->head_names, "");
    const struct family *family = x->drafter.family;
    size_t size = strlen(prefix);
    for (int i = 0; i < safetensors_count(x->drafter_st); i++) {
        const struct tensor *t = safetensors_at(x->drafter_st, i);
        bool is_head = !strcmp(t->name, head) && !x->language.tied;
        if (!is_head &&
            (strncmp(t->name, prefix, size) || has_prefix(t, family->vision_prefixes) || has_prefix(t, family->projector_prefixes)))
            continue;
        char *name = is_head ? mem_string(family->head_names[0]) : mem_format("%s%s", family->language_prefixes[0], t->name + size);
        if (state_value(x->state, name))
            free(name);
        else if (tensor_add(x, x->drafter_st, t, name, t->dtype, err))
            return -1;
    }
    return 0;
}

static int tensors_collect(struct export *x, struct error *err)
{
    size_t most = (size_t)(safetensors_count(x->target_st) + safetensors_count(x->drafter_st) + safetensors_count(x->state));
    char name[320];
    x->tensors = mem_new(most, sizeof *x->tensors);
    x->data = mem_new(most, sizeof *x->data);
    snprintf(name, sizeof name, "%sembed_tokens.weight",
             prefix_of(x->drafter_st, x->language.family->language_prefixes, "embed_tokens.weight"));
    const struct tensor *table = safetensors_find(x->drafter_st, name);
    if (!table)
        return fail(err, "%s: has no %s", x->options->drafter, name);
    x->dtype = x->options->dtype >= 0 ? (enum dtype)x->options->dtype : table->dtype;
    return tower_add(x, err) || trained_add(x, err) || language_add(x, err) ? -1 : 0;
}

/* ---- files ---- */

/* Copies a file of the target where it has one: one that cannot be read, or a link to nothing, is there. */
static int file_copy(const struct export *x, const char *name, struct error *err)
{
    char block[1 << 14], *from = mem_format("%s/%s", x->options->target, name), *to = mem_format("%s/%s", x->folder.part, name);
    FILE *in = fopen(from, "rb"), *out = in ? fopen(to, "wb") : NULL;
    size_t n;
    struct stat is;
    int bad = in ? !out : errno != ENOENT || !lstat(from, &is);
    while (out && !bad && (n = fread(block, 1, sizeof block, in)) > 0)
        bad = fwrite(block, 1, n, out) != n;
    if (in)
        bad |= ferror(in);
    if (out)
        bad |= fclose(out) != 0;
    if (bad)
        fail(err, "%s: cannot be copied to %s: %s", from, to, strerror(errno));
    if (in)
        fclose(in);
    free(from);
    free(to);
    return bad ? -1 : 0;
}

static int files_copy(const struct export *x, struct error *err)
{
    for (const char *const *name = export_copied; *name; name++)
        if (file_copy(x, *name, err))
            return -1;
    return 0;
}

static int weights_write(const struct export *x, struct error *err)
{
    char *path = mem_format("%s/model.safetensors", x->folder.part);
    int result = safetensors_write(path, x->tensors, (const void *const *)x->data, x->n, err);
    free(path);
    return result;
}

static int config_write(struct export *x, struct error *err)
{
    json_t *config;
    static const char *const names[DTYPE_COUNT] = {[DTYPE_F32] = "float32", [DTYPE_F16] = "float16", [DTYPE_BF16] = "bfloat16"};
    if (export_config(&config, x->options, &x->drafter, names[x->dtype], err))
        return -1;
    char *path = mem_format("%s/config.json", x->folder.part);
    int result = json_dump_file(config, path, JSON_INDENT(2)) ? fail(err, "%s: cannot be written: %s", path, strerror(errno)) : 0;
    json_decref(config);
    free(path);
    return result;
}

/* ---- the whole ---- */

static void export_close(struct export *x)
{
    export_folder_close(&x->folder);
    for (int i = 0; i < x->n; i++) {
        free((char *)(uintptr_t)x->tensors[i].name);
        free(x->data[i]);
    }
    free(x->tensors);
    free(x->data);
    safetensors_close(x->state);
    safetensors_close(x->target_st);
    safetensors_close(x->drafter_st);
}

int export_run(struct export_report *report, const struct export_options *options, struct error *err)
{
    struct export x = {.options = options};
    int result = checkpoints_open(&x, err) || export_folder_open(&x.folder, options->out, err) || tensors_collect(&x, err) ||
                         files_copy(&x, err) || weights_write(&x, err) || config_write(&x, err) ||
                         export_folder_finish(&x.folder, err)
                     ? -1
                     : 0;
    *report = (struct export_report){.tensors = x.n, .projector = x.drafter.projector};
    for (int i = 0; i < x.n; i++)
        report->bytes += (int64_t)x.tensors[i].bytes;
    export_close(&x);
    return result;
}
