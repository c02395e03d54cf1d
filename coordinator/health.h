/* health.h - whether the service can answer: what the scheduler last said of itself, for grpc.health.v1 (health_methods) and for
 * massv.v1.Control/Health alike. Nobody who asks waits for the scheduler. */
#ifndef COORDINATOR_HEALTH_H
#define COORDINATOR_HEALTH_H

#include "proto/generate.h"
#include "proto/rpc.h"

struct health;

struct health *health_new(void); /* STARTING */
void health_free(struct health *health);

/* The scheduler's state, after each of its turns; watchers are told of a change. From then on the scheduler owes another word
 * within HEALTH_SILENCE_SECONDS, or the service is NOT_READY: a stuck scheduler cannot say so itself. */
enum { HEALTH_SILENCE_SECONDS = 30 };
void health_say(struct health *health, const struct health_info *info, double now);

/* Notices that silence for the watchers; to be called every second or so. */
void health_look(struct health *health, double now);

/* The state at the time now. */
void health_get(struct health *health, double now, struct health_info *info);

/* Ends all watches, and those still to come: the process is about to end. */
void health_close(struct health *health);

extern const struct rpc_method health_methods[]; /* their context is the health */

#endif
