/* config_projector.c - the member "massv" of config.json, which massv-train export writes where a drafter's projector is not its
 * family's own: {"projector": "resampler", "queries": 16} */
#include <string.h>

#include "model/config_parts.h"
#include "model/family.h"
#include "model/projector.h"

enum { QUERIES_MOST = 4096 };

static int kind_read(enum projector_kind *kind, const struct source *s, const char *name)
{
    for (int i = 0; name && i < PROJECTOR_KINDS; i++)
        if (!strcmp(name, projector_kind_names[i])) {
            *kind = (enum projector_kind)i;
            return 0;
        }
    return fail(s->err, "%s: massv.projector %s%.32s%s; it must be one of mlp, linear, resampler, plain", s->path,
                name ? "is \"" : "is no text", name ? name : "", name ? "\"" : "");
}

/* A misspelt member would leave the drafter reading with the wrong eyes. */
static int members_check(const struct source *s, json_t *massv)
{
    const char *name;
    json_t *value;
    json_object_foreach(massv, name, value) if (strcmp(name, "projector") && strcmp(name, "queries")) return fail(
        s->err, "%s: massv.%.32s is not known; projector and queries are", s->path, name);
    return 0;
}

int projector_read(struct model_config *c, const struct source *s)
{
    json_t *massv = json_object_get(s->root, "massv");
    if (!massv || json_is_null(massv))
        return 0;
    if (!json_is_object(massv))
        return fail(s->err, "%s: massv must be an object: {\"projector\": KIND}", s->path);
    if (!c->has_vision)
        return fail(s->err, "%s: massv names a projector, but a model of type %s sees nothing", s->path, c->family->model_type);
    const json_t *queries = json_object_get(massv, "queries");
    if (members_check(s, massv) || kind_read(&c->projector, s, json_string_value(json_object_get(massv, "projector"))))
        return -1;
    if (c->projector != PROJECTOR_RESAMPLER && queries)
        return fail(s->err, "%s: massv.queries is of a resampler, the projector is %s", s->path,
                    projector_kind_names[c->projector]);
    if (c->projector == PROJECTOR_RESAMPLER && int_check(s, "massv.queries", queries, 1, QUERIES_MOST, &c->queries))
        return -1;
    return projector_check(c, s->err) ? fail_in(s->err, "%s: massv", s->path) : 0;
}
