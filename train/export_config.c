/* export_config.c - config.json of a drafter that was made of two checkpoints */
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "model/family.h"
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

/* The language model's members, also where they are nested. */
static json_t *language_of(json_t *root)
{
    json_t *nested = json_object_get(root, "text_config");
    json_t *language = json_deep_copy(nested ? nested : root);
    static const char *const replaced[] = {"rope_parameters", "rope_scaling", "vision_config", "text_config", "dtype", "auto_map"};
    for (size_t i = 0; i < sizeof replaced / sizeof *replaced; i++)
        json_object_del(language, replaced[i]);
    return language;
}

/* Members of the target that say where pictures stand in its prompts. */
static void copy_ids(json_t *to, json_t *target)
{
    static const char *const ids[] = {"vision_start_token_id", "vision_end_token_id", "vision_token_id", "image_token_id",
                                      "video_token_id"};
    json_t *nested = json_object_get(target, "text_config");
    for (size_t i = 0; i < sizeof ids / sizeof *ids; i++) {
        json_t *id = json_object_get(target, ids[i]);
        if (!id)
            id = json_object_get(nested, ids[i]);
        if (id)
            json_object_set(to, ids[i], id);
    }
}

int export_config(json_t **config, const struct export_options *options, const struct model_config *drafter, const char *dtype,
                  struct error *err)
{
    json_t *target = file_read(options->target, err), *small = target ? file_read(options->drafter, err) : NULL;
    if (!small) {
        json_decref(target);
        return -1;
    }
    json_t *all = language_of(small), *vision = json_deep_copy(json_object_get(target, "vision_config"));
    const int *s = drafter->mrope_section;
    if (!vision)
        vision = json_object();
    json_object_set_new(vision, "out_hidden_size", json_integer(drafter->d));
    json_object_set_new(all, "architectures", json_pack("[s]", drafter->family->architecture));
    json_object_set_new(all, "model_type", json_string(drafter->family->model_type));
    json_object_set_new(all, "rope_theta", json_real((double)drafter->rope_theta));
    json_object_set_new(all, "rope_scaling", json_pack("{ss s[iii]}", "type", "mrope", "mrope_section", s[0], s[1], s[2]));
    json_object_set_new(all, "torch_dtype", json_string(dtype));
    json_object_set_new(all, "tie_word_embeddings", json_boolean(drafter->tied));
    copy_ids(all, target);
    json_object_set_new(all, "vision_config", vision);
    json_decref(target);
    json_decref(small);
    *config = all;
    return 0;
}
