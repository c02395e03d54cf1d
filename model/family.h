/* family.h - what differs between model families, one entry each: numbers and names here, code in one table per concern. The rest
 * of the tree asks the entry, never the name (docs/adding-a-family.md). */
#ifndef MODEL_FAMILY_H
#define MODEL_FAMILY_H

#include <stdbool.h>

struct config_reader;  /* config.json and the preprocessor's settings (model/config_parts.h) */
struct chat_format;    /* a conversation and its pictures as tokens (model/prompt_parts.h) */
struct tower_kind;     /* the vision tower and the projector behind it (model/vision_parts.h) */
struct projector_form; /* what that projector is made of (model/projector.h) */

enum family_gate { GATE_SILU, GATE_GELU_TANH };

struct family {
    const char *model_type;   /* config.json: "qwen2_5_vl", "gemma3_text" */
    const char *architecture; /* config.json: "Qwen2_5_VLForConditionalGeneration", "Gemma3ForCausalLM" */
    bool has_vision;
    const struct config_reader *config;
    const struct chat_format *chat;
    const struct tower_kind *tower; /* also of a text model: of a drafter made of it */
    const struct projector_form *projector;

    /* The language model. */
    bool qkv_bias;
    bool qk_norm;           /* queries and keys are normalised head by head before they turn */
    bool scaled_embeddings; /* rows of the table times sqrt(d); pictures' rows are not */
    bool pictures_whole;    /* tokens of a picture see each other both ways, so one step computes them all */
    float norm_offset;      /* added to norm weights: 0 Qwen, 1 Gemma */
    enum family_gate gate;

    /* Names of tensors: the first prefix under which the checkpoint has the tensor counts. NULL-terminated. Norms of a layer, in
     * front of attention and MLP and behind them; NULL: it has none. */
    const char *const *vision_prefixes, *const *projector_prefixes, *const *language_prefixes, *const *head_names;
    const char *attention_norm, *attention_after, *mlp_norm, *mlp_after;
};

/* The entry for a config.json's model_type, or NULL. */
const struct family *family_find(const char *model_type);

/* "qwen2_5_vl, qwen2, gemma3, gemma3_text": for error messages. */
const char *family_list(void);

#endif
