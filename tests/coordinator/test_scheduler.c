/* test_scheduler.c - speculation, placement, loss and limits, on a stage without models (stage.h) */
#include "tests/coordinator/stage.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void assert_answer(const struct stage_client *client, const struct stage_question *question, int n)
{
    int32_t expected[STAGE_TOKENS];
    stage_expect(question, expected, n);
    assert_int_equal(client->n, n);
    assert_memory_equal(client->ids, expected, (size_t)n * sizeof *expected);
    assert_true(client->finished && client->ended);
    assert_int_equal(client->status, RPC_OK);
    assert_int_equal(client->usage.completion_tokens, n);
}

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
            assert_answer(client, &question, 37);
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
    assert_answer(client, &question, 13);
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
        assert_answer(client, &question, max_tokens);
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
        assert_answer(client, &question, at + 1);
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
        assert_answer(client, &question, at + 1);
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
        assert_answer(&client[i], &question, 25);
        assert_int_equal(client[i].prompt_tokens, 30);
    }
    assert_answer(beside, &other, 30);
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
        assert_answer(&first[i], &three, 5);
    assert_answer(third, &one, 5);
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
        assert_answer(clients[i], &questions[i], 20 + i);
    assert_true(group->most_spans > 2);
    assert_true(group->prompt_rows_beside_answers > 0);
    stage_close(&stage);
}

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
    for (int i = 0; i < 100; i++)
        stage_answer(group);
    for (int i = 0; i < 12; i++)
        assert_true(clients[i]->n >= 10); /* 2 a step over 12: 16 each, less the prompts' steps */
    stage_run(&stage);
    for (int i = 0; i < 12; i++)
        assert_answer(clients[i], &question, 30);
    stage_close(&stage);
}

/* Loses the group after `steps` of its steps, with one in flight, and replays on another. */
static void check_replay(int steps)
{
    struct stage stage;
    struct stage_question question = {.prompt = 30, .seed = 3, .max_tokens = 25, .k = 4};
    stage_open(&stage, NULL);
    struct stage_group *first = stage_attach(&stage, 100, 20);
    stage_run(&stage); /* the warm-up */
    struct stage_client *client = stage_ask(&stage, &question);
    stage_prepare(&stage, NULL);
    for (int i = 0; i < steps; i++)
        stage_answer(first);
    assert_true(first->step.id != 0);
    int before = client->n;
    stage_lose(first);
    assert_true(first->dropped && !client->ended);
    struct stage_group *second = stage_attach(&stage, 100, 20);
    while (client->n == before) /* the replay itself tells the client nothing */
        stage_answer(second);
    const struct stage_sequence *sequence = &second->sequences[0];
    for (int i = 0; i < sequence->n; i++)
        assert_int_equal(sequence->generated[i], i >= question.prompt);
    stage_run(&stage);
    assert_answer(client, &question, 25);
    stage_close(&stage);
}

static void a_lost_group_is_replayed_row_class_by_row_class(void **state)
{
    (void)state;
    for (int steps = 0; steps < 9; steps++)
        check_replay(steps);
}

static bool step_has_rows(const struct stage_group *group, int rows)
{
    for (int i = 0; i < group->step.n_spans; i++)
        if (group->step.spans[i].n == rows)
            return true;
    return false;
}

/* Groups die of the second request's prompt, which is known by its length. It takes the others along twice at most. */
static void a_request_that_kills_its_groups_ends_and_no_other_does(void **state)
{
    (void)state;
    enum { POISON = 13 };
    struct stage stage;
    struct stage_question good[] = {{.prompt = 10, .max_tokens = 25}, {.prompt = 11, .max_tokens = 25, .k = 2}};
    struct stage_question bad = {.prompt = POISON, .max_tokens = 25};
    struct stage_client *clients[2], *poison = NULL;
    int losses = 0;
    stage_open(&stage, NULL);
    struct stage_group *group = stage_attach(&stage, 100, 64);
    stage_run(&stage);
    clients[0] = stage_ask(&stage, &good[0]);
    poison = stage_ask(&stage, &bad);
    clients[1] = stage_ask(&stage, &good[1]);
    stage_prepare(&stage, NULL);
    while (group->step.id) {
        if (!step_has_rows(group, POISON)) {
            stage_answer(group);
            continue;
        }
        assert_true(group->step.n_spans == 1 || ++losses <= 2);
        stage_lose(group);
        group = stage_attach(&stage, 100, 64);
    }
    assert_int_equal(losses, 2);
    assert_int_equal(poison->status, RPC_UNAVAILABLE);
    assert_non_null(strstr(poison->message, "six worker groups"));
    assert_answer(clients[0], &good[0], 25);
    assert_answer(clients[1], &good[1], 25);
    stage_close(&stage);
}

static void a_request_that_makes_tokens_outlives_any_number_of_groups(void **state)
{
    (void)state;
    struct stage stage;
    struct stage_question question = {.prompt = 10, .max_tokens = 30, .k = 2};
    struct stage_client *client = NULL;
    stage_open(&stage, NULL);
    for (int i = 0; i < STAGE_GROUPS; i++) { /* the last one stays */
        struct stage_group *group = stage_attach(&stage, 100, 64);
        if (!client) {
            stage_run(&stage);
            client = stage_ask(&stage, &question);
            stage_prepare(&stage, NULL);
        }
        for (int had = client->n; client->n == had;)
            stage_answer(group);
        if (i + 1 < STAGE_GROUPS)
            stage_lose(group);
    }
    stage_run(&stage);
    assert_answer(client, &question, 30);
    stage_close(&stage);
}

static void two_groups_share_the_requests(void **state)
{
    (void)state;
    struct stage stage;
    struct stage_client *clients[6];
    struct stage_question question = {.prompt = 10, .max_tokens = 30, .k = 3};
    stage_open(&stage, NULL);
    struct stage_group *a = stage_attach(&stage, 100, 64), *b = stage_attach(&stage, 100, 64);
    stage_run(&stage);
    for (int i = 0; i < 6; i++)
        clients[i] = stage_ask(&stage, &question);
    stage_prepare(&stage, NULL);
    stage_answer(a);
    stage_answer(b);
    stage_answer(a);
    assert_true(a->n_sequences == 3 && b->n_sequences == 3);
    stage_lose(a);
    stage_run(&stage);
    for (int i = 0; i < 6; i++)
        assert_answer(clients[i], &question, 30);
    stage_close(&stage);
}

static void a_cancel_mid_step_releases_with_the_next_step(void **state)
{
    (void)state;
    struct stage stage;
    struct stage_question question = {.prompt = 10, .max_tokens = 100, .k = 2}, other = {.prompt = 12, .seed = 9, .max_tokens = 40};
    stage_open(&stage, NULL);
    struct stage_group *group = stage_attach(&stage, 100, 64);
    stage_run(&stage);
    struct stage_client *gone = stage_ask(&stage, &question), *stays = stage_ask(&stage, &other);
    stage_prepare(&stage, NULL);
    stage_answer(group);
    stage_answer(group);
    stage_cancel(&stage, gone);
    assert_true(gone->ended && gone->status == RPC_CANCELLED);
    int had = gone->n;
    stage_answer(group); /* the step in flight still computes it */
    assert_int_equal(group->step.n_release, 1);
    stage_answer(group);
    assert_int_equal(group->n_sequences, 1);
    assert_int_equal(gone->n, had);
    stage_run(&stage);
    assert_answer(stays, &other, 40);
    stage_close(&stage);
}

static void the_last_release_goes_out_in_a_step_of_its_own(void **state)
{
    (void)state;
    struct stage stage;
    struct stage_question question = {.prompt = 10, .max_tokens = 5};
    stage_open(&stage, NULL);
    struct stage_group *group = stage_attach(&stage, 100, 64);
    stage_run(&stage);
    stage_ask(&stage, &question);
    stage_prepare(&stage, NULL);
    for (int i = 0; i < 5; i++)
        stage_answer(group);
    assert_true(group->step.id && group->step.n_spans == 0 && group->step.n_release == 1);
    stage_answer(group);
    assert_true(group->n_sequences == 0 && !group->step.id);
    stage_close(&stage);
}

static void deadlines_end_requests_wherever_they_are(void **state)
{
    (void)state;
    struct stage stage;
    struct stage_question question = {.prompt = 10, .max_tokens = 100, .seconds = 2};
    stage_open(&stage, NULL);
    struct stage_group *group = stage_attach(&stage, 7, 64); /* room for one */
    stage_run(&stage);
    struct stage_client *running = stage_ask(&stage, &question), *queued = stage_ask(&stage, &question);
    stage_prepare(&stage, NULL);
    struct stage_client *preparing = stage_ask(&stage, &question);
    stage_answer(group);
    stage_turn(&stage, 1);
    assert_false(running->ended || queued->ended || preparing->ended);
    stage_beat(group);
    stage_turn(&stage, 1.5);
    assert_int_equal(running->status, RPC_DEADLINE_EXCEEDED);
    assert_int_equal(queued->status, RPC_DEADLINE_EXCEEDED);
    assert_int_equal(preparing->status, RPC_DEADLINE_EXCEEDED);
    stage_prepare(&stage, NULL); /* its job comes back to nobody */
    stage_close(&stage);
}

static void requests_wait_for_room_in_order_of_arrival(void **state)
{
    (void)state;
    struct stage stage;
    struct stage_question large = {.prompt = 60, .max_tokens = 20}, small = {.prompt = 8, .max_tokens = 8};
    stage_open(&stage, NULL);
    struct stage_group *group = stage_attach(&stage, 6, 64); /* 96 positions */
    stage_run(&stage);
    struct stage_client *first = stage_ask(&stage, &large), *second = stage_ask(&stage, &large), *third = stage_ask(&stage, &small);
    stage_prepare(&stage, NULL);
    stage_answer(group);
    assert_true(first->n == 1 && second->n == 0);
    stage_answer(group);
    assert_int_equal(third->n, 0); /* it would fit, but must not overtake the second */
    stage_run(&stage);
    assert_answer(first, &large, 20);
    assert_answer(second, &large, 20);
    assert_answer(third, &small, 8);
    stage_close(&stage);
}

/* Every sequence that the group holds: prompt rows as prompt rows, the rest as generated rows. */
static void assert_classes(const struct stage_group *group, int prompt)
{
    for (int i = 0; i < group->n_sequences; i++)
        for (int j = 0; j < group->sequences[i].n; j++)
            assert_int_equal(group->sequences[i].generated[j], j >= prompt);
}

static void when_pages_run_out_the_youngest_waits_and_no_text_changes(void **state)
{
    (void)state;
    for (int k = 0; k <= 4; k += 2) {
        struct stage stage;
        struct stage_client *clients[8];
        struct stage_question questions[8];
        stage_open(&stage, NULL);
        struct stage_group *group = stage_attach(&stage, 9, 40); /* 144 positions for 8 times 90 */
        stage_run(&stage);
        for (int i = 0; i < 8; i++) {
            questions[i] = (struct stage_question){.prompt = 30, .seed = i, .max_tokens = 60, .k = k};
            clients[i] = stage_ask(&stage, &questions[i]);
        }
        stage_prepare(&stage, NULL);
        for (int had = 0; !clients[7]->ended;) {
            stage_answer(group);
            assert_classes(group, 30);
            assert_true(clients[0]->n > had || clients[0]->ended || clients[0]->n == 0); /* the oldest is never taken off */
            had = clients[0]->n;
        }
        stage_run(&stage);
        for (int i = 0; i < 8; i++)
            assert_answer(clients[i], &questions[i], 60);
        struct server_info info = {0};
        scheduler_server_info(stage.scheduler, &info);
        assert_true(info.preemptions > 0);
        stage_close(&stage);
    }
}

static void assert_load(const struct stage *stage, struct load_info expected)
{
    struct load_info load;
    scheduler_load(stage->scheduler, &load);
    expected.max_running = 2;
    expected.max_waiting = 32;
    assert_memory_equal(&load, &expected, sizeof load);
}

static void load_counts_requests_and_their_whole_pages(void **state)
{
    (void)state;
    struct stage stage;
    struct stage_question question = {.prompt = 20, .max_tokens = 8};
    stage_open(&stage, &(struct scheduler_options){.max_requests = 2});
    assert_load(&stage, (struct load_info){0});
    struct stage_group *group = stage_attach(&stage, 12, 100);
    assert_load(&stage, (struct load_info){.kv_positions = 12 * 16}); /* the warm-up still waits */
    stage_run(&stage);
    for (int i = 0; i < 3; i++)
        stage_ask(&stage, &question);
    assert_load(&stage, (struct load_info){.waiting = 3, .kv_positions = 12 * 16});
    stage_prepare(&stage, NULL);
    assert_load(&stage, (struct load_info){.running = 2, .waiting = 1, .kv_positions = 12 * 16, .kv_positions_reserved = 4 * 16});
    stage_lose(group);
    assert_load(&stage, (struct load_info){.waiting = 3});
    stage_attach(&stage, 12, 100);
    stage_run(&stage);
    assert_load(&stage, (struct load_info){.kv_positions = 12 * 16});
    stage_close(&stage);
}

static void a_request_is_admitted_by_what_it_needs_now(void **state)
{
    (void)state;
    struct stage stage;
    struct stage_question question = {.prompt = 20, .max_tokens = 100};
    struct stage_client *clients[4];
    stage_open(&stage, NULL);
    struct stage_group *group = stage_attach(&stage, 12, 100); /* two pages each, and one to grow for those before */
    stage_run(&stage);
    for (int i = 0; i < 4; i++)
        clients[i] = stage_ask(&stage, &question);
    stage_prepare(&stage, NULL);
    stage_answer(group);
    for (int i = 0; i < 4; i++)
        assert_int_equal(clients[i]->n, 1);
    stage_run(&stage);
    for (int i = 0; i < 4; i++)
        assert_answer(clients[i], &question, 100);
    stage_close(&stage);
}

static void a_request_goes_where_all_of_it_could_fit(void **state)
{
    (void)state;
    struct stage stage;
    struct stage_question question = {.prompt = 20, .max_tokens = 100};
    stage_open(&stage, NULL);
    struct stage_group *large = stage_attach(&stage, 8, 64);
    stage_run(&stage);
    struct stage_client *first = stage_ask(&stage, &question);
    stage_prepare(&stage, NULL);
    stage_answer(large);
    struct stage_group *small = stage_attach(&stage, 7, 64);
    struct stage_client *second = stage_ask(&stage, &question);
    stage_run(&stage);
    assert_answer(first, &question, 100);
    assert_answer(second, &question, 100);
    assert_int_equal(small->steps, 0);
    stage_close(&stage);
}

static void what_can_never_fit_is_refused_with_the_limit(void **state)
{
    (void)state;
    struct stage stage;
    struct scheduler_options options = {.max_positions = 200};
    stage_open(&stage, &options);
    stage_attach(&stage, 6, 64);
    struct stage_question questions[] = {
        {.prompt = 200, .max_tokens = 0}, {.prompt = 100, .max_tokens = 101}, {.prompt = 90, .max_tokens = 20}};
    const char *const texts[] = {"context of 200", "stopping.max_tokens", "96 (--kv-positions)"};
    const enum rpc_status codes[] = {RPC_INVALID_ARGUMENT, RPC_INVALID_ARGUMENT, RPC_RESOURCE_EXHAUSTED};
    for (int i = 0; i < 3; i++) {
        struct stage_client *client = stage_ask(&stage, &questions[i]);
        stage_run(&stage);
        assert_int_equal(client->status, codes[i]);
        assert_non_null(strstr(client->message, texts[i]));
    }
    stage_close(&stage);
}

static void an_open_answer_gets_the_default_within_the_context(void **state)
{
    (void)state;
    struct stage stage;
    struct scheduler_options options = {.max_positions = 300};
    stage_open(&stage, &options);
    stage_attach(&stage, 100, 64);
    struct stage_question short_one = {.prompt = 10}, long_one = {.prompt = 290};
    struct stage_client *a = stage_ask(&stage, &short_one), *b = stage_ask(&stage, &long_one);
    stage_run(&stage);
    assert_answer(a, &short_one, MAX_TOKENS_DEFAULT);
    assert_answer(b, &long_one, 10);
    stage_close(&stage);
}

static void too_many_waiting_requests_are_refused(void **state)
{
    (void)state;
    struct stage stage;
    struct scheduler_options options = {.max_waiting = 2, .max_requests = 1};
    struct stage_question question = {.prompt = 8, .max_tokens = 8};
    struct stage_client *clients[4];
    stage_open(&stage, &options);
    stage_attach(&stage, 100, 64);
    stage_run(&stage);
    clients[0] = stage_ask(&stage, &question);
    stage_prepare(&stage, NULL);
    for (int i = 1; i < 4; i++)
        clients[i] = stage_ask(&stage, &question);
    assert_int_equal(clients[3]->status, RPC_RESOURCE_EXHAUSTED);
    assert_non_null(strstr(clients[3]->message, "--max-waiting 2"));
    stage_run(&stage);
    for (int i = 0; i < 3; i++)
        assert_answer(clients[i], &question, 8);
    stage_close(&stage);
}

static void a_request_id_names_one_running_request(void **state)
{
    (void)state;
    struct stage stage;
    struct stage_question question = {.id = "mine", .prompt = 8, .max_tokens = 8};
    stage_open(&stage, NULL);
    struct stage_group *group = stage_attach(&stage, 100, 64);
    stage_run(&stage);
    struct stage_client *first = stage_ask(&stage, &question), *second = stage_ask(&stage, &question);
    assert_int_equal(second->status, RPC_ALREADY_EXISTS);
    stage_run(&stage);
    assert_answer(first, &question, 8);
    assert_int_equal(scheduler_abort(stage.scheduler, "mine"), 0);
    assert_int_equal(scheduler_abort(stage.scheduler, "yours"), -1);
    struct stage_client *third = stage_ask(&stage, &question);
    stage_prepare(&stage, NULL);
    stage_answer(group);
    assert_int_equal(scheduler_abort(stage.scheduler, "mine"), 1);
    assert_int_equal(third->status, RPC_CANCELLED);
    stage_run(&stage);
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
    assert_answer(a, &question, 20);
    assert_string_equal(a->inactive, "the drafter's cache is full");
    assert_int_equal(a->speculation.drafted, 0);
    stage.draft_refuses = false;
    struct stage_client *b = stage_ask(&stage, &question);
    stage_prepare(&stage, NULL);
    stage_answer(&stage.groups[0]);
    stage_answer(&stage.groups[0]);
    stage.draft_fails = true;
    stage_run(&stage);
    assert_answer(b, &question, 20);
    assert_non_null(strstr(b->inactive, "the drafter failed"));
    assert_true(b->speculation.drafted > 0);
    stage_close(&stage);
}

static void pictures_go_once_in_pieces_and_are_forgotten(void **state)
{
    (void)state;
    struct stage stage;
    struct scheduler_options options = {.message_limit = 160}; /* pieces of 5 rows */
    struct stage_question question = {.prompt = 40, .seed = 5, .max_tokens = 6, .picture = 12};
    stage_open(&stage, &options);
    struct stage_group *group = stage_attach(&stage, 100, 20); /* the picture is cut by a chunk */
    struct stage_client *a = stage_ask(&stage, &question), *b = stage_ask(&stage, &question);
    stage_run(&stage);
    assert_answer(a, &question, 6);
    assert_answer(b, &question, 6);
    assert_int_equal(group->pieces, 3);
    assert_true(group->forgets == 1 && group->n_pictures == 0);
    struct stage_client *c = stage_ask(&stage, &question);
    stage_prepare(&stage, NULL);
    stage_answer(group);
    stage_answer(group);
    stage_lose(group);
    struct stage_group *second = stage_attach(&stage, 100, 20);
    stage_run(&stage);
    assert_answer(c, &question, 6);
    assert_int_equal(second->pieces, 3);
    stage_close(&stage);
}

static void a_group_of_another_kind_is_refused_with_both_names(void **state)
{
    (void)state;
    struct stage stage;
    stage_open(&stage, NULL);
    const char *const texts[] = {"worker protocol 99, coordinator protocol 2", "worker version 9.9", "model other"};
    for (int i = 0; i < 3; i++) {
        struct stage_group *group = stage_dial(&stage, 100, 64);
        struct step_hello hello = stage_hello_of(group);
        if (i == 0)
            hello.protocol = 99;
        if (i == 1)
            snprintf(hello.version, sizeof hello.version, "9.9");
        if (i == 2) {
            snprintf(hello.model, sizeof hello.model, "other");
            hello.model_hash[1]++;
        }
        stage_hello(group, &hello);
        assert_true(group->finished && group->dropped && !group->welcomed);
        assert_int_equal(group->status, RPC_FAILED_PRECONDITION);
        assert_non_null(strstr(group->message, texts[i]));
    }
    stage_close(&stage);
}

static void silent_slow_and_lying_groups_are_lost(void **state)
{
    (void)state;
    struct stage stage;
    struct stage_question question = {.prompt = 10, .max_tokens = 30, .k = 2};
    stage_open(&stage, NULL);
    struct stage_group *mute = stage_dial(&stage, 100, 64);
    stage_turn(&stage, 11);
    assert_true(mute->finished);

    struct stage_group *slow = stage_attach(&stage, 100, 64);
    stage_run(&stage);
    struct stage_client *client = stage_ask(&stage, &question);
    stage_prepare(&stage, NULL);
    for (int i = 0; i < 12 && !slow->finished; i++) {
        stage_beat(slow);
        stage_turn(&stage, 1);
    }
    assert_true(slow->finished && strstr(slow->message, "--step-seconds"));

    struct stage_group *liar = stage_attach(&stage, 100, 64);
    struct step_answer answer = {.accepted = 1, .next = 3}; /* nothing was drafted */
    stage_verdict(liar, &(struct step_verdict){.step = liar->step.id ? liar->step.id : 1, .answers = &answer, .n_answers = 1});
    assert_true(liar->finished);

    for (int losses = 2; losses < LOSSES_MAX; losses++) {
        assert_false(client->ended);
        struct stage_group *silent = stage_attach(&stage, 100, 64);
        stage_turn(&stage, 3.5);
        assert_true(silent->finished && strstr(silent->message, "heartbeat"));
    }
    assert_true(client->ended);
    stage_close(&stage);
}

static void a_refused_step_ends_its_requests_and_no_other(void **state)
{
    (void)state;
    struct stage stage;
    struct stage_question question = {.prompt = 10, .max_tokens = 30, .k = 2};
    stage_open(&stage, NULL);
    struct stage_group *group = stage_attach(&stage, 100, 64);
    stage_run(&stage);
    struct stage_client *a = stage_ask(&stage, &question);
    stage_prepare(&stage, NULL);
    struct step_verdict verdict = {.step = group->step.id, .error = "no room"};
    stage_verdict(group, &verdict);
    assert_int_equal(a->status, RPC_INTERNAL);
    assert_non_null(strstr(a->message, "no room"));
    struct stage_client *b = stage_ask(&stage, &question);
    stage_run(&stage);
    assert_answer(b, &question, 30);
    stage_close(&stage);
}

static void a_refused_step_lets_go_with_the_next_one(void **state)
{
    (void)state;
    struct stage stage;
    struct stage_question question = {.prompt = 10, .max_tokens = 30, .k = 2};
    stage_open(&stage, NULL);
    struct stage_group *group = stage_attach(&stage, 100, 64);
    stage_run(&stage);
    struct stage_client *gone = stage_ask(&stage, &question), *refused = stage_ask(&stage, &question);
    stage_prepare(&stage, NULL);
    stage_answer(group);
    stage_cancel(&stage, gone);
    stage_answer(group);
    assert_int_equal(group->step.n_release, 1);
    struct step_verdict verdict = {.step = group->step.id, .error = "no room"};
    stage_verdict(group, &verdict);
    assert_true(refused->ended);
    assert_int_equal(group->step.n_release, 2);
    stage_run(&stage);
    assert_int_equal(group->n_sequences, 0);
    stage_close(&stage);
}

static void scores_that_are_not_numbers_end_the_request(void **state)
{
    (void)state;
    struct stage stage;
    struct stage_question question = {.prompt = 10, .max_tokens = 30};
    stage_open(&stage, NULL);
    struct stage_group *group = stage_attach(&stage, 100, 64);
    stage_run(&stage);
    struct stage_client *client = stage_ask(&stage, &question);
    stage_prepare(&stage, NULL);
    struct step_answer answer = {.next = -1};
    struct step_verdict verdict = {.step = group->step.id, .answers = &answer, .n_answers = 1};
    stage_verdict(group, &verdict);
    assert_int_equal(client->status, RPC_INTERNAL);
    stage_run(&stage);
    stage_close(&stage);
}

static void without_a_group_requests_wait_for_a_while(void **state)
{
    (void)state;
    struct stage stage;
    struct scheduler_options options = {.group_wait_seconds = 20};
    struct stage_question question = {.prompt = 10, .max_tokens = 5};
    stage_open(&stage, &options);
    struct stage_client *client = stage_ask(&stage, &question);
    stage_prepare(&stage, NULL);
    stage_turn(&stage, 15);
    assert_false(client->ended);
    stage_turn(&stage, 6);
    assert_int_equal(client->status, RPC_UNAVAILABLE);
    assert_non_null(strstr(client->message, "--group-wait-seconds"));
    stage_close(&stage);
}

static void a_request_waits_for_a_place_for_a_while(void **state)
{
    (void)state;
    struct stage stage;
    struct scheduler_options options = {.max_requests = 1, .wait_seconds = 2};
    struct stage_question question = {.prompt = 10, .max_tokens = 50};
    stage_open(&stage, &options);
    struct stage_group *group = stage_attach(&stage, 100, 64);
    stage_run(&stage);
    struct stage_client *runs = stage_ask(&stage, &question), *queued = stage_ask(&stage, &question);
    stage_prepare(&stage, NULL);
    stage_answer(group);
    struct stage_client *prepared = stage_ask(&stage, &question); /* its pictures take long */
    for (int i = 0; i < 3; i++, stage_answer(group))              /* a step a turn: the group is not silent */
        stage_turn(&stage, 0.6);
    assert_false(queued->ended || prepared->ended);
    stage_turn(&stage, 0.6);
    assert_int_equal(queued->status, RPC_RESOURCE_EXHAUSTED);
    assert_non_null(strstr(queued->message, "2 s (--max-wait-seconds)"));
    assert_int_equal(prepared->status, RPC_RESOURCE_EXHAUSTED);
    assert_false(runs->ended);
    stage_run(&stage);
    assert_answer(runs, &question, 50);
    stage_close(&stage);
}

static void a_client_that_does_not_read_is_ended(void **state)
{
    (void)state;
    struct stage stage;
    struct stage_question question = {.prompt = 10, .max_tokens = 100};
    stage_open(&stage, NULL);
    struct stage_group *group = stage_attach(&stage, 100, 64);
    stage_run(&stage);
    struct stage_client *client = stage_ask(&stage, &question);
    stage_prepare(&stage, NULL);
    stage_answer(group);
    client->backlog = (1 << 20) + 1;
    stage_answer(group);
    assert_int_equal(client->status, RPC_RESOURCE_EXHAUSTED);
    stage_run(&stage);
    assert_int_equal(group->n_sequences, 0);
    stage_close(&stage);
}

static void assert_health(const struct stage *stage, const char *state)
{
    assert_string_equal(stage->health.state, state);
    assert_true((stage->health.reason[0] == 0) == (strcmp(state, "READY") == 0));
}

static void health_follows_warm_up_groups_and_drain(void **state)
{
    (void)state;
    struct stage stage;
    struct stage_question question = {.prompt = 10, .max_tokens = 5};
    stage_open(&stage, NULL);
    stage_turn(&stage, 0);
    assert_health(&stage, "STARTING");
    struct stage_group *group = stage_attach(&stage, 100, 64);
    assert_health(&stage, "STARTING");
    stage_prepare(&stage, "the tower is on fire");
    assert_health(&stage, "STARTING");
    stage_beat(group);
    stage_turn(&stage, 2.5);
    stage_beat(group);
    stage_turn(&stage, 2.6); /* it tries again after 5 s */
    stage_run(&stage);
    assert_health(&stage, "READY");
    stage_lose(group);
    assert_health(&stage, "NOT_READY");
    stage_attach(&stage, 100, 64);
    assert_health(&stage, "READY");

    struct stage_client *runs = stage_ask(&stage, &question);
    stage_prepare(&stage, NULL);
    struct event *event = calloc(1, sizeof *event);
    event->kind = EVENT_DRAIN;
    event->at = stage.now;
    scheduler_handle(stage.scheduler, event);
    stage_turn(&stage, 0);
    assert_health(&stage, "DRAINING");
    struct stage_client *late = stage_ask(&stage, &question);
    assert_int_equal(late->status, RPC_UNAVAILABLE);
    assert_int_equal(stage.drained, 0);
    stage_run(&stage);
    assert_answer(runs, &question, 5);
    assert_int_equal(stage.drained, 1);
    stage_close(&stage);
}

/* A group that beats but answers nothing: time passes by the second. */
static void silence_pass(struct stage *stage, struct stage_group *group, int seconds)
{
    for (int i = 0; i < seconds; i++) {
        stage_beat(group);
        stage_turn(stage, 1);
    }
}

static void health_tells_a_stall_from_idleness(void **state)
{
    (void)state;
    struct stage stage;
    struct stage_question question = {.prompt = 10, .max_tokens = 3};
    stage_open(&stage, &(struct scheduler_options){.step_seconds = 120});
    struct stage_group *group = stage_attach(&stage, 100, 64);
    stage_run(&stage); /* the warm-up */
    silence_pass(&stage, group, 2 * STALL_SECONDS);
    assert_health(&stage, "READY");
    struct stage_client *client = stage_ask(&stage, &question);
    silence_pass(&stage, group, 2 * STALL_SECONDS); /* its picture takes long: no group's fault */
    assert_health(&stage, "READY");
    stage_prepare(&stage, NULL);
    silence_pass(&stage, group, STALL_SECONDS);
    assert_health(&stage, "READY");
    silence_pass(&stage, group, 1);
    assert_health(&stage, "NOT_READY");
    stage_answer(group);
    assert_health(&stage, "READY");
    stage_run(&stage);
    assert_answer(client, &question, 3);
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
        cmocka_unit_test(a_lost_group_is_replayed_row_class_by_row_class),
        cmocka_unit_test(a_request_that_kills_its_groups_ends_and_no_other_does),
        cmocka_unit_test(a_request_that_makes_tokens_outlives_any_number_of_groups),
        cmocka_unit_test(two_groups_share_the_requests),
        cmocka_unit_test(a_cancel_mid_step_releases_with_the_next_step),
        cmocka_unit_test(the_last_release_goes_out_in_a_step_of_its_own),
        cmocka_unit_test(deadlines_end_requests_wherever_they_are),
        cmocka_unit_test(requests_wait_for_room_in_order_of_arrival),
        cmocka_unit_test(when_pages_run_out_the_youngest_waits_and_no_text_changes),
        cmocka_unit_test(load_counts_requests_and_their_whole_pages),
        cmocka_unit_test(a_request_is_admitted_by_what_it_needs_now),
        cmocka_unit_test(a_request_goes_where_all_of_it_could_fit),
        cmocka_unit_test(what_can_never_fit_is_refused_with_the_limit),
        cmocka_unit_test(an_open_answer_gets_the_default_within_the_context),
        cmocka_unit_test(too_many_waiting_requests_are_refused),
        cmocka_unit_test(a_request_id_names_one_running_request),
        cmocka_unit_test(a_drafter_fault_turns_off_drafts_alone),
        cmocka_unit_test(pictures_go_once_in_pieces_and_are_forgotten),
        cmocka_unit_test(a_group_of_another_kind_is_refused_with_both_names),
        cmocka_unit_test(silent_slow_and_lying_groups_are_lost),
        cmocka_unit_test(a_refused_step_ends_its_requests_and_no_other),
        cmocka_unit_test(a_refused_step_lets_go_with_the_next_one),
        cmocka_unit_test(scores_that_are_not_numbers_end_the_request),
        cmocka_unit_test(without_a_group_requests_wait_for_a_while),
        cmocka_unit_test(a_request_waits_for_a_place_for_a_while),
        cmocka_unit_test(a_client_that_does_not_read_is_ended),
        cmocka_unit_test(health_follows_warm_up_groups_and_drain),
        cmocka_unit_test(health_tells_a_stall_from_idleness),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
