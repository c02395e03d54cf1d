/* test_whole_pictures.c - pictures whose rows must be in one step: never cut (the stage's groups check that), and never passed over
 * for good */
#include "tests/coordinator/stage.h"

enum { TOKENS = 40, MAX_ROWS = 48 };

/* Steps until the client has a token; fails when there are more than `most`. */
static void expect_token(struct stage *stage, struct stage_group *group, const struct stage_client *client, int most)
{
    for (int i = 0; i < most && !client->n; i++) {
        stage_turn(stage, 0.001);
        stage_answer(group);
    }
    if (!client->n)
        fail_msg("no token after %d steps", most);
}

static void a_picture_is_one_step_wherever_it_stands(void **state)
{
    (void)state;
    for (int prompt = TOKENS + 2; prompt < 3 * TOKENS; prompt += 7) {
        struct stage stage;
        struct stage_question question = {.prompt = prompt, .max_tokens = 5, .picture = TOKENS, .seed = prompt};
        stage_open(&stage, NULL);
        stage.whole = TOKENS;
        stage_attach(&stage, 32, MAX_ROWS);
        stage_run(&stage);
        struct stage_client *client = stage_ask(&stage, &question);
        stage_prepare(&stage, NULL);
        stage_run(&stage);
        stage_check_answer(client, &question, 5);
        stage_close(&stage);
    }
}

/* Answers with drafts fill the steps: without rows kept for it the picture would never come. */
static void answers_make_way_for_a_picture(void **state)
{
    (void)state;
    struct stage stage;
    struct stage_question talk = {.prompt = 4, .max_tokens = 150, .k = 8};
    struct stage_question look = {.prompt = 60, .max_tokens = 5, .picture = TOKENS, .seed = 7};
    struct stage_client *clients[5];
    stage_open(&stage, NULL);
    stage.whole = TOKENS;
    struct stage_group *group = stage_attach(&stage, 128, MAX_ROWS);
    stage_run(&stage);
    for (int i = 0; i < 5; i++)
        clients[i] = stage_ask(&stage, &talk);
    stage_prepare(&stage, NULL);
    for (int i = 0; i < 5; i++)
        expect_token(&stage, group, clients[i], 5);
    struct stage_client *pictures[2] = {stage_ask(&stage, &look), stage_ask(&stage, &look)};
    stage_prepare(&stage, NULL);
    for (int i = 0; i < 2; i++)
        expect_token(&stage, group, pictures[i], 20);
    for (int i = 0; i < 5; i++)
        assert_false(clients[i]->finished);
    stage_run(&stage);
    for (int i = 0; i < 5; i++)
        stage_check_answer(clients[i], &talk, 150);
    for (int i = 0; i < 2; i++)
        stage_check_answer(pictures[i], &look, 5);
    stage_close(&stage);
}

/* The pace allows a few rows beside answers; a picture comes nevertheless, one in a step. */
static void a_picture_comes_whatever_the_pace_allows(void **state)
{
    (void)state;
    struct stage stage;
    struct scheduler_options slow = {.stall_ms = 0.5};
    struct stage_question talk = {.prompt = 4, .max_tokens = 200};
    struct stage_question look = {.prompt = 60, .max_tokens = 5, .picture = TOKENS, .seed = 9};
    stage_open(&stage, &slow);
    stage.whole = TOKENS;
    struct stage_group *group = stage_attach(&stage, 128, 4 * MAX_ROWS);
    group->row_ms = 1;
    stage_run(&stage);
    struct stage_client *client = stage_ask(&stage, &talk);
    stage_prepare(&stage, NULL);
    expect_token(&stage, group, client, 5);
    struct stage_client *pictures[3];
    for (int i = 0; i < 3; i++)
        pictures[i] = stage_ask(&stage, &look);
    stage_prepare(&stage, NULL);
    for (int i = 0; i < 3; i++)
        expect_token(&stage, group, pictures[i], 60);
    assert_false(client->finished);
    assert_in_range(group->most_prompt_rows_beside_answers, TOKENS, 2 * TOKENS - 1);
    stage_run(&stage);
    stage_check_answer(client, &talk, 200);
    stage_close(&stage);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_picture_is_one_step_wherever_it_stands),
        cmocka_unit_test(answers_make_way_for_a_picture),
        cmocka_unit_test(a_picture_comes_whatever_the_pace_allows),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
