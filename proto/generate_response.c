/* generate_response.c - GenerateResponse: from and to bytes */
#include <limits.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "proto/generate.h"
#include "proto/massv.pb-c.h"
#include "proto/message.h"

/* What an unpacked response points into: the message, and what has another shape there. */
struct response_owner {
    Massv__V1__GenerateResponse *message;
    int (*grids)[2];
    bool *accepted;
    struct logprobs *logprobs;
};

/* ---- to bytes ---- */

static void prompt_pack(const struct generate_response *response, Massv__V1__GenerateResponse *m, struct rpc_bytes *bytes)
{
    size_t n = (size_t)response->n_grids;
    Massv__V1__PromptInfo prompt = MASSV__V1__PROMPT_INFO__INIT;
    Massv__V1__Grid *grids = mem_new(n, sizeof *grids);
    prompt.prompt_tokens = (uint32_t)response->usage.prompt_tokens;
    prompt.image_tokens = (uint32_t)response->usage.image_tokens;
    prompt.n_grids = n;
    prompt.grids = mem_new(n, sizeof *prompt.grids);
    for (size_t i = 0; i < n; i++) {
        massv__v1__grid__init(&grids[i]);
        grids[i].lines = (uint32_t)response->grids[i][0];
        grids[i].columns = (uint32_t)response->grids[i][1];
        prompt.grids[i] = &grids[i];
    }
    m->event_case = MASSV__V1__GENERATE_RESPONSE__EVENT_PROMPT;
    m->prompt = &prompt;
    message_pack(&m->base, bytes);
    free(prompt.grids);
    free(grids);
}

/* Messages and the lists of pointers to them in one allocation: the lists of `top` stand behind those of the tokens. */
static Massv__V1__TokenLogprobs **logprobs_make(const struct logprobs *from, size_t n)
{
    size_t most = SAMPLING_TOP_LOGPROBS;
    Massv__V1__TokenLogprobs **list =
        mem_new(n, sizeof *list + sizeof **list + most * (sizeof(void *) + sizeof(Massv__V1__TopLogprob)));
    Massv__V1__TokenLogprobs *tokens = (void *)(list + n);
    Massv__V1__TopLogprob **tops = (void *)(tokens + n), *top = (void *)(tops + n * most);
    for (size_t i = 0; i < n; i++, tops += most, top += most) {
        list[i] = &tokens[i];
        massv__v1__token_logprobs__init(list[i]);
        list[i]->logprob = from[i].chosen;
        list[i]->n_top = (size_t)from[i].n_top;
        list[i]->top = tops;
        for (int j = 0; j < from[i].n_top; j++) {
            tops[j] = &top[j];
            massv__v1__top_logprob__init(&top[j]);
            top[j].token_id = from[i].top_ids[j];
            top[j].logprob = from[i].top[j];
        }
    }
    return list;
}

static void token_pack(const struct generate_response *response, Massv__V1__GenerateResponse *m, struct rpc_bytes *bytes)
{
    size_t n = (size_t)response->n_ids;
    Massv__V1__TokenDelta token = MASSV__V1__TOKEN_DELTA__INIT;
    token.output_index = (uint32_t)response->output;
    token.n_token_ids = n;
    token.token_ids = (int32_t *)response->ids;
    token.text = message_text(response->text);
    token.rejected_text = message_text(response->rejected_text);
    if (response->accepted) {
        token.n_accepted = n;
        token.accepted = mem_new(n, sizeof *token.accepted);
        for (size_t i = 0; i < n; i++)
            token.accepted[i] = response->accepted[i];
    }
    if (response->token_texts) {
        token.n_token_texts = n;
        token.token_texts = (char **)response->token_texts;
    }
    if (response->logprobs) {
        token.n_logprobs = n;
        token.logprobs = logprobs_make(response->logprobs, n);
    }
    m->event_case = MASSV__V1__GENERATE_RESPONSE__EVENT_TOKEN;
    m->token = &token;
    message_pack(&m->base, bytes);
    free(token.accepted);
    free(token.logprobs);
}

static Massv__V1__SpeculationUsage speculation_make(const struct generate_speculation *from)
{
    Massv__V1__SpeculationUsage to = MASSV__V1__SPECULATION_USAGE__INIT;
    to.auto_draft_tokens = from->draft_tokens_per_step == DRAFT_TOKENS_AUTO;
    to.draft_tokens_per_step = to.auto_draft_tokens ? 0 : (uint32_t)from->draft_tokens_per_step;
    to.steps = from->steps;
    to.drafted = from->drafted;
    to.accepted = from->accepted;
    to.accepted_per_position = (uint64_t *)from->accepted_per_position;
    to.n_accepted_per_position = DRAFT_TOKENS_MAX; /* but for those that were never drafted */
    while (to.n_accepted_per_position > to.draft_tokens_per_step && !to.accepted_per_position[to.n_accepted_per_position - 1])
        to.n_accepted_per_position--;
    to.drafter = message_text(from->drafter);
    to.inactive = message_text(from->inactive);
    return to;
}

static void finished_pack(const struct generate_response *response, Massv__V1__GenerateResponse *m, struct rpc_bytes *bytes)
{
    const struct generate_timing *t = &response->timing;
    Massv__V1__Finished finished = MASSV__V1__FINISHED__INIT;
    Massv__V1__Usage usage = MASSV__V1__USAGE__INIT;
    Massv__V1__SpeculationUsage speculation = speculation_make(&response->speculation);
    Massv__V1__Timing timing = MASSV__V1__TIMING__INIT;
    usage.prompt_tokens = (uint32_t)response->usage.prompt_tokens;
    usage.image_tokens = (uint32_t)response->usage.image_tokens;
    usage.completion_tokens = (uint32_t)response->usage.completion_tokens;
    usage.cached_tokens = (uint32_t)response->usage.cached_tokens;
    timing.queue = t->queue, timing.image = t->image, timing.prefill = t->prefill;
    timing.first_token = t->first_token, timing.decode = t->decode, timing.total = t->total;
    finished.output_index = (uint32_t)response->output;
    finished.reason = message_text(response->reason);
    finished.stop_match = message_text(response->stop_match);
    finished.usage = &usage;
    finished.speculation = &speculation;
    finished.timing = &timing;
    finished.seed = response->seed;
    m->event_case = MASSV__V1__GENERATE_RESPONSE__EVENT_FINISHED;
    m->finished = &finished;
    message_pack(&m->base, bytes);
}

void generate_response_pack(const struct generate_response *response, struct rpc_bytes *bytes)
{
    Massv__V1__GenerateResponse m = MASSV__V1__GENERATE_RESPONSE__INIT;
    m.request_id = message_text(response->request_id);
    if (response->event == GENERATE_PROMPT)
        prompt_pack(response, &m, bytes);
    else if (response->event == GENERATE_TOKEN)
        token_pack(response, &m, bytes);
    else
        finished_pack(response, &m, bytes);
}

/* ---- from bytes ---- */

static int usage_take(struct generate_usage *usage, const char *place, uint32_t prompt, uint32_t image, struct error *err)
{
    if (message_range("prompt_tokens", prompt, 0, INT_MAX, err) || message_range("image_tokens", image, 0, prompt, err))
        return message_within(err, "%s", place);
    usage->prompt_tokens = (int)prompt;
    usage->image_tokens = (int)image;
    return 0;
}

static int prompt_take(struct generate_response *response, struct response_owner *owner, struct error *err)
{
    const Massv__V1__PromptInfo *m = owner->message->prompt;
    response->event = GENERATE_PROMPT;
    if (usage_take(&response->usage, "prompt", m->prompt_tokens, m->image_tokens, err))
        return -1;
    owner->grids = mem_new(m->n_grids, sizeof *owner->grids);
    for (size_t i = 0; i < m->n_grids; i++) {
        const Massv__V1__Grid *grid = m->grids[i];
        if (message_range("lines", grid->lines, 1, 1 << 16, err) || message_range("columns", grid->columns, 1, 1 << 16, err))
            return message_within(err, "prompt.grids[%zu]", i);
        owner->grids[i][0] = (int)grid->lines;
        owner->grids[i][1] = (int)grid->columns;
    }
    response->grids = (const int(*)[2])owner->grids;
    response->n_grids = (int)m->n_grids;
    return 0;
}

static int output_take(struct generate_response *response, const char *field, uint32_t output, struct error *err)
{
    response->output = (int)output;
    return message_range(field, output, 0, GENERATE_OUTPUTS_MAX - 1, err);
}

static int logprobs_take(struct logprobs *to, const Massv__V1__TokenLogprobs *m, struct error *err)
{
    if (m->n_top > SAMPLING_TOP_LOGPROBS)
        return fail(err, "top: %zu elements are above %d", m->n_top, SAMPLING_TOP_LOGPROBS);
    to->chosen = m->logprob;
    to->n_top = (int)m->n_top;
    for (size_t i = 0; i < m->n_top; i++) {
        to->top_ids[i] = m->top[i]->token_id;
        to->top[i] = m->top[i]->logprob;
    }
    return 0;
}

static int token_take(struct generate_response *response, struct response_owner *owner, struct error *err)
{
    const Massv__V1__TokenDelta *m = owner->message->token;
    size_t n = m->n_token_ids;
    response->event = GENERATE_TOKEN;
    if (output_take(response, "token.output_index", m->output_index, err) ||
        message_not_negative("token.token_ids", m->token_ids, n, err))
        return -1;
    if (m->n_accepted && m->n_accepted != n)
        return fail(err, "token.accepted: %zu elements for %zu token_ids", m->n_accepted, n);
    if (m->n_token_texts && m->n_token_texts != n)
        return fail(err, "token.token_texts: %zu elements for %zu token_ids", m->n_token_texts, n);
    if (m->n_logprobs && m->n_logprobs != n)
        return fail(err, "token.logprobs: %zu elements for %zu token_ids", m->n_logprobs, n);
    if (m->n_logprobs)
        owner->logprobs = mem_new(n, sizeof *owner->logprobs);
    for (size_t i = 0; i < m->n_logprobs; i++)
        if (logprobs_take(&owner->logprobs[i], m->logprobs[i], err))
            return message_within(err, "token.logprobs[%zu]", i);
    if (m->n_accepted) {
        owner->accepted = mem_new(n, sizeof *owner->accepted);
        for (size_t i = 0; i < n; i++)
            owner->accepted[i] = m->accepted[i] != 0;
    }
    response->ids = m->token_ids;
    response->n_ids = (int)n;
    response->text = m->text;
    response->accepted = owner->accepted;
    response->logprobs = owner->logprobs;
    response->token_texts = m->n_token_texts ? (const char *const *)m->token_texts : NULL;
    response->rejected_text = m->rejected_text;
    return 0;
}

static int speculation_take(struct generate_speculation *to, const Massv__V1__SpeculationUsage *from, struct error *err)
{
    if (message_range("draft_tokens_per_step", from->draft_tokens_per_step, 0, DRAFT_TOKENS_MAX, err))
        return -1;
    if (from->n_accepted_per_position > DRAFT_TOKENS_MAX)
        return fail(err, "accepted_per_position: %zu elements are above %d", from->n_accepted_per_position, DRAFT_TOKENS_MAX);
    to->draft_tokens_per_step = from->auto_draft_tokens ? DRAFT_TOKENS_AUTO : (int)from->draft_tokens_per_step;
    to->steps = from->steps;
    to->drafted = from->drafted;
    to->accepted = from->accepted;
    for (size_t i = 0; i < from->n_accepted_per_position; i++)
        to->accepted_per_position[i] = from->accepted_per_position[i];
    to->drafter = from->drafter;
    to->inactive = from->inactive;
    return 0;
}

static int timing_take(struct generate_timing *to, const Massv__V1__Timing *from, struct error *err)
{
    *to = (struct generate_timing){from->queue, from->image, from->prefill, from->first_token, from->decode, from->total};
    if (message_amount("queue", to->queue, err) || message_amount("image", to->image, err) ||
        message_amount("prefill", to->prefill, err) || message_amount("first_token", to->first_token, err) ||
        message_amount("decode", to->decode, err) || message_amount("total", to->total, err))
        return message_within(err, "finished.timing");
    return 0;
}

static int finished_take(struct generate_response *response, struct response_owner *owner, struct error *err)
{
    const Massv__V1__Finished *m = owner->message->finished;
    response->event = GENERATE_FINISHED;
    response->reason = m->reason;
    response->stop_match = m->stop_match;
    response->seed = m->seed;
    response->speculation.drafter = response->speculation.inactive = "";
    if (output_take(response, "finished.output_index", m->output_index, err))
        return -1;
    if (strcmp(m->reason, "stop") && strcmp(m->reason, "length") && strcmp(m->reason, "cancelled"))
        return fail(err, "finished.reason: \"%.40s\" is not stop, length or cancelled", m->reason);
    if (m->usage) {
        if (usage_take(&response->usage, "finished.usage", m->usage->prompt_tokens, m->usage->image_tokens, err) ||
            message_range("finished.usage.completion_tokens", m->usage->completion_tokens, 0, INT_MAX, err) ||
            message_range("finished.usage.cached_tokens", m->usage->cached_tokens, 0, m->usage->prompt_tokens, err))
            return -1;
        response->usage.cached_tokens = (int)m->usage->cached_tokens;
        response->usage.completion_tokens = (int)m->usage->completion_tokens;
    }
    if (m->speculation && speculation_take(&response->speculation, m->speculation, err))
        return message_within(err, "finished.speculation");
    return m->timing ? timing_take(&response->timing, m->timing, err) : 0;
}

static int event_take(struct generate_response *response, struct response_owner *owner, struct error *err)
{
    response->request_id = owner->message->request_id;
    switch (owner->message->event_case) {
    case MASSV__V1__GENERATE_RESPONSE__EVENT_PROMPT:
        return prompt_take(response, owner, err);
    case MASSV__V1__GENERATE_RESPONSE__EVENT_TOKEN:
        return token_take(response, owner, err);
    case MASSV__V1__GENERATE_RESPONSE__EVENT_FINISHED:
        return finished_take(response, owner, err);
    default:
        return fail(err, "event: none of prompt, token and finished is there");
    }
}

int generate_response_unpack(struct generate_response *response, const void *data, size_t size, struct error *err)
{
    *response = (struct generate_response){0};
    Massv__V1__GenerateResponse *m = message_unpack(&massv__v1__generate_response__descriptor, data, size, err);
    if (!m)
        return -1;
    struct response_owner *owner = mem_new(1, sizeof *owner);
    owner->message = m;
    response->owner = owner;
    if (!event_take(response, owner, err))
        return 0;
    generate_response_free(response);
    return -1;
}

void generate_response_free(struct generate_response *response)
{
    struct response_owner *owner = response->owner;
    if (owner) {
        massv__v1__generate_response__free_unpacked(owner->message, NULL);
        free(owner->grids);
        free(owner->accepted);
        free(owner->logprobs);
        free(owner);
    }
    *response = (struct generate_response){0};
}
