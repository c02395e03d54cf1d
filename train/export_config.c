/* export_config.c - config.json of a drafter that was made of two checkpoints */
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "model/config_parts.h"
#include "model/family.h"
#include "model/projector.h"
#include "train/export.h"

static json_t *file_read(const char *dir, struct error *err)
{
    json_error_t why;
    char *path = mem_format("%s/config.json", dir);
    json_t *root = json_load_file(path, 0, &why);
    if (!root)
        fail(err, "%s: %s", path, why.text);
    free(path);
    return root;
}

/* Who has not the family's own says so (model/config_projector.c reads it), whatever the language model's file said. */
static void projector_add(json_t *all, const struct model_config *drafter)
{
    json_object_del(all, "massv");
    if (drafter->projector == PROJECTOR_MLP)
        return;
    json_t *massv = json_pack("{ss}", "projector", projector_kind_names[drafter->projector]);
    if (drafter->projector == PROJECTOR_RESAMPLER)
        json_object_set_new(massv, "queries", json_integer(drafter->queries));
    json_object_set_new(all, "massv", massv);
}

int export_config(json_t **config, const struct export_options *options, const struct model_config *drafter, const char *dtype,
                  struct error *err)
{
    const struct family *family = drafter->family;
    json_t *target = file_read(options->target, err), *language = target ? file_read(options->drafter, err) : NULL;
    if (language) {
        json_t *all = family->config->join(target, language, drafter);
        json_object_set_new(all, "architectures", json_pack("[s]", family->architecture));
        json_object_set_new(all, "model_type", json_string(family->model_type));
        json_object_set_new(all, "tie_word_embeddings", json_boolean(drafter->tied));
        json_object_set_new(all, "torch_dtype", json_string(dtype));
        json_object_del(all, "dtype"); /* as later versions call it */
        json_object_del(all, "auto_map");
        projector_add(all, drafter);
        *config = all;
    }
    json_decref(target);
    json_decref(language);
    return language ? 0 : -1;
}
