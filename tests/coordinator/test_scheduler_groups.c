/* test_scheduler_groups.c - worker groups that come, are lost, refuse and fall silent, and what health says of it */
#include "tests/coordinator/stage.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "coordinator/scheduler_state.h"

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
    stage_check_answer(client, &question, 25);
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
    stage_check_answer(clients[0], &good[0], 25);
    stage_check_answer(clients[1], &good[1], 25);
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
        stage_turn(&stage, 1);
    }
    stage_run(&stage);
    stage_check_answer(client, &question, 30);
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
        stage_check_answer(clients[i], &question, 30);
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
    stage_check_answer(stays, &other, 40);
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
    stage_check_answer(a, &question, 6);
    stage_check_answer(b, &question, 6);
    assert_int_equal(group->pieces, 3);
    assert_true(group->forgets == 1 && group->n_pictures == 0);
    struct stage_client *c = stage_ask(&stage, &question);
    stage_prepare(&stage, NULL);
    stage_answer(group);
    stage_answer(group);
    stage_lose(group);
    struct stage_group *second = stage_attach(&stage, 100, 20);
    stage_run(&stage);
    stage_check_answer(c, &question, 6);
    assert_int_equal(second->pieces, 3);
    stage_close(&stage);
}

static void a_group_of_another_kind_is_refused_with_both_names(void **state)
{
    (void)state;
    struct stage stage;
    stage_open(&stage, NULL);
    const char *const texts[] = {"worker protocol 99, coordinator protocol 4", "worker version 9.9", "model other"};
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
    static struct metrics metrics;
    struct stage stage;
    struct stage_question question = {.prompt = 10, .max_tokens = 30, .k = 2};
    stage_open(&stage, NULL);
    struct stage_group *mute = stage_dial(&stage, 100, 64);
    stage_turn(&stage, 11);
    assert_true(mute->finished);
    scheduler_metrics(stage.scheduler, &metrics);
    assert_int_equal(metrics.groups_lost, 0); /* it never was one */

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

static void a_launcher_hears_of_the_groups_that_it_named(void **state)
{
    (void)state;
    struct stage stage;
    stage_open(&stage, NULL);
    stage_attach(&stage, 100, 64);
    assert_string_equal(stage.group_told, "");
    for (int silent = 0; silent < 2; silent++) {
        struct stage_group *group = stage_dial(&stage, 100, 64);
        struct step_hello hello = stage_hello_of(group);
        snprintf(hello.group, sizeof hello.group, "3.%d", silent);
        stage_hello(group, &hello);
        assert_string_equal(stage.group_told, silent ? "3.1 attached" : "3.0 attached");
        if (silent)
            stage_turn(&stage, 3.5);
        else
            stage_lose(group);
        assert_string_equal(stage.group_told, silent ? "3.1 lost" : "3.0 lost");
    }
    stage_close(&stage);
}

static void a_hello_comes_first_and_once(void **state)
{
    (void)state;
    struct stage stage;
    stage_open(&stage, NULL);
    struct stage_group *again = stage_attach(&stage, 100, 64), *never = stage_dial(&stage, 100, 64);
    struct step_hello hello = stage_hello_of(again);
    stage_hello(again, &hello);
    stage_beat(never);
    assert_true(again->finished && strstr(again->message, "must be a hello"));
    assert_true(never->finished && strstr(never->message, "must be a hello"));
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
    struct stage_client *gone = stage_ask(&stage, &question);
    stage_prepare(&stage, NULL);
    stage_answer(group);
    assert_int_equal(group->step.n_spans, 2);
    stage_cancel(&stage, gone); /* nobody is left to be told */
    struct step_verdict verdict = {.step = group->step.id, .error = "no room"};
    stage_verdict(group, &verdict);
    assert_int_equal(gone->status, RPC_CANCELLED);
    assert_int_equal(a->status, RPC_INTERNAL);
    assert_non_null(strstr(a->message, "no room"));
    struct stage_client *b = stage_ask(&stage, &question);
    stage_run(&stage);
    stage_check_answer(b, &question, 30);
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

/* It says that it has something else than the coordinator believes: nothing that is said again would help. */
static void a_group_that_refuses_to_let_go_is_lost_and_may_come_back(void **state)
{
    (void)state;
    struct stage stage;
    struct stage_question question = {.prompt = 10, .max_tokens = 30};
    stage_open(&stage, NULL);
    struct stage_group *group = stage_attach(&stage, 100, 64);
    stage_run(&stage);
    struct stage_client *refused = stage_ask(&stage, &question);
    stage_prepare(&stage, NULL);
    struct stage_client *other = stage_ask(&stage, &question);
    stage_prepare(&stage, NULL);
    stage_refuse(group);
    assert_true(refused->ended);
    assert_true(group->step.n_spans == 0 && group->step.n_release > 0);
    stage_refuse(group);
    assert_true(group->finished && group->dropped && !other->ended);
    assert_int_equal(group->status, RPC_ABORTED);
    assert_non_null(strstr(group->message, "the stage will not have it"));
    stage_attach(&stage, 100, 64);
    stage_run(&stage);
    stage_check_answer(other, &question, 30);
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
    stage_lose(stage_dial(&stage, 100, 64)); /* it sent no hello: as if it had not been there */
    struct stage_client *later = stage_ask(&stage, &question);
    stage_prepare(&stage, NULL);
    stage_turn(&stage, 6);
    assert_int_equal(client->status, RPC_UNAVAILABLE);
    assert_non_null(strstr(client->message, "--group-wait-seconds"));
    stage_turn(&stage, 13);
    assert_false(later->ended); /* it has waited for 19 s */
    stage_turn(&stage, 2);
    assert_int_equal(later->status, RPC_UNAVAILABLE);
    stage_close(&stage);
}

/* Its steps take 1 ms and 0.5 ms a prompt row; what they take beside, and what was foreseen of them, is learned from verifications
 * alone. */
static void what_a_step_takes_beside_is_learned_from_verifications(void **state)
{
    (void)state;
    struct stage stage;
    const struct stage_question question = {.prompt = 10, .max_tokens = 8};
    stage_open(&stage, NULL);
    struct stage_group *group = stage_attach(&stage, 100, 64);
    stage_run(&stage);
    group->row_ms = 0.5;
    struct group *known = stage.scheduler->groups[0];
    known->beside = (struct cost_curve){0};
    struct stage_client *client = stage_ask(&stage, &question);
    stage_prepare(&stage, NULL);
    stage_answer(group);
    stage_ask(&stage, &question);
    stage_prepare(&stage, NULL);
    stage_answer(group);
    assert_true(group->step.n_spans == 2 && !group->step.spans[1].generated);
    known->beside = (struct cost_curve){0};
    stage_turn(&stage, 0.5);
    stage_answer(group); /* an answer beside a prompt */
    assert_true(cost_curve_at(&known->beside, 1) == 0);
    while (!client->ended) {
        known->flight.drafting_ms = 4;
        stage_turn(&stage, 0.015);
        stage_answer(group);
    }
    assert_float_equal(cost_curve_at(&known->beside, 1), 15 - 4 - 1, 1e-3);
    assert_true(known->draft_length.without.earned > 0);
    stage_run(&stage);
    stage_close(&stage);
}

static void assert_health(const struct stage *stage, const char *state)
{
    assert_string_equal(stage->health.state, state);
    assert_true((stage->health.reason[0] == 0) == (strcmp(state, "READY") == 0));
}

static void stage_tell(struct stage *stage, enum event_kind kind)
{
    struct event *event = calloc(1, sizeof *event);
    event->kind = kind;
    event->at = stage->now;
    scheduler_handle(stage->scheduler, event);
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
    group = stage_dial(&stage, 100, 64);
    stage_turn(&stage, 0);
    assert_health(&stage, "NOT_READY");
    struct step_hello hello = stage_hello_of(group);
    stage_hello(group, &hello);
    assert_health(&stage, "READY");

    struct stage_client *runs = stage_ask(&stage, &question);
    stage_prepare(&stage, NULL);
    stage_tell(&stage, EVENT_DRAIN);
    stage_turn(&stage, 0);
    assert_health(&stage, "DRAINING");
    struct stage_client *late = stage_ask(&stage, &question);
    assert_int_equal(late->status, RPC_UNAVAILABLE);
    while (!runs->ended)
        stage_answer(group);
    stage_turn(&stage, 0);
    assert_int_equal(stage.drained, 0); /* the group has yet to let the sequence go */
    stage_run(&stage);
    stage_check_answer(runs, &question, 5);
    assert_int_equal(stage.drained, 1);

    stage_tell(&stage, EVENT_STOP);
    struct stage_group *too_late = stage_dial(&stage, 100, 64);
    assert_true(too_late->finished && too_late->dropped);
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
    stage_check_answer(client, &question, 3);
    stage_close(&stage);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_lost_group_is_replayed_row_class_by_row_class),
        cmocka_unit_test(a_request_that_kills_its_groups_ends_and_no_other_does),
        cmocka_unit_test(a_request_that_makes_tokens_outlives_any_number_of_groups),
        cmocka_unit_test(two_groups_share_the_requests),
        cmocka_unit_test(a_cancel_mid_step_releases_with_the_next_step),
        cmocka_unit_test(the_last_release_goes_out_in_a_step_of_its_own),
        cmocka_unit_test(pictures_go_once_in_pieces_and_are_forgotten),
        cmocka_unit_test(a_group_of_another_kind_is_refused_with_both_names),
        cmocka_unit_test(silent_slow_and_lying_groups_are_lost),
        cmocka_unit_test(a_launcher_hears_of_the_groups_that_it_named),
        cmocka_unit_test(a_hello_comes_first_and_once),
        cmocka_unit_test(a_refused_step_ends_its_requests_and_no_other),
        cmocka_unit_test(a_refused_step_lets_go_with_the_next_one),
        cmocka_unit_test(a_group_that_refuses_to_let_go_is_lost_and_may_come_back),
        cmocka_unit_test(scores_that_are_not_numbers_end_the_request),
        cmocka_unit_test(without_a_group_requests_wait_for_a_while),
        cmocka_unit_test(what_a_step_takes_beside_is_learned_from_verifications),
        cmocka_unit_test(health_follows_warm_up_groups_and_drain),
        cmocka_unit_test(health_tells_a_stall_from_idleness),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
