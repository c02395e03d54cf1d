/* chat_qwen.c - the chat format of Qwen2.5: turns between marks, a system turn always, pictures between vision marks */
#include "model/chat_template.h"
#include "model/prompt_parts.h"

#define MARK_START "<|im_start|>"
#define MARK_END "<|im_end|>"
#define MARK_VISION_START "<|vision_start|>"
#define MARK_VISION_END "<|vision_end|>"
#define MARK_PICTURE "<|image_pad|>"

static int put_picture(struct rendering *r)
{
    return rendering_picture(r) || rendering_mark(r, MARK_VISION_START) || rendering_mark(r, MARK_PICTURE) ||
                   rendering_mark(r, MARK_VISION_END)
               ? -1
               : 0;
}

static int put_turn(struct rendering *r, const struct prompt_turn *turn)
{
    static const char *const names[] = {[ROLE_SYSTEM] = "system\n", [ROLE_USER] = "user\n", [ROLE_ASSISTANT] = "assistant\n"};
    if (rendering_mark(r, MARK_START) || rendering_text(r, names[turn->role]))
        return -1;
    for (int i = 0; i < turn->n_parts; i++)
        if (turn->parts[i].text ? rendering_text(r, turn->parts[i].text) : put_picture(r))
            return -1;
    return rendering_mark(r, MARK_END) || rendering_text(r, "\n") ? -1 : 0;
}

static int render(struct rendering *r, const struct prompt_turn *turns, int n_turns)
{
    const struct prompt_part part = {r->config->default_system};
    const struct prompt_turn system = {ROLE_SYSTEM, &part, 1};
    if (turns[0].role != ROLE_SYSTEM && *r->config->default_system && put_turn(r, &system))
        return -1;
    for (int i = 0; i < n_turns; i++)
        if (put_turn(r, &turns[i]))
            return -1;
    return rendering_mark(r, MARK_START) || rendering_text(r, "assistant\n") ? -1 : 0;
}

#define MARKS                                                                                                                      \
    {                                                                                                                              \
        {MARK_VISION_START, "vision_start_token_id"}, {MARK_PICTURE, "image_token_id"},                                            \
        {                                                                                                                          \
            MARK_VISION_END, "vision_end_token_id"                                                                                 \
        }                                                                                                                          \
    }

const struct chat_format chat_format_qwen_vl = {
    .default_system = "You are a helpful assistant.",
    .template_system = chat_template_system,
    .render = render,
    .marks = MARKS,
};

const struct chat_format chat_format_qwen = {
    .default_system = "You are Qwen, created by Alibaba Cloud. You are a helpful assistant.",
    .template_system = chat_template_system,
    .render = render,
    .marks = MARKS,
};
