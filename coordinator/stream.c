/* stream.c - answers as their clients see them */
#include "coordinator/stream.h"

#include <stdlib.h>
#include <string.h>

#include "base/memory.h"

static void response_send(struct request *request, struct generate_response *response)
{
    response->request_id = request->id;
    response->output = request->output;
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

void stream_delta(struct request *request, const struct tokenizer *tokenizer, const struct progress *progress)
{
    bool accepted[DRAFT_TOKENS_MAX + 1];
    for (int i = 0; i < progress->n; i++)
        accepted[i] = i < progress->accepted;
    char *text = texts_join(progress->texts, progress->n), *rejected = NULL;
    if (request->show_drafts && progress->n_rejected)
        rejected = answer_text_of(tokenizer, progress->rejected, progress->n_rejected, false);
    struct generate_response response = {
        .event = GENERATE_TOKEN,
        .ids = progress->ids,
        .n_ids = progress->n,
        .text = text,
        .accepted = request->show_drafts ? accepted : NULL,
        .token_texts = request->show_drafts ? (const char *const *)progress->texts : NULL,
        .rejected_text = rejected ? rejected : "",
        .logprobs = progress->logprobs,
    };
    response_send(request, &response);
    free(rejected);
    free(text);
}

/* ms; 0 while one of the two has not happened. */
static double ms_between(double from, double to)
{
    return from && to ? 1e3 * (to - from) : 0;
}

struct generate_timing stream_timing(const struct request *request, double now)
{
    double waited = ms_between(request->arrived, request->placed);
    double image = request->prepared.image_ms;
    return (struct generate_timing){
        .queue = waited > image ? waited - image : 0,
        .image = image,
        .prefill = ms_between(request->placed, request->first_token),
        .first_token = ms_between(request->arrived, request->first_token),
        .decode = ms_between(request->first_token, request->last_token),
        .total = ms_between(request->arrived, now),
    };
}

void stream_finish(struct request *request, const char *reason, const char *match, const char *drafter, double now)
{
    const struct acceptance *a = &request->acceptance;
    struct generate_response response = {
        .event = GENERATE_FINISHED,
        .reason = reason,
        .stop_match = match,
        .usage = {.prompt_tokens = request->prepared.prompt.n,
                  .image_tokens = request->prepared.image_tokens,
                  .completion_tokens = request->n_tokens,
                  .cached_tokens = request->cached_tokens},
        .speculation = {.draft_tokens_per_step = request->draft_tokens,
                        .steps = a->steps,
                        .drafted = a->drafted,
                        .accepted = a->accepted,
                        .drafter = request->draft_tokens ? drafter : "none",
                        .inactive = request->inactive},
        .timing = stream_timing(request, now),
        .seed = request->sampling.temperature > 0 ? request->sampling.seed : 0,
    };
    memcpy(response.speculation.accepted_per_position, a->accepted_per_position, sizeof a->accepted_per_position);
    response_send(request, &response);
}

void stream_end(struct request *request, enum rpc_status status, const char *message)
{
    if (request->client.calls)
        request->client.calls->finish(request->client.call, status, message);
}

bool stream_is_behind(const struct request *request)
{
    return request->client.calls && request->client.calls->backlog(request->client.call) > STREAM_BACKLOG;
}
