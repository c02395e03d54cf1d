/* warm_up.h - the question that a service asks itself before it calls itself ready */
#ifndef COORDINATOR_WARM_UP_H
#define COORDINATOR_WARM_UP_H

#include "proto/generate.h"

/* A large vision tower on a slow CPU needs a minute for its smallest picture; what takes longer than this is stuck. */
enum { WARM_UP_SECONDS = 600, WARM_UP_TOKENS = 4 };

/* A turn of text, behind a small picture where there is a tower to warm; to be freed like any request. */
void warm_up_ask(struct generate_request *asked, bool picture);

#endif
