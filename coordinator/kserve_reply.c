/* kserve_reply.c - collects what outputs say until it is sent */
#include "coordinator/kserve_reply.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"

struct output { /* what was not sent */
    char *text;
    size_t size;
    int32_t *ids;
    struct logprobs *logprobs;
    int n;
    bool ended;
    struct generate_response finished; /* its numbers, and: */
    char reason[16];
};

struct reply {
    struct reply_terms terms;
    char *id;
    unsigned wanted;
    int logprobs;
    bool deltas, empty_final;
    struct output *outputs;
    int n, ended, last; /* outputs; those that have ended, and the last of them */
};

struct reply *reply_new(const struct reply_terms *terms, const struct kserve_request *request)
{
    struct reply *reply = mem_new(1, sizeof *reply);
    *reply = (struct reply){.terms = *terms,
                            .id = mem_string(request->id),
                            .wanted = request->outputs,
                            .logprobs = request->logprobs,
                            .deltas = request->stream,
                            .empty_final = request->empty_final,
                            .n = request->asked.n_outputs ? request->asked.n_outputs : 1};
    reply->outputs = mem_new((size_t)reply->n, sizeof *reply->outputs);
    return reply;
}

static void output_clear(struct output *output)
{
    free(output->text);
    free(output->ids);
    free(output->logprobs);
    *output = (struct output){.text = NULL};
}

void reply_free(struct reply *reply)
{
    if (!reply)
        return;
    for (int i = 0; i < reply->n; i++)
        output_clear(&reply->outputs[i]);
    free(reply->outputs);
    free(reply->id);
    free(reply);
}

static void output_add(struct output *output, const struct generate_response *token)
{
    size_t size = strlen(token->text), n = (size_t)token->n_ids, all = (size_t)output->n + n;
    output->text = mem_grow(output->text, output->size + size + 1, 1);
    memcpy(output->text + output->size, token->text, size + 1);
    output->size += size;
    output->ids = mem_grow(output->ids, all, sizeof *output->ids);
    if (token->logprobs)
        output->logprobs = mem_grow(output->logprobs, all, sizeof *output->logprobs);
    for (size_t i = 0; i < n; i++) {
        output->ids[(size_t)output->n + i] = token->ids[i];
        if (token->logprobs)
            output->logprobs[(size_t)output->n + i] = token->logprobs[i];
    }
    output->n = (int)all;
}

static void output_end(struct output *output, const struct generate_response *finished)
{
    snprintf(output->reason, sizeof output->reason, "%s", finished->reason);
    output->finished = (struct generate_response){.usage = finished->usage, .seed = finished->seed};
    output->finished.speculation = finished->speculation;
    output->finished.reason = output->reason;
    output->ended = true;
}

/* A message about n outputs from the first on: all that was not sent. */
static void outputs_pack(const struct reply *reply, int first, int n, bool last, struct rpc_bytes *bytes)
{
    struct kserve_part *parts = mem_new((size_t)n, sizeof *parts);
    for (int i = 0; i < n; i++) {
        const struct output *o = &reply->outputs[first + i];
        parts[i] = (struct kserve_part){.output = first + i,
                                        .text = o->text ? o->text : "",
                                        .ids = o->ids,
                                        .logprobs = o->logprobs,
                                        .n = o->n,
                                        .finished = o->ended ? &o->finished : NULL};
    }
    const struct kserve_answer answer = {.model = reply->terms.model,
                                         .id = reply->id,
                                         .parts = parts,
                                         .n = n,
                                         .named = n < reply->n,
                                         .outputs = reply->wanted,
                                         .logprobs = reply->logprobs,
                                         .last = last};
    kserve_answer_pack(&answer, reply->terms.streamed, bytes);
    free(parts);
}

static void output_send(struct reply *reply, int i, struct rpc_bytes *bytes)
{
    outputs_pack(reply, i, 1, false, bytes);
    output_clear(&reply->outputs[i]);
}

/* A text goes at once; or, so that the last message has one, when the next text comes. */
static bool token_take(struct reply *reply, int i, const struct generate_response *token, struct rpc_bytes *bytes)
{
    struct output *output = &reply->outputs[i];
    bool held = reply->deltas && !reply->empty_final && output->size && *token->text;
    if (held)
        output_send(reply, i, bytes);
    output_add(output, token);
    if (!reply->deltas || !reply->empty_final || !output->size)
        return held;
    output_send(reply, i, bytes);
    return true;
}

bool reply_take(struct reply *reply, const struct generate_response *event, struct rpc_bytes *bytes)
{
    int i = event->output;
    if (event->event == GENERATE_TOKEN)
        return token_take(reply, i, event, bytes);
    if (event->event != GENERATE_FINISHED)
        return false;
    output_end(&reply->outputs[i], event);
    reply->last = i;
    if (++reply->ended == reply->n || !reply->deltas)
        return false; /* reply_end */
    output_send(reply, i, bytes);
    return true;
}

void reply_end(const struct reply *reply, struct rpc_bytes *bytes)
{
    if (reply->deltas)
        outputs_pack(reply, reply->last, 1, true, bytes);
    else
        outputs_pack(reply, 0, reply->n, true, bytes);
}
