/* prompt.c - a conversation or a rendered prompt to text or to ids, in the family's chat format */
#include "model/prompt.h"

#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "model/family.h"
#include "model/prompt_parts.h"

int rendering_put(struct rendering *r, const char *text, size_t size)
{
    if (r->size + size + 1 > r->room) {
        r->room = 2 * (r->size + size + 1);
        r->text = mem_grow(r->text, r->room, 1);
    }
    memcpy(r->text + r->size, text, size);
    r->size += size;
    r->text[r->size] = 0;
    return 0;
}

int rendering_text(struct rendering *r, const char *text)
{
    return rendering_put(r, text, strlen(text));
}

/* Text between two marks is encoded as a whole: words may cross from the template's text into the user's ("user\n" + "\n"). */
static int flush_text(struct rendering *r)
{
    int32_t *ids;
    if (r->size == 0)
        return 0;
    int n = tokenizer_encode(r->tokenizer, r->text, r->size, false, &ids, r->err);
    if (n < 0)
        return -1;
    r->ids = mem_grow(r->ids, r->n + (size_t)n + 1, sizeof *r->ids);
    memcpy(r->ids + r->n, ids, (size_t)n * sizeof *ids);
    r->n += (size_t)n;
    r->size = 0;
    free(ids);
    return 0;
}

int rendering_mark(struct rendering *r, const char *mark)
{
    if (!r->tokenizer)
        return rendering_text(r, mark);
    int32_t id = tokenizer_find(r->tokenizer, mark);
    if (id < 0)
        return fail(r->err, "%s: tokenizer.json has no token %s, which the chat template needs", r->config->name, mark);
    if (flush_text(r))
        return -1;
    r->ids = mem_grow(r->ids, r->n + 1, sizeof *r->ids);
    r->ids[r->n++] = id;
    return 0;
}

/* Where there are pictures, tokenizer.json and config.json must speak of the same tokens. */
static int check_marks(const struct model_config *config, const struct tokenizer *tokenizer, struct error *err)
{
    const int32_t ids[] = {config->vision_start_id, config->image_id, config->vision_end_id};
    if (!config->has_vision)
        return fail(err, "%s reads no pictures: it is a text model", config->name);
    for (int i = 0; i < 3 && tokenizer; i++) {
        const struct picture_mark *mark = &config->family->chat->marks[i];
        int32_t id = tokenizer_find(tokenizer, mark->mark);
        if (id < 0)
            return fail(err, "%s: tokenizer.json has no token %s, which pictures need", config->name, mark->mark);
        if (id != ids[i])
            return fail(err, "%s: %s is id %d in tokenizer.json, but config.json's %s is %d", config->name, mark->mark, (int)id,
                        mark->field, (int)ids[i]);
    }
    return 0;
}

int rendering_picture(struct rendering *r)
{
    r->pictures++;
    return check_marks(r->config, r->tokenizer, r->err);
}

int rendering_crops(const struct rendering *r)
{
    return r->pictures <= r->n_shapes ? r->shapes[r->pictures - 1].crops : 0;
}

static int render(struct rendering *r, const struct prompt_turn *turns, int n_turns)
{
    if (n_turns < 1)
        return fail(r->err, "the conversation has no turns");
    return r->config->family->chat->render(r, turns, n_turns);
}

int prompt_render(char **text, const struct model_config *config, const struct prompt_turn *turns, int n_turns, struct error *err)
{
    struct rendering r = {.config = config, .err = err};
    if (render(&r, turns, n_turns)) {
        free(r.text);
        return -1;
    }
    *text = r.text;
    return 0;
}

/* The ids of a conversation, malloc'ed, one placeholder per picture and crop; their number, or -1. */
static int encode_turns(int32_t **ids, int *pictures, const struct model_config *config, const struct tokenizer *tokenizer,
                        const struct prompt_turn *turns, int n_turns, const struct picture_shape *shapes, int n_shapes,
                        struct error *err)
{
    struct rendering r = {.config = config, .tokenizer = tokenizer, .shapes = shapes, .n_shapes = n_shapes, .err = err};
    int rc = render(&r, turns, n_turns) || flush_text(&r) ? -1 : 0;
    free(r.text);
    if (rc) {
        free(r.ids);
        return -1;
    }
    *ids = r.ids;
    *pictures = r.pictures;
    return (int)r.n;
}

/* What the conversation would be if nobody had shown a picture. */
static int put_words_of_turns(struct prompt *prompt, const struct model_config *config, const struct tokenizer *tokenizer,
                              const struct prompt_turn *turns, int n_turns, struct error *err)
{
    struct prompt_turn *bare = mem_new((size_t)n_turns, sizeof *bare);
    size_t n_parts = 0;
    for (int t = 0; t < n_turns; t++)
        n_parts += (size_t)turns[t].n_parts;
    struct prompt_part *parts = mem_new(n_parts, sizeof *parts), *part = parts;
    for (int t = 0; t < n_turns; t++) {
        bare[t] = (struct prompt_turn){turns[t].role, part, 0};
        for (int i = 0; i < turns[t].n_parts; i++)
            if (turns[t].parts[i].text) {
                *part++ = turns[t].parts[i];
                bare[t].n_parts++;
            }
    }
    int pictures;
    free(prompt->words);
    prompt->words = NULL;
    prompt->n_words = encode_turns(&prompt->words, &pictures, config, tokenizer, bare, n_turns, NULL, 0, err);
    free(parts);
    free(bare);
    return prompt->n_words < 0 ? -1 : 0;
}

int prompt_make_turns(struct prompt *prompt, const struct model_config *config, const struct tokenizer *tokenizer,
                      const struct prompt_turn *turns, int n_turns, const struct picture_shape *shapes, int n_shapes,
                      struct error *err)
{
    int32_t *ids;
    int pictures, n = encode_turns(&ids, &pictures, config, tokenizer, turns, n_turns, shapes, n_shapes, err);
    if (n < 0)
        return -1;
    int rc = pictures == n_shapes ? prompt_make_ids(prompt, config, ids, n, shapes, n_shapes, err)
                                  : fail(err, "the conversation shows %d picture%s, the request brings %d", pictures,
                                         pictures == 1 ? "" : "s", n_shapes);
    free(ids);
    if (!rc && n_shapes && put_words_of_turns(prompt, config, tokenizer, turns, n_turns, err)) {
        prompt_free(prompt);
        return -1;
    }
    return rc;
}

int prompt_make_question(struct prompt *prompt, const struct model_config *config, const struct tokenizer *tokenizer,
                         const struct prompt_question *q, struct error *err)
{
    size_t n = (size_t)q->n_earlier + 1;
    struct prompt_turn *turns = mem_new(n, sizeof *turns);
    struct prompt_part *parts = mem_new(n + 1, sizeof *parts); /* the first is the picture */
    for (size_t i = 0; i < n; i++) {
        parts[i + 1].text = i + 1 < n ? q->earlier[i] : q->text;
        turns[i] = (struct prompt_turn){i % 2 ? ROLE_ASSISTANT : ROLE_USER, parts + i + 1, 1};
    }
    if (q->shape)
        turns[0] = (struct prompt_turn){ROLE_USER, parts, 2};
    int result = prompt_make_turns(prompt, config, tokenizer, turns, (int)n, q->shape, q->shape != NULL, err);
    free(parts);
    free(turns);
    return result;
}

static int encode_text(int32_t **ids, const struct tokenizer *tokenizer, const char *text, struct error *err)
{
    return tokenizer_encode(tokenizer, text, strlen(text), true, ids, err);
}

/* malloc'ed */
static char *without_marks(const char *text, const struct picture_mark marks[3])
{
    char *bare = mem_new(strlen(text) + 1, 1), *to = bare;
    while (*text) {
        size_t n = 0;
        for (int i = 0; i < 3 && !n; i++)
            n = strncmp(text, marks[i].mark, strlen(marks[i].mark)) ? 0 : strlen(marks[i].mark);
        if (n)
            text += n;
        else
            *to++ = *text++;
    }
    return bare;
}

static int put_words_of_text(struct prompt *prompt, const struct model_config *config, const struct tokenizer *tokenizer,
                             const char *text, struct error *err)
{
    char *bare = without_marks(text, config->family->chat->marks);
    free(prompt->words);
    prompt->words = NULL;
    prompt->n_words = encode_text(&prompt->words, tokenizer, bare, err);
    free(bare);
    return prompt->n_words < 0 ? -1 : 0;
}

/* With crops the text has more placeholders than the caller wrote: what is wrong is said of what he wrote. */
static int check_shown(int shown, const struct picture_shape *shapes, int n_shapes, struct error *err)
{
    bool crops = false;
    for (int i = 0; i < n_shapes; i++)
        crops = crops || shapes[i].crops;
    return crops && shown != n_shapes
               ? fail(err, "the prompt shows %d picture%s, the request brings %d", shown, shown == 1 ? "" : "s", n_shapes)
               : 0;
}

int prompt_make(struct prompt *prompt, const struct model_config *config, const struct tokenizer *tokenizer, const char *text,
                const struct picture_shape *shapes, int n_shapes, struct error *err)
{
    int32_t *ids;
    const struct chat_format *chat = config->family->chat;
    if (n_shapes && check_marks(config, tokenizer, err))
        return -1;
    int shown = 0;
    char *expanded = chat->expand ? chat->expand(text, shapes, n_shapes, &shown) : NULL;
    int n = check_shown(shown, shapes, n_shapes, err) ? -1 : encode_text(&ids, tokenizer, expanded ? expanded : text, err);
    free(expanded);
    if (n < 0)
        return -1;
    int rc = prompt_make_ids(prompt, config, ids, n, shapes, n_shapes, err);
    free(ids);
    if (!rc && n_shapes && put_words_of_text(prompt, config, tokenizer, text, err)) {
        prompt_free(prompt);
        return -1;
    }
    return rc;
}
