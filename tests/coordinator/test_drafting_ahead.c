/* test_drafting_ahead.c - the drafter reads prompts while the group works on them */
#include "tests/coordinator/stage.h"

#include "coordinator/scheduler_state.h"

enum { PROMPT = 400 };

/* A group that tells its times: 1 ms a step and 0.5 ms a row of a prompt; one answer has gone through it. */
static struct stage_group *stage_learned(struct stage *stage)
{
    struct scheduler_options options = {.stall_ms = 50};
    const struct stage_question first = {.prompt = 20, .max_tokens = 20, .k = 2};
    stage_open(stage, &options);
    struct stage_group *group = stage_attach(stage, 100, 128);
    group->row_ms = 0.5;
    stage->right = 2;
    stage_run(stage);
    stage_ask(stage, &first);
    stage_prepare(stage, NULL);
    stage_run(stage);
    stage->read_ahead = stage->read_late = 0;
    return group;
}

static struct stage_client *stage_answered(struct stage *stage, const struct stage_question *question)
{
    struct stage_client *client = stage_ask(stage, question);
    stage_prepare(stage, NULL);
    stage_run(stage);
    stage_check_answer(client, question, question->max_tokens);
    return client;
}

static void a_prompt_is_read_before_its_answer_begins(void **state)
{
    (void)state;
    struct stage stage;
    const struct stage_question question = {.prompt = PROMPT, .seed = 3, .max_tokens = 12, .k = 3};
    stage_learned(&stage);
    struct stage_client *client = stage_answered(&stage, &question);
    assert_int_equal(stage.read_ahead, PROMPT);
    assert_int_equal(stage.read_late, 0);
    assert_true(client->speculation.accepted > 0);
    stage_close(&stage);
}

/* Other groups' verdicts do not make more of it. */
static void what_a_step_leaves_time_for_is_read_once(void **state)
{
    (void)state;
    struct stage stage;
    const struct stage_question question = {.prompt = PROMPT, .seed = 3, .max_tokens = 12, .k = 3};
    stage_learned(&stage);
    struct pace *pace = &stage.scheduler->drafting.pace;
    pace->prompt_row_ms = 1;
    stage_ask(&stage, &question);
    stage_prepare(&stage, NULL);
    int rows = stage.read_ahead; /* half of what 128 rows take the group, and that is half a ms each and a bit */
    assert_in_range(rows, 32, 49);
    pace->prompt_row_ms = 1;
    stage_turn(&stage, 0.001);
    assert_int_equal(stage.read_ahead, rows);
    stage_run(&stage);
    stage_close(&stage);
}

static void nothing_is_read_for_those_who_get_no_drafts(void **state)
{
    (void)state;
    struct stage stage;
    const struct stage_question none = {.prompt = PROMPT, .seed = 3, .max_tokens = 12, .k = 0},
                                one = {.prompt = PROMPT, .seed = 4, .max_tokens = 1, .k = 3};
    stage_learned(&stage);
    stage_answered(&stage, &none);
    stage_answered(&stage, &one);
    assert_int_equal(stage.read_ahead + stage.read_late, 0);
    stage_close(&stage);
}

/* A step whose time is not known may be over at once. */
static void nothing_is_read_beside_steps_of_unknown_length(void **state)
{
    (void)state;
    struct stage stage;
    const struct stage_question question = {.prompt = PROMPT, .seed = 3, .max_tokens = 12, .k = 3};
    stage_open(&stage, NULL);
    stage_attach(&stage, 100, 128);
    stage_run(&stage);
    stage_answered(&stage, &question);
    assert_int_equal(stage.read_ahead, 0);
    assert_int_equal(stage.read_late, PROMPT);
    stage_close(&stage);
}

static void a_fault_while_reading_takes_the_drafts_and_not_the_answer(void **state)
{
    (void)state;
    struct stage stage;
    const struct stage_question question = {.prompt = PROMPT, .seed = 3, .max_tokens = 12, .k = 3};
    stage_learned(&stage);
    stage.draft_fails = true;
    struct stage_client *client = stage_answered(&stage, &question);
    assert_true(stage.read_ahead > 0);
    assert_int_equal(stage.draft_sequences, 0);
    assert_string_equal(client->inactive, "the drafter failed after 0 tokens");
    stage_close(&stage);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_prompt_is_read_before_its_answer_begins),
        cmocka_unit_test(what_a_step_leaves_time_for_is_read_once),
        cmocka_unit_test(nothing_is_read_for_those_who_get_no_drafts),
        cmocka_unit_test(nothing_is_read_beside_steps_of_unknown_length),
        cmocka_unit_test(a_fault_while_reading_takes_the_drafts_and_not_the_answer),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
