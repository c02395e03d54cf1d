/* family.c - the model families */
#include "model/family.h"

#include <string.h>

/* Three layouts of names: published, module names of transformers >= 4.52, and dumps of some servers. */
static const char *const qwen_vision[] = {"visual.", "model.visual.", NULL};
static const char *const qwen_language[] = {"model.", "model.language_model.", "language_model.model.", NULL};
static const char *const qwen_head[] = {"lm_head.weight", "language_model.lm_head.weight", NULL};

static const struct family families[] = {
    {.model_type = "qwen2_5_vl",
     .architecture = "Qwen2_5_VLForConditionalGeneration",
     .has_vision = true,
     .qkv_bias = true,
     .default_system = "You are a helpful assistant.",
     .vision_prefixes = qwen_vision,
     .language_prefixes = qwen_language,
     .head_names = qwen_head},
    {.model_type = "qwen2",
     .architecture = "Qwen2ForCausalLM",
     .qkv_bias = true,
     .default_system = "You are Qwen, created by Alibaba Cloud. You are a helpful assistant.",
     .vision_prefixes = qwen_vision,
     .language_prefixes = qwen_language,
     .head_names = qwen_head},
};

const struct family *family_find(const char *model_type)
{
    for (size_t i = 0; i < sizeof families / sizeof *families; i++)
        if (!strcmp(families[i].model_type, model_type))
            return &families[i];
    return NULL;
}

const char *family_list(void)
{
    return "qwen2_5_vl, qwen2";
}
