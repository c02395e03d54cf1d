/* test_step_times.c - what the scheduler learns from the times of steps, for the lengths of drafts: the group tells 1 ms for each,
 * and the clock of the stage says the rest */
#include "tests/coordinator/stage.h"

#include <math.h>

#include "coordinator/scheduler_state.h"

enum { K = 4 };

static struct stage_group *stage_timed(struct stage *stage)
{
    struct scheduler_options options = {.stall_ms = 50};
    stage_open(stage, &options);
    struct stage_group *group = stage_attach(stage, 100, 128);
    group->row_ms = 0.1;
    stage->right = K;
    stage_run(stage);
    return group;
}

static void steps_take(struct stage_group *group, int steps, double ms)
{
    for (int i = 0; i < steps && group->step.id; i++) {
        group->stage->now += ms / 1e3;
        stage_answer(group);
    }
}

static bool near(double a, double b)
{
    return fabs(a - b) < 0.05 * b;
}

static void what_steps_take_beside_the_group_is_learned(void **state)
{
    (void)state;
    struct stage stage;
    const struct stage_question none = {.prompt = 20, .seed = 1, .max_tokens = 40, .k = 0},
                                four = {.prompt = 20, .seed = 2, .max_tokens = 200, .k = K};
    struct stage_group *timed = stage_timed(&stage);
    const struct group *group = stage.scheduler->groups[0];
    stage_ask(&stage, &none);
    stage_prepare(&stage, NULL);
    steps_take(timed, 1, 100);
    assert_int_equal(group->beside.bins[0].count, 0); /* the prompt's own step */
    steps_take(timed, 100, 4);
    assert_true(near(cost_curve_at(&group->beside, 1), 3));
    assert_true(group->draft_length.without.took > 100 && group->draft_length.with.took == 0);

    stage_ask(&stage, &four);
    stage_prepare(&stage, NULL);
    steps_take(timed, 1, 100);
    steps_take(timed, 1, 50); /* the one before it was another kind, whose answers are sent in its time */
    assert_true(group->beside_drafts.drafts == 0);
    steps_take(timed, 100, 6);
    assert_true(near(group->beside_drafts.ms / group->beside_drafts.drafts, 2.0 / K)); /* 2 ms more by 4 drafts */
    assert_true(near(cost_curve_at(&group->beside, 1), 3));
    assert_true(group->draft_length.with.took > 50);
    assert_true(near(group->draft_length.with.earned / group->draft_length.with.took, 1)); /* all as it was foreseen */
    stage_close(&stage);
}

/* 16 rows of a prompt beside an answer: of 4 + 1.6 + 2 ms the group says 2.6, and a step without them takes 4. */
static void what_prompts_take_beside_the_group_is_learned(void **state)
{
    (void)state;
    struct stage stage;
    const struct stage_question runs = {.prompt = 20, .seed = 1, .max_tokens = 200, .k = 0},
                                comes = {.prompt = 16, .seed = 2, .max_tokens = 1, .k = 0};
    struct stage_group *timed = stage_timed(&stage);
    const struct group *group = stage.scheduler->groups[0];
    stage_ask(&stage, &runs);
    stage_prepare(&stage, NULL);
    steps_take(timed, 40, 4);
    double took = group->draft_length.without.took;
    stage_ask(&stage, &comes);
    stage_prepare(&stage, NULL);
    steps_take(timed, 1, 4); /* in flight when the prompt came */
    steps_take(timed, 1, 7.6);
    assert_true(group->draft_length.prompts_without.rows == 16 && group->draft_length.prompts_with.rows == 0);
    assert_true(near(group->draft_length.prompts_without.ms, 2));
    assert_true(group->draft_length.without.took < took + 4.1); /* of the step in flight alone */
    assert_true(fabs(cost_curve_at(&group->beside, 1) - 3) < 0.05);
    steps_take(timed, 400, 4);
    stage_close(&stage);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_steps_take_beside_the_group_is_learned),
        cmocka_unit_test(what_prompts_take_beside_the_group_is_learned),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
