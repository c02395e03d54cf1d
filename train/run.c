/* run.c - reading DIR/settings.json, which fit_settings.c writes */
#include "train/run.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "model/projector.h"

int run_settings(json_t **settings, const char *run, struct error *err)
{
    json_error_t why;
    char *path = mem_format("%s/settings.json", run);
    FILE *f = fopen(path, "r");
    *settings = f ? json_loadf(f, 0, &why) : NULL;
    if (!f)
        fail(err, "%s: %s; a run of massv-train project or tune has one", path, strerror(errno));
    else if (!*settings)
        fail(err, "%s: line %d: %s", path, why.line, why.text);
    if (f)
        fclose(f);
    free(path);
    return *settings ? 0 : -1;
}

int run_projector(const char *run, struct graft_projector *projector, struct error *err)
{
    json_t *settings;
    if (run_settings(&settings, run, err))
        return -1;
    const char *name = json_string_value(json_object_get(settings, "projector"));
    int found = -1;
    for (int i = 0; name && i < PROJECTOR_KINDS; i++)
        if (!strcmp(name, projector_kind_names[i]))
            found = i;
    int queries = (int)json_integer_value(json_object_get(settings, "queries"));
    json_decref(settings);
    if (found < 0)
        return fail(err, "%s/settings.json: names no projector that there is", run);
    *projector = (struct graft_projector){found, found == PROJECTOR_RESAMPLER ? queries : 0};
    return 0;
}

static int fingerprint_check(const char *run, json_t *settings, const char *who, const uint64_t hash[2], struct error *err)
{
    char text[33], key[64];
    snprintf(text, sizeof text, "%016" PRIx64 "%016" PRIx64, hash[0], hash[1]);
    snprintf(key, sizeof key, "%s_fingerprint", who);
    const char *found = json_string_value(json_object_get(settings, key));
    if (found && !strcmp(found, text))
        return 0;
    const char *name = json_string_value(json_object_get(settings, who));
    return fail(err, "%s: was made with another %s (%s); --%s must name that one", run, who, name ? name : "unnamed", who);
}

int run_check(const char *run, const uint64_t target[2], const uint64_t drafter[2], struct error *err)
{
    json_t *settings;
    if (run_settings(&settings, run, err))
        return -1;
    int result = fingerprint_check(run, settings, "target", target, err);
    if (!result)
        result = fingerprint_check(run, settings, "drafter", drafter, err);
    json_decref(settings);
    return result;
}
