/* answer.c - one answer, part by part */
#include "proto/answer.h"

#include <stdlib.h>
#include <string.h>

#include "base/memory.h"

static void answer_token(struct answer *a, const struct generate_response *r)
{
    size_t size = strlen(r->text);
    a->text = mem_grow(a->text, a->size + size + 1, 1);
    memcpy(a->text + a->size, r->text, size + 1);
    a->size += size;
    if (!r->n_ids)
        return;
    a->ids = mem_grow(a->ids, (size_t)a->n + (size_t)r->n_ids, sizeof *a->ids);
    memcpy(a->ids + a->n, r->ids, (size_t)r->n_ids * sizeof *a->ids);
    if (r->logprobs) {
        a->logprobs = mem_grow(a->logprobs, (size_t)a->n + (size_t)r->n_ids, sizeof *a->logprobs);
        memcpy(a->logprobs + a->n, r->logprobs, (size_t)r->n_ids * sizeof *a->logprobs);
    }
    a->n += r->n_ids;
    a->usage.completion_tokens = a->n; /* until the last message counts: an interrupted answer has none */
}

void answer_add(struct answer *a, const struct generate_response *r)
{
    if (!a->id)
        a->id = mem_string(r->request_id);
    if (r->event == GENERATE_PROMPT)
        a->usage = r->usage;
    if (r->event == GENERATE_TOKEN)
        answer_token(a, r);
    if (r->event != GENERATE_FINISHED)
        return;
    free(a->reason);
    free(a->inactive);
    a->reason = mem_string(r->reason);
    a->seed = r->seed;
    a->inactive = mem_string(r->speculation.inactive ? r->speculation.inactive : "");
    a->usage = r->usage;
    a->timing = r->timing;
    a->speculation = r->speculation;
    a->speculation.drafter = a->speculation.inactive = NULL; /* they end with the message */
}

void answer_free(struct answer *a)
{
    free(a->id);
    free(a->text);
    free(a->reason);
    free(a->inactive);
    free(a->ids);
    free(a->logprobs);
}

double answer_mean_length(const struct answer *a)
{
    return a->speculation.steps ? 1 + (double)a->speculation.accepted / (double)a->speculation.steps : 1;
}
