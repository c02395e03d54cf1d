/* chat_gemma.c - the chat format of Gemma3: user and model take turns, a system text opens the first turn, texts are trimmed; a
 * picture stands between empty lines, whose line feeds become one token with those beside them */
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "model/prompt_parts.h"
#include "model/utf8.h"

#define MARK_BEGIN "<bos>"
#define MARK_START "<start_of_turn>"
#define MARK_END "<end_of_turn>"
#define MARK_PICTURE_START "<start_of_image>"
#define MARK_PICTURE "<image_soft_token>"
#define MARK_PICTURE_END "<end_of_image>"
#define EMPTY_LINE "\n\n"

/* The white space of one character that Python's str.strip takes, as templates trim with it: its bytes, or 0. */
static size_t white_space(const char *text, size_t size)
{
    static const char *const wide[] = {"\xc2\x85",     "\xc2\xa0",     "\xe1\x9a\x80", "\xe2\x80\x80", "\xe2\x80\x81",
                                       "\xe2\x80\x82", "\xe2\x80\x83", "\xe2\x80\x84", "\xe2\x80\x85", "\xe2\x80\x86",
                                       "\xe2\x80\x87", "\xe2\x80\x88", "\xe2\x80\x89", "\xe2\x80\x8a", "\xe2\x80\xa8",
                                       "\xe2\x80\xa9", "\xe2\x80\xaf", "\xe2\x81\x9f", "\xe3\x80\x80"};
    unsigned char first = size ? (unsigned char)text[0] : 'x';
    if ((first >= 9 && first <= 13) || (first >= 28 && first <= 32))
        return 1;
    for (size_t i = 0; i < sizeof wide / sizeof *wide; i++)
        if (strlen(wide[i]) <= size && !memcmp(text, wide[i], strlen(wide[i])))
            return strlen(wide[i]);
    return 0;
}

static int put_trimmed(struct rendering *r, const char *text)
{
    size_t size = strlen(text), end = 0, n;
    while ((n = white_space(text, size)) > 0) {
        text += n;
        size -= n;
    }
    for (size_t at = 0; at < size;) {
        n = white_space(text + at, size - at);
        at += n ? n : 1;
        end = n ? end : at;
    }
    return rendering_put(r, text, end);
}

static int put_view(struct rendering *r)
{
    return rendering_text(r, EMPTY_LINE) || rendering_mark(r, MARK_PICTURE_START) || rendering_mark(r, MARK_PICTURE) ||
                   rendering_mark(r, MARK_PICTURE_END) || rendering_text(r, EMPTY_LINE)
               ? -1
               : 0;
}

/* What Gemma3Processor makes of the mark of a picture. */
static int put_views(struct rendering *r, int crops)
{
    if (crops == 0)
        return put_view(r);
    if (rendering_text(r, "Here is the original image ") || put_view(r) ||
        rendering_text(r, " and here are some crops to help you see better"))
        return -1;
    for (int i = 0; i < crops; i++)
        if (rendering_text(r, " ") || put_view(r))
            return -1;
    return 0;
}

/* As text the picture is what templates write, one mark; the rest is the processor's. */
static int put_picture(struct rendering *r)
{
    if (rendering_picture(r))
        return -1;
    return r->tokenizer ? put_views(r, rendering_crops(r)) : rendering_text(r, MARK_PICTURE_START);
}

static int put_turn(struct rendering *r, const struct prompt_turn *turn, const struct prompt_turn *system)
{
    if (rendering_mark(r, MARK_START) || rendering_text(r, turn->role == ROLE_USER ? "user\n" : "model\n"))
        return -1;
    for (int i = 0; system && i < system->n_parts; i++)
        if (rendering_text(r, system->parts[i].text))
            return -1;
    if (system && rendering_text(r, EMPTY_LINE))
        return -1;
    for (int i = 0; i < turn->n_parts; i++)
        if (turn->parts[i].text ? put_trimmed(r, turn->parts[i].text) : put_picture(r))
            return -1;
    return rendering_mark(r, MARK_END) || rendering_text(r, "\n") ? -1 : 0;
}

/* The model knows no other order. */
static int check_order(const struct rendering *r, const struct prompt_turn *turns, int n_turns, bool system)
{
    for (int i = 0; system && i < turns[0].n_parts; i++)
        if (!turns[0].parts[i].text)
            return fail(r->err, "%s: a system turn shows a picture; pictures belong to the user's turns", r->config->name);
    if (n_turns == system)
        return fail(r->err, "%s: the conversation has no user turn", r->config->name);
    for (int i = system; i < n_turns; i++)
        if (turns[i].role != ((i - system) % 2 ? ROLE_ASSISTANT : ROLE_USER))
            return fail(r->err, "%s: turn %d must be the %s's: user and assistant take turns, behind at most one system turn",
                        r->config->name, i, (i - system) % 2 ? "assistant" : "user");
    return 0;
}

static int render(struct rendering *r, const struct prompt_turn *turns, int n_turns)
{
    bool system = turns[0].role == ROLE_SYSTEM;
    if (check_order(r, turns, n_turns, system) || rendering_mark(r, MARK_BEGIN))
        return -1;
    for (int i = system; i < n_turns; i++)
        if (put_turn(r, &turns[i], system && i == 1 ? &turns[0] : NULL))
            return -1;
    return rendering_mark(r, MARK_START) || rendering_text(r, "model\n") ? -1 : 0;
}

static char *expand(const char *text, const struct picture_shape *shapes, int n_shapes, int *pictures)
{
    struct rendering r = {0};
    rendering_text(&r, "");
    for (const char *at; (at = strstr(text, MARK_PICTURE_START)); text = at + strlen(MARK_PICTURE_START)) {
        rendering_put(&r, text, (size_t)(at - text));
        put_views(&r, r.pictures < n_shapes ? shapes[r.pictures].crops : 0);
        r.pictures++;
    }
    rendering_text(&r, text);
    *pictures = r.pictures;
    return r.text;
}

const struct chat_format chat_format_gemma = {
    .default_system = "",
    .render = render,
    .expand = expand,
    .marks = {{MARK_PICTURE_START, "boi_token_index"}, {MARK_PICTURE, "image_token_index"}, {MARK_PICTURE_END, "eoi_token_index"}},
};
