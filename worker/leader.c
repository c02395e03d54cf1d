/* leader.c - the life of a group: dial, serve, and after a lost stream forget everything and dial again for a few seconds */
#include "worker/leader.h"

#include <stdlib.h>

#include "base/clock.h"
#include "base/log.h"

/* Seconds. The group may be up before its coordinator has loaded its models; a coordinator that was there and left for longer
 * than it takes to start again is gone, and the group must not outlive it by more than 5 s, of which mpirun needs up to 2 to end
 * the job. */
static const double FIRST_DIAL = 30, DIAL_AGAIN = 2.5;

/* One message on all ranks; a step's verdict goes back. */
static enum link_state leader_handle(const struct post *post, struct link *link, const struct step_message *message,
                                     const struct rpc_bytes *bytes, struct error *err)
{
    double arrived = clock_seconds();
    struct step_message reply = {.kind = STEP_VERDICT};
    if (message->kind == STEP_STEP)
        link_step_began(link, message->step.id);
    order_message(post, bytes->data, bytes->size);
    order_act(post, message, &reply.verdict);
    if (message->kind != STEP_STEP)
        return LINK_OK;
    reply.verdict.compute_ms = 1e3 * (clock_seconds() - arrived);
    enum link_state state = link_write(link, &reply, err);
    engine_verdict_free(&reply.verdict);
    return state;
}

static enum link_state leader_serve(const struct post *post, struct link *link, struct error *err)
{
    struct step_message message;
    struct rpc_bytes bytes;
    enum link_state state;
    while ((state = link_read(link, &message, &bytes, err)) == LINK_OK) {
        state = leader_handle(post, link, &message, &bytes, err);
        step_message_free(&message);
        free(bytes.data);
        if (state != LINK_OK)
            break;
    }
    return state;
}

/* Tries until `until`, with a pause that doubles from 50 ms to 0.5 s. */
static enum link_state leader_dial(struct link **link, const struct link_options *options, double until, struct error *err)
{
    double pause = 0.05, left;
    enum link_state state = LINK_LOST;
    while (state == LINK_LOST && !stop_asked(options->stop) && (left = until - clock_seconds()) > 0) {
        state = link_open(link, options, left, err);
        double next = clock_seconds() + pause;
        while (state == LINK_LOST && clock_seconds() < next && clock_seconds() < until && !stop_asked(options->stop))
            clock_sleep(0.05);
        pause = pause < 0.25 ? 2 * pause : 0.5;
    }
    return state;
}

int leader_run(const struct post *post, const struct link_options *options, struct error *err)
{
    struct link *link;
    enum link_state state = leader_dial(&link, options, clock_seconds() + FIRST_DIAL, err);
    while (state == LINK_OK) {
        log_line(LOG_INFO, "attached to coordinator %s", options->address);
        state = leader_serve(post, link, err);
        link_close(link);
        if (state != LINK_LOST || stop_asked(options->stop))
            break;
        log_line(LOG_WARNING, "%s: sequences are forgotten, dialling again", err->text);
        order_forget(post);
        state = leader_dial(&link, options, clock_seconds() + DIAL_AGAIN, err);
    }
    order_end(post);
    if (state == LINK_DISMISSED || stop_asked(options->stop))
        return 0;
    return state == LINK_REFUSED ? fail_in(err, "refused") : fail_in(err, "no coordinator");
}
