/* prompt.c - the chat template: turns to text or to ids. One walk serves both: marks are the template's and become special tokens,
 * everything else is text and never does. */
#include "model/prompt.h"

#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "model/family.h"

#define MARK_START "<|im_start|>"
#define MARK_END "<|im_end|>"
#define MARK_VISION_START "<|vision_start|>"
#define MARK_VISION_END "<|vision_end|>"
#define MARK_PICTURE "<|image_pad|>"

struct rendering {
    const struct model_config *config;
    const struct tokenizer *tokenizer; /* NULL: text is all that is wanted */
    char *text;                        /* everything so far; with a tokenizer, what follows the last mark */
    size_t size, room;
    int32_t *ids;
    size_t n;
    int pictures;
    struct error *err;
};

static int put_text(struct rendering *r, const char *text)
{
    size_t size = strlen(text);
    if (r->size + size + 1 > r->room) {
        r->room = 2 * (r->size + size + 1);
        r->text = mem_grow(r->text, r->room, 1);
    }
    memcpy(r->text + r->size, text, size + 1);
    r->size += size;
    return 0;
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

static int put_mark(struct rendering *r, const char *mark)
{
    if (!r->tokenizer)
        return put_text(r, mark);
    int32_t id = tokenizer_find(r->tokenizer, mark);
    if (id < 0)
        return fail(r->err, "%s: tokenizer.json has no token %s, which the chat template needs", r->config->name, mark);
    if (flush_text(r))
        return -1;
    r->ids = mem_grow(r->ids, r->n + 1, sizeof *r->ids);
    r->ids[r->n++] = id;
    return 0;
}

static int put_picture(struct rendering *r)
{
    r->pictures++;
    if (!r->config->has_vision)
        return fail(r->err, "%s reads no pictures: it is a text model", r->config->name);
    if (r->tokenizer && tokenizer_find(r->tokenizer, MARK_PICTURE) != r->config->image_id)
        return fail(r->err, "%s: %s is id %d in tokenizer.json, but config.json's image_token_id is %d", r->config->name,
                    MARK_PICTURE, (int)tokenizer_find(r->tokenizer, MARK_PICTURE), (int)r->config->image_id);
    return put_mark(r, MARK_VISION_START) || put_mark(r, MARK_PICTURE) || put_mark(r, MARK_VISION_END) ? -1 : 0;
}

static int put_turn(struct rendering *r, const struct prompt_turn *turn)
{
    static const char *const names[] = {[ROLE_SYSTEM] = "system\n", [ROLE_USER] = "user\n", [ROLE_ASSISTANT] = "assistant\n"};
    if (put_mark(r, MARK_START) || put_text(r, names[turn->role]))
        return -1;
    for (int i = 0; i < turn->n_parts; i++)
        if (turn->parts[i].text ? put_text(r, turn->parts[i].text) : put_picture(r))
            return -1;
    return put_mark(r, MARK_END) || put_text(r, "\n") ? -1 : 0;
}

static int render(struct rendering *r, const struct prompt_turn *turns, int n_turns)
{
    if (n_turns < 1)
        return fail(r->err, "the conversation has no turns");
    const struct prompt_part part = {r->config->default_system};
    const struct prompt_turn system = {ROLE_SYSTEM, &part, 1};
    if (turns[0].role != ROLE_SYSTEM && part.text && put_turn(r, &system))
        return -1;
    for (int i = 0; i < n_turns; i++)
        if (put_turn(r, &turns[i]))
            return -1;
    return put_mark(r, MARK_START) || put_text(r, "assistant\n") ? -1 : 0;
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
    int n = tokenizer_encode(tokenizer, text, strlen(text), true, &ids, err);
    if (n < 0)
        return -1;
    int rc = prompt_make_ids(prompt, config, ids, n, grids, n_grids, err);
    free(ids);
    return rc;
}
