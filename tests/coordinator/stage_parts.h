/* stage_parts.h - what stage.c and stage_group.c share */
#ifndef TESTS_COORDINATOR_STAGE_PARTS_H
#define TESTS_COORDINATOR_STAGE_PARTS_H

#include "tests/coordinator/stage.h"

/* The target's next token behind n ids. */
int32_t stage_next(const int32_t *ids, int n);

/* Hands the scheduler a copy of the event, at the stage's time. */
void stage_event(struct stage *stage, const struct event *event);

/* Forgets the step in flight. */
void stage_step_forget(struct stage_group *group);

#endif
