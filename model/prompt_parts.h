/* prompt_parts.h - how the chat formats of families write: one walk over a conversation serves text and ids. Marks are the format's
 * and become special tokens, everything else is text and never does. */
#ifndef MODEL_PROMPT_PARTS_H
#define MODEL_PROMPT_PARTS_H

#include <stddef.h>

#include "model/prompt.h"

struct rendering {
    const struct model_config *config;
    const struct tokenizer *tokenizer; /* NULL: text is all that is wanted */
    char *text;                        /* everything so far; with a tokenizer, what follows the last mark */
    size_t size, room;
    int32_t *ids;
    size_t n;
    int pictures;
    const struct picture_shape *shapes; /* of pictures, as far as they are known */
    int n_shapes;
    struct error *err;
};

/* All return 0, or -1 with text. */
int rendering_put(struct rendering *r, const char *text, size_t size);
int rendering_text(struct rendering *r, const char *text);
int rendering_mark(struct rendering *r, const char *mark);
/* Counts a picture, if the model sees any and its files agree on the marks of the format. */
int rendering_picture(struct rendering *r);

/* Crops of the picture that was counted last. */
int rendering_crops(const struct rendering *r);

struct picture_mark {
    const char *mark, *field; /* a token; what config.json calls its id */
};

struct chat_format {
    const char *default_system; /* of a conversation without a system turn; "": nothing */
    /* What a checkpoint's own chat template has instead: into text (size), "" where the template has none, left alone where there
     * is no template; or NULL. */
    int (*template_system)(char *text, size_t size, const char *dir, struct error *err);
    /* The whole conversation up to where the answer begins; there is at least one turn. */
    int (*render)(struct rendering *r, const struct prompt_turn *turns, int n_turns);
    /* A prompt that the checkpoint's chat template rendered, as text with one token for each picture and each crop, malloc'ed, and
     * the pictures that it shows; NULL: it is that text. */
    char *(*expand)(const char *text, const struct picture_shape *shapes, int n_shapes, int *pictures);
    struct picture_mark marks[3]; /* of pictures: in front, one of its tokens, behind */
};
extern const struct chat_format chat_format_qwen_vl, chat_format_qwen, chat_format_gemma;

#endif
