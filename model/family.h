/* family.h - what differs between model families, one table entry each; the rest of the tree asks the table, not the name */
#ifndef MODEL_FAMILY_H
#define MODEL_FAMILY_H

#include <stdbool.h>

struct family {
    const char *model_type;   /* config.json: "qwen2_5_vl", "qwen2" */
    const char *architecture; /* config.json: "Qwen2_5_VLForConditionalGeneration" */
    bool has_vision;
    bool qkv_bias;
    float norm_offset;          /* added to norm weights: 0 Qwen, 1 Gemma */
    const char *default_system; /* where the checkpoint's chat template has none */
    /* Names of tensors: the first prefix under which the checkpoint has the tensor counts. NULL-terminated. */
    const char *const *vision_prefixes, *const *language_prefixes, *const *head_names;
};

/* The entry for a config.json's model_type, or NULL. */
const struct family *family_find(const char *model_type);

/* "qwen2_5_vl, qwen2": for error messages. */
const char *family_list(void);

#endif
