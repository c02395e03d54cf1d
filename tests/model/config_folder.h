/* config_folder.h - for tests of configurations: the tiny checkpoints, copies of them with one field changed, and which words
 * refuse it */
#ifndef TESTS_MODEL_CONFIG_FOLDER_H
#define TESTS_MODEL_CONFIG_FOLDER_H

#include "tests/model/folder.h"

#include <jansson.h>

#include "model/config.h"

#define VL "tests/golden/qwen25vl-tiny"
#define NEW "tests/golden/qwen25vl-tiny-resaved"
#define TEXT "tests/golden/qwen2-tiny"
#define GEMMA "tests/golden/gemma3-tiny"
#define GEMMA_NEW "tests/golden/gemma3-tiny-resaved"
#define GEMMA_TEXT "tests/golden/gemma3-text-tiny"
#define C "config.json"
#define P "preprocessor_config.json"
#define G "generation_config.json"

enum { CONFIG_FILES = 4 };
static const char *const config_files[CONFIG_FILES] = {"config.json", "preprocessor_config.json", "generation_config.json",
                                                       "processor_config.json"};

/* Copies the configuration of a checkpoint, with one field ("a.b") of one file replaced by a JSON value, or removed. */
static inline void folder_copy(const struct folder *folder, const char *from, const char *file, const char *field,
                               const char *value)
{
    folder_empty(folder);
    for (int i = 0; i < CONFIG_FILES; i++) {
        char path[256], name[64];
        snprintf(path, sizeof path, "%s/%s", from, config_files[i]);
        json_t *root = json_load_file(path, 0, NULL), *object = root;
        if (!root)
            continue;
        if (!strcmp(file, config_files[i])) {
            const char *dot = strchr(field, '.');
            snprintf(name, sizeof name, "%s", dot ? dot + 1 : field);
            if (dot) {
                char parent[64];
                snprintf(parent, sizeof parent, "%.*s", (int)(dot - field), field);
                object = json_object_get(root, parent);
                assert_non_null(object);
            }
            if (value)
                json_object_set_new(object, name, json_loads(value, JSON_DECODE_ANY, NULL));
            else
                assert_int_equal(json_object_del(object, name), 0);
        }
        char *text = json_dumps(root, 0);
        folder_write(folder, config_files[i], text, strlen(text));
        free(text);
        json_decref(root);
    }
}

struct bad_field {
    const char *from, *file, *field, *value, *words; /* value NULL: the field is removed */
};

/* Each of the n fields makes the checkpoint one that config_read refuses with those words. */
static inline void check_bad_fields(const struct bad_field *bad, size_t n)
{
    struct folder folder = folder_make();
    for (size_t i = 0; i < n; i++) {
        struct error err = {""};
        struct model_config config;
        folder_copy(&folder, bad[i].from, bad[i].file, bad[i].field, bad[i].value);
        if (!config_read(&config, folder.path, &err))
            fail_msg("%s: %s = %s was accepted", bad[i].file, bad[i].field, bad[i].value ? bad[i].value : "nothing");
        check_words(err.text, bad[i].words, bad[i].field);
    }
    folder_remove(&folder);
}

/* What a language model of every family has: layers, d, h, g, c, ff, vocabulary, tied, max_positions, and the ids of a picture,
 * of its start and its end. */
static inline void check_sizes(const struct model_config *config, const int want[12])
{
    const int have[12] = {config->layers,
                          config->d,
                          config->h,
                          config->g,
                          config->c,
                          config->ff,
                          config->vocabulary,
                          config->tied,
                          config->max_positions,
                          config->image_id,
                          config->vision_start_id,
                          config->vision_end_id};
    assert_memory_equal(have, want, sizeof have);
}

static inline struct model_config read_of(const char *path)
{
    struct error err;
    struct model_config config;
    if (config_read(&config, path, &err))
        fail_msg("%s", err.text);
    return config;
}

#endif
