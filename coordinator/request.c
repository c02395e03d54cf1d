/* request.c - the states of a request and the sizes that follow from it */
#include "coordinator/request.h"

#include <assert.h>
#include <stdlib.h>

#include "coordinator/settle.h"

static const struct transition {
    enum request_state from;
    enum request_event event;
    enum request_state to;
} transitions[] = {
    /* from              event               to */
    {REQUEST_PREPARING, REQUEST_PREPARED, REQUEST_QUEUED}, {REQUEST_PREPARING, REQUEST_END, REQUEST_ENDED},
    {REQUEST_QUEUED, REQUEST_PLACED, REQUEST_RUNNING},     {REQUEST_QUEUED, REQUEST_END, REQUEST_ENDED},
    {REQUEST_RUNNING, REQUEST_GROUP_LOST, REQUEST_QUEUED}, /* replayed: prompt + tokens already sent */
    {REQUEST_RUNNING, REQUEST_PREEMPTED, REQUEST_QUEUED},  /* likewise */
    {REQUEST_RUNNING, REQUEST_END, REQUEST_ENDED},
};

void request_apply(struct request *request, enum request_event event)
{
    for (size_t i = 0; i < sizeof transitions / sizeof *transitions; i++) {
        if (transitions[i].from == request->state && transitions[i].event == event) {
            request->state = transitions[i].to;
            return;
        }
    }
    assert(!"this state has no such event");
}

int request_positions(const struct request *request)
{
    return request->prepared.prompt.n + request->max_tokens;
}

int request_known(const struct request *request)
{
    return request->prepared.prompt.n + (request->n_tokens ? request->n_tokens - 1 : 0);
}

bool request_stops_at(const struct request *request, int32_t token)
{
    for (int i = 0; i < request->n_stop_ids; i++)
        if (request->stop_ids[i] == token)
            return true;
    return false;
}

void request_free(struct request *request)
{
    if (!request)
        return;
    if (request->client.calls)
        request->client.calls->drop(request->client.call);
    prepared_free(&request->prepared);
    free(request->page_keys);
    free(request->page_shared);
    free(request->stop_ids);
    answer_text_free(&request->text);
    settle_free(&request->sampling);
    free(request->tokens);
    free(request);
}
