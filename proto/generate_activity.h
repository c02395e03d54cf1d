/* generate_activity.h - the activity as a part of a larger message */
#ifndef PROTO_GENERATE_ACTIVITY_H
#define PROTO_GENERATE_ACTIVITY_H

#include "proto/generate.h"
#include "proto/massv.pb-c.h"

struct activity_message { /* points into the activity that it was made of, and into itself */
    Massv__V1__Activity activity;
    Massv__V1__GroupActivity groups[ACTIVITY_GROUPS], *list[ACTIVITY_GROUPS];
};
void activity_put(struct activity_message *message, const struct server_activity *activity);

/* m NULL: there is none. Groups beyond ACTIVITY_GROUPS are left out. */
int activity_take(struct server_activity *activity, const Massv__V1__Activity *m, struct error *err);

#endif
