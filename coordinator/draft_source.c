/* draft_source.c - the drafter as the scheduler's source of drafts */
#include "coordinator/draft_source.h"

static struct draft_sequence *source_begin(void *context, const struct prompt *prompt, const struct prepared_picture *pictures,
                                           int max_positions, struct error *err)
{
    return drafter_begin(context, prompt, pictures, max_positions, err);
}

static void source_end(void *context, struct draft_sequence *sequence)
{
    drafter_end(context, sequence);
}

static int source_behind(void *context, const struct draft_sequence *sequence, int n_tokens)
{
    return drafter_behind(context, sequence, n_tokens);
}

static int source_propose(void *context, struct proposal *proposals, int count, int prompt_rows)
{
    return drafter_propose(context, proposals, count, prompt_rows);
}

struct draft_source draft_source_of(struct drafter *drafter)
{
    return (struct draft_source){.context = drafter,
                                 .kind = drafter_kind_name(drafter ? drafter_kind(drafter) : DRAFTER_NONE),
                                 .begin = source_begin,
                                 .end = source_end,
                                 .behind = source_behind,
                                 .propose = source_propose};
}
