/* warm_up.c - a small question about a small picture */
#include "coordinator/warm_up.h"

#include <string.h>

#include "base/memory.h"

/* A PNG file of 56 x 56 pixels in black and white stripes. */
static const uint8_t stripes[] = {
    0x89, 0x50, 0x4e, 0x47, 0x0d, 0x0a, 0x1a, 0x0a, 0x00, 0x00, 0x00, 0x0d, 0x49, 0x48, 0x44, 0x52, 0x00, 0x00, 0x00,
    0x38, 0x00, 0x00, 0x00, 0x38, 0x01, 0x00, 0x00, 0x00, 0x00, 0x80, 0xfd, 0x06, 0xb3, 0x00, 0x00, 0x00, 0x11, 0x49,
    0x44, 0x41, 0x54, 0x78, 0xda, 0x63, 0xf8, 0xc0, 0x0f, 0x86, 0x0c, 0xa3, 0xf4, 0x90, 0xa4, 0x01, 0x6a, 0x00, 0xdb,
    0xd9, 0x4f, 0x6f, 0x50, 0x38, 0x00, 0x00, 0x00, 0x00, 0x49, 0x45, 0x4e, 0x44, 0xae, 0x42, 0x60, 0x82,
};

void warm_up_ask(struct generate_request *asked, bool picture)
{
    int n_parts = picture ? 2 : 1;
    *asked = (struct generate_request){.request_id = mem_string("warm-up"),
                                       .model = mem_string(""),
                                       .turns = mem_new(1, sizeof *asked->turns),
                                       .n_turns = 1,
                                       .max_tokens = WARM_UP_TOKENS,
                                       .ignore_eos = true,
                                       .draft_tokens = DRAFT_TOKENS_ABSENT};
    asked->turns[0].role = mem_string("user");
    asked->turns[0].parts = mem_new((size_t)n_parts, sizeof *asked->turns->parts);
    asked->turns[0].n_parts = n_parts;
    asked->turns[0].parts[n_parts - 1].text = mem_string("Describe the picture.");
    if (!picture)
        return;
    asked->pictures = mem_new(1, sizeof *asked->pictures);
    asked->n_pictures = 1;
    asked->pictures[0].bytes = mem_new(1, sizeof stripes);
    asked->pictures[0].size = sizeof stripes;
    memcpy(asked->pictures[0].bytes, stripes, sizeof stripes);
}
