/* fit_settings.c - what decides the weights of a run, written beside them */
#include <errno.h>
#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

#include "base/memory.h"
#include "base/version.h"
#include "train/fit_parts.h"
#include "train/run.h"
#include "train/state.h"

/* The hash of a file's bytes as 16 hexadecimal digits. */
static int file_sum(const char *path, char sum[17], struct error *err)
{
    size_t n, room = 1 << 16;
    FILE *f = fopen(path, "rb");
    if (!f)
        return fail(err, "%s: %s", path, strerror(errno));
    char *block = mem_new(room, 1);
    XXH3_state_t *state = XXH3_createState();
    XXH3_64bits_reset(state);
    while ((n = fread(block, 1, room, f)) > 0)
        XXH3_64bits_update(state, block, n);
    snprintf(sum, 17, "%016" PRIx64, XXH3_64bits_digest(state));
    XXH3_freeState(state);
    free(block);
    int bad = ferror(f);
    fclose(f);
    return bad ? fail(err, "%s: cannot be read", path) : 0;
}

static json_t *fingerprint_of(const uint64_t hash[2])
{
    return json_sprintf("%016" PRIx64 "%016" PRIx64, hash[0], hash[1]);
}

static int settings_make(json_t **settings, const struct fit *f, struct error *err)
{
    const struct fit_options *o = f->options;
    char data[17], from[17] = "";
    char *state = o->from ? state_path(o->from) : NULL;
    int result = file_sum(o->data, data, err) || (state && file_sum(state, from, err)) ? -1 : 0;
    free(state);
    if (result)
        return -1;
    static const char *const labels[] = {[LABELS_REFERENCE] = "reference", [LABELS_TARGET] = "target"};
    *settings = json_pack(
        "{ss ss ss so ss so ss ss ss ss si ss ss sb si si si sf sf sf sf sf sI ss sb si si}", "version", MASSV_VERSION, "command",
        o->command, "target", f->target.name, "target_fingerprint", fingerprint_of(f->target_hash), "drafter", f->drafter.name,
        "drafter_fingerprint", fingerprint_of(f->drafter_hash), "data", o->data, "data_sum", data, "from_sum", from, "projector",
        projector_kind_names[f->drafter.projector], "queries", f->drafter.queries, "labels", labels[o->labels], "loss",
        train_loss_names[o->loss], "train_language", o->train_language, "batch", o->batch, "samples", dataset_count(f->data),
        "steps", (int)f->report->wanted, "learning_rate", (double)o->learning_rate, "warmup", (double)o->warmup, "weight_decay",
        (double)o->weight_decay, "beta2", (double)o->beta2, "clip", (double)o->clip, "seed", (json_int_t)o->seed, "weights",
        dtype_name(o->weights), "recompute", o->recompute, "tokens", o->tokens, "ranks", f->comm->size);
    return *settings ? 0 : fail(err, "a name that is not UTF-8 cannot be written into settings.json");
}

/* Members that may change between two starts of a run: where files lie, and what changes no bit. */
static bool member_is_free(const char *key)
{
    static const char *const all[] = {"version", "data", "recompute"};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        if (!strcmp(all[i], key))
            return true;
    return false;
}

static int settings_compare(const char *run, json_t *settings, struct error *err)
{
    const char *key;
    json_t *value, *before;
    if (run_settings(&before, run, err))
        return -1;
    int result = 0;
    json_object_foreach(settings, key,
                        value) if (!result && !member_is_free(key) && !json_equal(value, json_object_get(before, key)))
    {
        char *then = json_dumps(json_object_get(before, key), JSON_ENCODE_ANY);
        char *now = json_dumps(value, JSON_ENCODE_ANY);
        result = fail(err, "%s/settings.json: this run has %s %s, the command now says %s; --resume needs the same", run, key,
                      then ? then : "nothing", now);
        free(then);
        free(now);
    }
    json_decref(before);
    return result;
}

int fit_settings(const struct fit *f, struct error *err)
{
    json_t *settings;
    if (f->comm->rank)
        return 0;
    if (settings_make(&settings, f, err))
        return -1;
    char *path = mem_format("%s/settings.json", f->options->out);
    int result = 0;
    if (f->options->resume)
        result = settings_compare(f->options->out, settings, err);
    else if (json_dump_file(settings, path, JSON_INDENT(2)))
        result = fail(err, "%s: cannot be written: %s", path, strerror(errno));
    json_decref(settings);
    free(path);
    return result;
}
