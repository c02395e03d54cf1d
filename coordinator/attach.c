/* attach.c - the stream of one worker group, on the rpc thread */
#include "coordinator/attach.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/memory.h"

struct dialled { /* what an attached call knows of itself */
    struct mailbox *mailbox;
    uint64_t number;
};

static void link_send(void *call, const struct step_message *message)
{
    struct rpc_bytes bytes;
    step_message_pack(message, false, &bytes);
    rpc_call_send(call, bytes.data, bytes.size); /* -1: it has ended, and EVENT_LOST is under way */
    free(bytes.data);
}

static void link_finish(void *call, enum rpc_status status, const char *message)
{
    rpc_call_finish(call, status, message);
}

static void link_drop(void *call)
{
    rpc_call_drop(call);
}

static const struct link_calls link_calls = {link_send, link_finish, link_drop};

static void attach_start(struct rpc_call *call, const void *request, size_t size, void *context)
{
    (void)request;
    (void)size;
    struct attach *attach = context;
    struct dialled *dialled = mem_new(1, sizeof *dialled);
    *dialled = (struct dialled){attach->mailbox, atomic_fetch_add(&attach->last_number, 1) + 1};
    rpc_call_set(call, dialled);
    rpc_call_hold(call);
    struct event event = {.kind = EVENT_DIALLED, .link = {.calls = &link_calls, .call = call, .number = dialled->number}};
    snprintf(event.link.peer, sizeof event.link.peer, "%s", rpc_call_peer(call));
    mailbox_post(attach->mailbox, &event);
}

/* Beats are answered here and not by the scheduler, whom a long draft may keep busy: the group must not take that for our death. */
static void beat_answer(struct rpc_call *call, uint64_t step)
{
    struct step_message beat = {.kind = STEP_HEARTBEAT, .heartbeat = step};
    link_send(call, &beat);
}

static void attach_message(struct rpc_call *call, const void *data, size_t size)
{
    const struct dialled *dialled = rpc_call_get(call);
    struct error err;
    struct step_message *message = mem_new(1, sizeof *message);
    if (step_message_unpack(message, data, size, true, &err) != 0) {
        free(message);
        rpc_call_finish(call, RPC_INVALID_ARGUMENT, err.text);
        return;
    }
    if (message->kind == STEP_HEARTBEAT)
        beat_answer(call, message->heartbeat);
    mailbox_post(dialled->mailbox, &(struct event){.kind = EVENT_HEARD, .number = dialled->number, .message = message});
}

static void attach_half_closed(struct rpc_call *call)
{
    rpc_call_finish(call, RPC_OK, "");
}

static void attach_closed(struct rpc_call *call, bool cancelled)
{
    (void)cancelled;
    struct dialled *dialled = rpc_call_get(call);
    mailbox_post(dialled->mailbox, &(struct event){.kind = EVENT_LOST, .number = dialled->number});
    free(dialled);
}

const struct rpc_method attach_methods[] = {
    {ATTACH_PATH, RPC_BIDIRECTIONAL, attach_start, attach_message, attach_half_closed, attach_closed},
    {0},
};
