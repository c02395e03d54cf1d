/* link.h - the leader's stream to the coordinator: attach, messages, and a heartbeat that goes on while a step computes */
#ifndef WORKER_LINK_H
#define WORKER_LINK_H

#include "base/error.h"
#include "proto/rpc.h"
#include "proto/step.h"
#include "worker/stop.h"

struct link;

enum link_state {
    LINK_OK,
    LINK_LOST,      /* nobody there, or gone: dialling again may help */
    LINK_REFUSED,   /* the coordinator does not want this group: it will not help */
    LINK_DISMISSED, /* the coordinator ended the stream in good order */
};

struct link_options {
    const char *address; /* of the coordinator */
    const struct step_hello *hello;
    struct stop *stop;
    const struct rpc_security *security;
};

/* Dials, says hello and waits for the welcome, all within `wait` seconds. err is filled unless LINK_OK. */
enum link_state link_open(struct link **link, const struct link_options *options, double wait, struct error *err);
void link_close(struct link *link); /* NULL is legal */

/* The next step or piece, unpacked and as it came (both the caller's to free). A coordinator that is silent, heartbeats included,
 * is lost. */
enum link_state link_read(struct link *link, struct step_message *message, struct rpc_bytes *bytes, struct error *err);

/* The heartbeat names the last step that began. */
void link_step_began(struct link *link, uint64_t step);
enum link_state link_write(struct link *link, const struct step_message *message, struct error *err);

#endif
