/* stream.c - answers as their clients see them */
#include "coordinator/stream.h"

#include <stdlib.h>
#include <string.h>

#include "base/memory.h"

static void response_send(struct request *request, struct generate_response *response)
{
    response->request_id = request->id;
    if (request->client.calls)
        request->client.calls->send(request->client.call, response);
}

void stream_prompt(struct request *request)
{
    const struct prompt *prompt = &request->prepared.prompt;
    int(*grids)[2] = mem_new((size_t)prompt->n_pictures, sizeof *grids);
    for (int i = 0; i < prompt->n_pictures; i++) {
        grids[i][0] = prompt->pictures[i].lines;
        grids[i][1] = prompt->pictures[i].columns;
    }
    struct generate_response response = {
        .event = GENERATE_PROMPT,
        .usage = {.prompt_tokens = prompt->n, .image_tokens = request->prepared.image_tokens},
        .grids = (const int(*)[2])grids,
        .n_grids = prompt->n_pictures,
    };
    response_send(request, &response);
    free(grids);
}

/* Text that token `id` makes visible, malloc'ed. Special tokens have none. */
static char *token_text(struct text_stream *stream, const struct tokenizer *tokenizer, int32_t id, bool last)
{
    size_t size = 0;
    const char *bytes = tokenizer_bytes(tokenizer, id, &size);
    char *text = mem_new(3 * (size + 4) + 1, 1); /* for both pushes (tokenizer.h): what is held is less than a character */
    size_t n = bytes ? text_stream_push(stream, bytes, size, text) : 0;
    if (last)
        n += text_stream_push(stream, NULL, 0, text + n);
    text[n] = 0;
    return text;
}

static char *texts_join(char *const *texts, int n)
{
    size_t size = 1;
    for (int i = 0; i < n; i++)
        size += strlen(texts[i]);
    char *all = mem_new(size, 1), *end = all;
    for (int i = 0; i < n; i++)
        end = stpcpy(end, texts[i]);
    return all;
}

void stream_delta(struct request *request, const struct tokenizer *tokenizer, const struct delta *delta)
{
    char *texts[DRAFT_TOKENS_MAX + 1];
    bool accepted[DRAFT_TOKENS_MAX + 1];
    for (int i = 0; i < delta->n; i++) {
        texts[i] = token_text(&request->text, tokenizer, delta->ids[i], delta->last && i == delta->n - 1);
        accepted[i] = i < delta->accepted;
    }
    char *text = texts_join(texts, delta->n), *rejected = NULL;
    size_t size;
    if (request->show_drafts && delta->n_rejected)
        rejected = tokenizer_decode(tokenizer, delta->rejected, delta->n_rejected, false, &size);
    struct generate_response response = {
        .event = GENERATE_TOKEN,
        .ids = delta->ids,
        .n_ids = delta->n,
        .text = text,
        .accepted = request->show_drafts ? accepted : NULL,
        .token_texts = request->show_drafts ? (const char *const *)texts : NULL,
        .rejected_text = rejected ? rejected : "",
    };
    response_send(request, &response);
    free(rejected);
    free(text);
    for (int i = 0; i < delta->n; i++)
        free(texts[i]);
}

static struct generate_timing timing_of(const struct request *request, double now)
{
    const double ms = 1e3;
    double waited = request->placed - request->arrived;
    double image = request->prepared.image_ms;
    return (struct generate_timing){
        .queue = waited * ms > image ? waited * ms - image : 0,
        .image = image,
        .prefill = (request->first_token - request->placed) * ms,
        .first_token = (request->first_token - request->arrived) * ms,
        .decode = (request->last_token - request->first_token) * ms,
        .total = (now - request->arrived) * ms,
    };
}

void stream_finish(struct request *request, const char *reason, const char *drafter, double now)
{
    const struct acceptance *a = &request->acceptance;
    struct generate_response response = {
        .event = GENERATE_FINISHED,
        .reason = reason,
        .usage = {.prompt_tokens = request->prepared.prompt.n,
                  .image_tokens = request->prepared.image_tokens,
                  .completion_tokens = request->n_tokens},
        .speculation = {.draft_tokens_per_step = request->draft_tokens,
                        .steps = a->steps,
                        .drafted = a->drafted,
                        .accepted = a->accepted,
                        .drafter = request->draft_tokens ? drafter : "none",
                        .inactive = request->inactive},
        .timing = timing_of(request, now),
    };
    memcpy(response.speculation.accepted_per_position, a->accepted_per_position, sizeof a->accepted_per_position);
    response_send(request, &response);
    stream_fail(request, RPC_OK, "");
}

void stream_fail(struct request *request, enum rpc_status status, const char *message)
{
    if (request->client.calls)
        request->client.calls->finish(request->client.call, status, message);
}

bool stream_is_behind(const struct request *request)
{
    return request->client.calls && request->client.calls->backlog(request->client.call) > STREAM_BACKLOG;
}
