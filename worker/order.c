/* order.c - orders of rank 0 to the others, and their obedience */
#include "worker/order.h"

#include <stdlib.h>

#include "base/log.h"
#include "base/memory.h"

enum order_kind { ORDER_MESSAGE = 1, ORDER_FORGET, ORDER_END };

struct order { /* the head that is broadcast */
    uint64_t kind, size;
};

static void order_send(const struct post *post, enum order_kind kind, const void *data, size_t size)
{
    struct order order = {.kind = kind, .size = size};
    if (post->comm->size == 1)
        return;
    post->comm->calls->wake(post->comm);
    post->comm->calls->broadcast(post->comm, &order, sizeof order, 0);
    if (size)
        post->comm->calls->broadcast(post->comm, (void *)(uintptr_t)data, size, 0); /* the root's data is only read */
}

void order_message(const struct post *post, const void *data, size_t size)
{
    order_send(post, ORDER_MESSAGE, data, size);
}

void order_forget(const struct post *post)
{
    order_send(post, ORDER_FORGET, NULL, 0);
    engine_forget(post->engine);
}

void order_end(const struct post *post)
{
    order_send(post, ORDER_END, NULL, 0);
}

void order_act(const struct post *post, const struct step_message *message, struct step_verdict *verdict)
{
    struct error err;
    if (message->kind == STEP_PIECE) {
        if (engine_piece(post->engine, &message->piece, &err) != 0 && post->comm->rank == 0)
            log_line(LOG_WARNING, "%s", err.text);
        return;
    }
    watchdog_enter(post->watchdog, "a step");
    engine_step(post->engine, &message->step, verdict);
    watchdog_leave(post->watchdog);
}

static void order_obey_message(const struct post *post, size_t size)
{
    struct step_message message;
    struct step_verdict verdict = {0};
    struct error err;
    void *data = mem_new(size, 1);
    post->comm->calls->broadcast(post->comm, data, size, 0);
    /* Rank 0 has unpacked the same bytes before it sent them. */
    int rc = step_message_unpack(&message, data, size, false, &err);
    DEVICE_CHECK(rc == 0, "a message that rank 0 could read: %s", err.text);
    order_act(post, &message, &verdict);
    engine_verdict_free(&verdict);
    step_message_free(&message);
    free(data);
}

void order_obey(const struct post *post)
{
    struct order order;
    for (;;) {
        post->comm->calls->idle_wait(post->comm);
        post->comm->calls->broadcast(post->comm, &order, sizeof order, 0);
        if (order.kind == ORDER_END)
            return;
        if (order.kind == ORDER_FORGET)
            engine_forget(post->engine);
        else
            order_obey_message(post, order.size);
    }
}
