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

int rendering_picture(struct rendering *r, const char *mark, const char *field)
{
    int32_t id = r->tokenizer ? tokenizer_find(r->tokenizer, mark) : r->config->image_id;
    r->pictures++;
    if (!r->config->has_vision)
        return fail(r->err, "%s reads no pictures: it is a text model", r->config->name);
    if (id != r->config->image_id)
        return fail(r->err, "%s: %s is id %d in tokenizer.json, but config.json's %s is %d", r->config->name, mark, (int)id, field,
                    (int)r->config->image_id);
    return 0;
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

int prompt_make_turns(struct prompt *prompt, const struct model_config *config, const struct tokenizer *tokenizer,
                      const struct prompt_turn *turns, int n_turns, const int (*grids)[2], int n_grids, struct error *err)
{
    struct rendering r = {.config = config, .tokenizer = tokenizer, .err = err};
    int rc = render(&r, turns, n_turns) || flush_text(&r) ? -1 : 0;
    if (!rc && r.pictures != n_grids)
        rc = fail(err, "the conversation shows %d picture%s, the request brings %d", r.pictures, r.pictures == 1 ? "" : "s",
                  n_grids);
    if (!rc)
        rc = prompt_make_ids(prompt, config, r.ids, (int)r.n, grids, n_grids, err);
    free(r.text);
    free(r.ids);
    return rc;
}

int prompt_make(struct prompt *prompt, const struct model_config *config, const struct tokenizer *tokenizer, const char *text,
                const int (*grids)[2], int n_grids, struct error *err)
{
    int32_t *ids;
    const struct chat_format *chat = config->family->chat;
    char *expanded = chat->expand ? chat->expand(text) : NULL;
    const char *whole = expanded ? expanded : text;
    int n = tokenizer_encode(tokenizer, whole, strlen(whole), true, &ids, err);
    free(expanded);
    if (n < 0)
        return -1;
    int rc = prompt_make_ids(prompt, config, ids, n, grids, n_grids, err);
    free(ids);
    return rc;
}
