/* family.c - the model families */
#include "model/family.h"

#include <string.h>

#include "model/config_parts.h"
#include "model/prompt_parts.h"
#include "model/vision_parts.h"

/* Three layouts of names: published, module names of transformers >= 4.52, and dumps of some servers. */
static const char *const qwen_vision[] = {"visual.", "model.visual.", NULL};
static const char *const qwen_language[] = {"model.", "model.language_model.", "language_model.model.", NULL};
static const char *const qwen_head[] = {"lm_head.weight", "language_model.lm_head.weight", NULL};

/* Published, module names, and as transformers 5 saves (published, but the tower without vision_model). */
static const char *const gemma_vision[] = {"vision_tower.vision_model.", "model.vision_tower.vision_model.", "vision_tower.",
                                           "model.vision_tower.", NULL};
static const char *const gemma_projector[] = {"multi_modal_projector.", "model.multi_modal_projector.", NULL};
static const char *const gemma_language[] = {"language_model.model.", "model.language_model.", "model.", NULL};
static const char *const gemma_text_language[] = {"model.", "language_model.model.", "model.language_model.", NULL};

#define QWEN                                                                                                                       \
    .config = &config_reader_qwen, .tower = &tower_kind_qwen, .projector = &projector_form_qwen, .qkv_bias = true,                 \
    .vision_prefixes = qwen_vision, .projector_prefixes = qwen_vision, .language_prefixes = qwen_language,                         \
    .head_names = qwen_head, .attention_norm = "input_layernorm", .mlp_norm = "post_attention_layernorm"
#define GEMMA                                                                                                                      \
    .config = &config_reader_gemma, .tower = &tower_kind_siglip, .projector = &projector_form_siglip, .chat = &chat_format_gemma,  \
    .qk_norm = true, .scaled_embeddings = true, .norm_offset = 1, .gate = GATE_GELU_TANH, .vision_prefixes = gemma_vision,         \
    .projector_prefixes = gemma_projector, .head_names = qwen_head, .attention_norm = "input_layernorm",                           \
    .attention_after = "post_attention_layernorm", .mlp_norm = "pre_feedforward_layernorm",                                        \
    .mlp_after = "post_feedforward_layernorm"

static const struct family families[] = {
    {.model_type = "qwen2_5_vl",
     .architecture = "Qwen2_5_VLForConditionalGeneration",
     .has_vision = true,
     .chat = &chat_format_qwen_vl,
     QWEN},
    {.model_type = "qwen2", .architecture = "Qwen2ForCausalLM", .chat = &chat_format_qwen, QWEN},
    {.model_type = "gemma3",
     .architecture = "Gemma3ForConditionalGeneration",
     .has_vision = true,
     .pictures_whole = true,
     .language_prefixes = gemma_language,
     GEMMA},
    {.model_type = "gemma3_text", .architecture = "Gemma3ForCausalLM", .language_prefixes = gemma_text_language, GEMMA},
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
    return "qwen2_5_vl, qwen2, gemma3, gemma3_text";
}
