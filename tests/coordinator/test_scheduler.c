/* test_scheduler.c - speculation, ends of answers, several outputs and chunks, on a stage without models (stage.h) */
#include "tests/coordinator/stage.h"

#include <string.h>

/* The first position >= from whose token stands nowhere before it, so that it can serve as stop id. */
static int fresh_token(const struct stage_question *question, int from)
{
    int32_t ids[64];
    stage_expect(question, ids, 64);
    for (int i = from; i < 64; i++) {
        int j = 0;
        while (j < i && ids[j] != ids[i])
            j++;
        if (j == i && ids[i] != 0)
            return i;
    }
    fail_msg("no fresh token");
    return -1;
}

static void tokens_are_the_same_for_every_draft_length_and_quality(void **state)
{
    (void)state;
    for (int k = 0; k <= DRAFT_TOKENS_MAX; k++) {
        for (int right = 0; right <= k; right += k > 4 ? 3 : 1) {
            struct stage stage;
            stage_open(&stage, NULL);
            struct stage_group *group = stage_attach(&stage, 100, 64);
            stage.right = right;
            struct stage_question question = {.prompt = 21, .seed = k, .max_tokens = 37, .k = k};
            struct stage_client *client = stage_ask(&stage, &question);
            stage_run(&stage);
            stage_check_answer(client, &question, 37);
            assert_string_equal(client->reason, "length");
            /* All but the prompt's token come from steps. */
            assert_int_equal(client->speculation.steps + client->speculation.accepted, 36);
            assert_int_equal(group->n_sequences, 0);
            stage_close(&stage);
        }
    }
}

static void counts_tell_accepted_from_drafted(void **state)
{
    (void)state;
    struct stage stage;
    stage_open(&stage, NULL);
    stage_attach(&stage, 100, 64);
    stage.right = 2;
    struct stage_question question = {.prompt = 9, .max_tokens = 13, .k = 3};
    struct stage_client *client = stage_ask(&stage, &question);
    stage_run(&stage);
    stage_check_answer(client, &question, 13);
    /* 1 token of the prompt, then 4 steps of 2 accepted + 1. */
    assert_int_equal(client->speculation.steps, 4);
    assert_int_equal(client->speculation.accepted, 8);
    assert_int_equal(client->speculation.drafted, 3 + 3 + 3 + 2); /* the last is cut by max_tokens */
    assert_int_equal(client->speculation.accepted_per_position[0], 4);
    assert_int_equal(client->speculation.accepted_per_position[1], 4);
    assert_int_equal(client->speculation.accepted_per_position[2], 0);
    assert_int_equal(client->deltas, 5);
    for (int i = 0; i < 13; i++)
        assert_int_equal(client->accepted[i], i > 0 && i % 3 != 0);
    stage_close(&stage);
}

static void drafts_never_reach_beyond_max_tokens(void **state)
{
    (void)state;
    for (int max_tokens = 1; max_tokens < 9; max_tokens++) {
        struct stage stage;
        stage_open(&stage, NULL);
        stage_attach(&stage, 100, 64);
        stage.right = DRAFT_TOKENS_MAX;
        struct stage_question question = {.prompt = 5, .max_tokens = max_tokens, .k = 16};
        struct stage_client *client = stage_ask(&stage, &question);
        stage_run(&stage);
        stage_check_answer(client, &question, max_tokens);
        assert_true(stage.most_drafts <= (max_tokens > 2 ? max_tokens - 2 : 0));
        stage_close(&stage);
    }
}

static void a_stop_id_inside_accepted_drafts_ends_the_answer_there(void **state)
{
    (void)state;
    for (int from = 0; from < 9; from++) {
        struct stage stage;
        stage_open(&stage, NULL);
        struct stage_group *group = stage_attach(&stage, 100, 64);
        stage.right = 6;
        struct stage_question question = {.prompt = 12, .max_tokens = 60, .k = 6};
        int at = fresh_token(&question, from);
        int32_t ids[64];
        stage_expect(&question, ids, 64);
        question.stop = ids[at];
        struct stage_client *client = stage_ask(&stage, &question);
        stage_run(&stage);
        stage_check_answer(client, &question, at + 1);
        assert_string_equal(client->reason, "stop");
        assert_int_equal(group->n_sequences, 0);
        stage_close(&stage);
    }
}

/* The stage's token i is the character '!' + i. */
static void a_stop_string_over_drafts_and_steps_ends_the_answer_there(void **state)
{
    (void)state;
    for (int from = 0; from < 12; from++) {
        struct stage stage;
        stage_open(&stage, NULL);
        struct stage_group *group = stage_attach(&stage, 100, 64);
        stage.right = 3;
        char string[4] = "";
        struct stage_question question = {.prompt = 12, .max_tokens = 60, .k = 6, .stop_string = string};
        int at = fresh_token(&question, from + 2);
        int32_t ids[64];
        stage_expect(&question, ids, 64);
        for (int i = 0; i < 3; i++)
            string[i] = (char)('!' + ids[at - 2 + i]);
        struct stage_client *client = stage_ask(&stage, &question);
        stage_run(&stage);
        stage_check_answer(client, &question, at + 1);
        assert_string_equal(client->reason, "stop");
        assert_string_equal(client->match, string);
        assert_int_equal(strlen(client->text), at - 2);
        /* Of each step but the last: 3 accepted and 1. The last ends with the token at `at`, accepted or the target's own. */
        int beyond_prompt = at, steps = (beyond_prompt + 3) / 4;
        assert_int_equal(client->speculation.steps, steps);
        assert_int_equal(client->speculation.accepted, beyond_prompt - beyond_prompt / 4);
        assert_int_equal(group->n_sequences, 0);
        stage_close(&stage);
    }
}

static void an_abort_says_cancelled_and_what_was_used(void **state)
{
    (void)state;
    struct stage stage;
    stage_open(&stage, NULL);
    struct stage_group *group = stage_attach(&stage, 100, 64);
    stage_run(&stage);
    struct stage_question question = {.id = "mine", .prompt = 12, .max_tokens = 60};
    struct stage_client *client = stage_ask(&stage, &question);
    stage_prepare(&stage, NULL);
    for (int i = 0; i < 3; i++)
        stage_answer(group);
    assert_int_equal(scheduler_abort(stage.scheduler, "mine"), 1);
    assert_true(client->finished && client->ended);
    assert_string_equal(client->reason, "cancelled");
    assert_int_equal(client->usage.completion_tokens, 3);
    assert_int_equal(client->status, RPC_CANCELLED);
    stage_run(&stage);
    stage_close(&stage);
}

static void a_call_of_several_outputs_answers_each_and_ends_after_the_last(void **state)
{
    (void)state;
    struct stage stage;
    stage_open(&stage, NULL);
    struct stage_group *groups[2] = {stage_attach(&stage, 100, 64), stage_attach(&stage, 100, 64)};
    struct stage_question question = {.prompt = 30, .picture = 6, .max_tokens = 25, .k = 4, .outputs = 5};
    struct stage_question other = {.prompt = 20, .seed = 2, .max_tokens = 30};
    struct stage_client *client = stage_ask(&stage, &question), *beside = stage_ask(&stage, &other);
    stage_run(&stage);
    for (int i = 0; i < 5; i++) {
        stage_check_answer(&client[i], &question, 25);
        assert_int_equal(client[i].prompt_tokens, 30);
    }
    stage_check_answer(beside, &other, 30);
    assert_true(groups[0]->most_spans > 1 && groups[1]->most_spans > 1); /* outputs go to any group */
    stage_close(&stage);
}

static void what_ends_one_output_badly_ends_the_call(void **state)
{
    (void)state;
    for (int how = 0; how < 3; how++) {
        struct stage stage;
        stage_open(&stage, NULL);
        struct stage_group *group = stage_attach(&stage, 100, 64);
        stage_run(&stage);
        struct stage_question question = {.id = "several", .prompt = 30, .max_tokens = 25, .outputs = 3};
        struct stage_client *client = stage_ask(&stage, &question);
        if (how == 0) {
            stage_prepare(&stage, "no such picture");
        } else {
            stage_prepare(&stage, NULL);
            stage_answer(group);
            stage_answer(group);
            if (how == 1)
                stage_cancel(&stage, client);
            else
                assert_int_equal(scheduler_abort(stage.scheduler, "several"), 1);
        }
        assert_true(client->ended);
        assert_int_equal(client->status, how == 0 ? RPC_INVALID_ARGUMENT : RPC_CANCELLED);
        for (int i = 0; i < 3; i++)
            assert_int_equal(client[i].finished, how == 2);
        assert_int_equal(scheduler_abort(stage.scheduler, "several"), 0);
        stage_run(&stage);
        assert_int_equal(group->n_sequences, 0);
        stage_close(&stage);
    }
}

static void outputs_count_in_the_limit_of_waiting_requests(void **state)
{
    (void)state;
    struct stage stage;
    stage_open(&stage, &(struct scheduler_options){.max_waiting = 4});
    struct stage_question three = {.prompt = 5, .max_tokens = 5, .outputs = 3}, one = {.prompt = 5, .max_tokens = 5};
    struct stage_client *first = stage_ask(&stage, &three), *second = stage_ask(&stage, &three), *third = stage_ask(&stage, &one);
    assert_int_equal(second->status, RPC_RESOURCE_EXHAUSTED);
    assert_non_null(strstr(second->message, "--max-waiting 4"));
    stage_attach(&stage, 100, 64);
    stage_run(&stage);
    for (int i = 0; i < 3; i++)
        stage_check_answer(&first[i], &three, 5);
    stage_check_answer(third, &one, 5);
    stage_close(&stage);
}

static void prompts_go_in_chunks_beside_answers(void **state)
{
    (void)state;
    struct stage stage;
    struct stage_client *clients[8];
    struct stage_question questions[8];
    stage_open(&stage, NULL);
    struct stage_group *group = stage_attach(&stage, 400, 24);
    for (int i = 0; i < 8; i++) {
        questions[i] = (struct stage_question){.prompt = 10 + 17 * i, .seed = i, .max_tokens = 20 + i, .k = i};
        clients[i] = stage_ask(&stage, &questions[i]);
    }
    stage_run(&stage);
    for (int i = 0; i < 8; i++)
        stage_check_answer(clients[i], &questions[i], 20 + i);
    assert_true(group->most_spans > 2);
    assert_true(group->prompt_rows_beside_answers > 0);
    stage_close(&stage);
}

/* Each answer gets a row before any gets drafts. */
static void no_answer_starves_when_rows_are_short(void **state)
{
    (void)state;
    struct stage stage;
    struct stage_client *clients[12];
    struct stage_question question = {.prompt = 4, .max_tokens = 30, .k = 16};
    stage_open(&stage, NULL);
    struct stage_group *group = stage_attach(&stage, 400, 40); /* two verifications of 17 rows */
    stage.right = 0;
    for (int i = 0; i < 12; i++)
        clients[i] = stage_ask(&stage, &question);
    stage_prepare(&stage, NULL);
    for (int i = 0; i < 20; i++)
        stage_answer(group);
    for (int i = 0; i < 12; i++)
        assert_in_range(clients[i]->n, 16, 20); /* one in each step, less the prompts' steps */
    stage_run(&stage);
    for (int i = 0; i < 12; i++)
        stage_check_answer(clients[i], &question, 30);
    stage_close(&stage);
}

/* Answers whose rows, or whose drafts, do not all fit a step take turns: all get on at the same pace. */
static void answers_take_turns_when_rows_are_short(void **state)
{
    (void)state;
    for (int drafts = 0; drafts < 2; drafts++) {
        struct stage stage;
        struct stage_client *clients[30];
        struct stage_question question = {.prompt = 4, .max_tokens = 200, .k = drafts ? 16 : 0};
        int n = drafts ? 12 : 30;
        stage_open(&stage, NULL);
        struct stage_group *group = stage_attach(&stage, 800, drafts ? 40 : 20);
        stage_run(&stage);
        stage.right = 16;
        for (int i = 0; i < n; i++)
            clients[i] = stage_ask(&stage, &question);
        stage_prepare(&stage, NULL);
        for (int i = 0; i < 50; i++)
            stage_answer(group);
        for (int i = 0; i < n; i++)
            assert_in_range(clients[i]->n, drafts ? 150 : 24, drafts ? 190 : 34); /* a turn more or less than the others */
        stage_run(&stage);
        stage_close(&stage);
    }
}

/* Steps until a client has its first token. */
static int steps_waited(struct stage_group *group, const struct stage_client *client)
{
    int steps = 0;
    for (; client->n == 0 && steps < 100; steps++)
        stage_answer(group);
    return steps;
}

/* Answers alone, or with their drafts, would take every row of every step. */
static void no_prompt_starves_beside_answers(void **state)
{
    (void)state;
    const struct stage_question many = {.prompt = 4, .max_tokens = 200}, drafted = {.prompt = 4, .max_tokens = 400, .k = 16};
    for (int drafts = 0; drafts < 2; drafts++) {
        struct stage stage;
        struct stage_client *clients[30];
        struct stage_question late = {.prompt = 60, .seed = 7, .max_tokens = 5};
        int n = drafts ? 2 : 30;
        stage_open(&stage, NULL);
        struct stage_group *group = stage_attach(&stage, 800, drafts ? 34 : 20);
        stage_run(&stage);
        stage.right = 0;
        for (int i = 0; i < n; i++)
            clients[i] = stage_ask(&stage, drafts ? &drafted : &many);
        stage_prepare(&stage, NULL);
        for (int i = 0; i < 40; i++)
            stage_answer(group);
        struct stage_client *client = stage_ask(&stage, &late);
        stage_prepare(&stage, NULL);
        assert_in_range(steps_waited(group, client), 2, drafts ? 11 : 15); /* a quarter of a step's rows in each, and two more */
        stage_run(&stage);
        stage_check_answer(client, &late, 5);
        for (int i = 0; i < n; i++)
            stage_check_answer(clients[i], drafts ? &drafted : &many, drafts ? 400 : 200);
        stage_close(&stage);
    }
}

/* What needs least goes first, but not for ever: four shorter ones come in every step, and there are five rows. */
static void no_long_prompt_starves_beside_short_ones(void **state)
{
    (void)state;
    struct stage stage;
    const struct stage_question answer = {.prompt = 4, .max_tokens = 200}, brief = {.prompt = 2, .max_tokens = 1};
    struct stage_question late = {.prompt = 4, .seed = 7, .max_tokens = 5};
    stage_open(&stage, &(struct scheduler_options){.max_requests = 100, .max_waiting = 100});
    struct stage_group *group = stage_attach(&stage, 800, 20);
    stage_run(&stage);
    for (int i = 0; i < 16; i++)
        stage_ask(&stage, &answer);
    stage_prepare(&stage, NULL);
    for (int i = 0; i < 20; i++)
        stage_answer(group);
    struct stage_client *client = stage_ask(&stage, &late);
    int steps = 0;
    for (; client->n == 0 && stage.n_clients + 4 <= STAGE_CLIENTS; steps++) {
        for (int i = 0; i < 4; i++)
            stage_ask(&stage, &brief);
        stage_prepare(&stage, NULL);
        stage_answer(group);
    }
    steps += steps_waited(group, client);
    assert_in_range(steps, 4, 9); /* a row in every second step at least */
    stage_run(&stage);
    stage_check_answer(client, &late, 5);
    stage_close(&stage);
}

static void a_drafter_fault_turns_off_drafts_alone(void **state)
{
    (void)state;
    struct stage stage;
    struct stage_question question = {.prompt = 8, .max_tokens = 20, .k = 5};
    stage_open(&stage, NULL);
    stage_attach(&stage, 100, 64);
    stage.draft_refuses = true;
    struct stage_client *a = stage_ask(&stage, &question);
    stage_run(&stage);
    stage_check_answer(a, &question, 20);
    assert_string_equal(a->inactive, "the drafter's cache is full");
    assert_int_equal(a->speculation.drafted, 0);
    stage.draft_refuses = false;
    struct stage_client *b = stage_ask(&stage, &question);
    stage_prepare(&stage, NULL);
    stage_answer(&stage.groups[0]);
    stage_answer(&stage.groups[0]);
    stage.draft_fails = true;
    stage_run(&stage);
    stage_check_answer(b, &question, 20);
    assert_non_null(strstr(b->inactive, "the drafter failed"));
    assert_true(b->speculation.drafted > 0);
    stage_close(&stage);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(tokens_are_the_same_for_every_draft_length_and_quality),
        cmocka_unit_test(counts_tell_accepted_from_drafted),
        cmocka_unit_test(drafts_never_reach_beyond_max_tokens),
        cmocka_unit_test(a_stop_id_inside_accepted_drafts_ends_the_answer_there),
        cmocka_unit_test(a_stop_string_over_drafts_and_steps_ends_the_answer_there),
        cmocka_unit_test(an_abort_says_cancelled_and_what_was_used),
        cmocka_unit_test(a_call_of_several_outputs_answers_each_and_ends_after_the_last),
        cmocka_unit_test(what_ends_one_output_badly_ends_the_call),
        cmocka_unit_test(outputs_count_in_the_limit_of_waiting_requests),
        cmocka_unit_test(prompts_go_in_chunks_beside_answers),
        cmocka_unit_test(no_answer_starves_when_rows_are_short),
        cmocka_unit_test(answers_take_turns_when_rows_are_short),
        cmocka_unit_test(no_prompt_starves_beside_answers),
        cmocka_unit_test(no_long_prompt_starves_beside_short_ones),
        cmocka_unit_test(a_drafter_fault_turns_off_drafts_alone),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
