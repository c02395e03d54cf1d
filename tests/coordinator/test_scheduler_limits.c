/* test_scheduler_limits.c - who waits, who is refused, who gives pages back, and who is too late */
#include "tests/coordinator/stage.h"

#include <string.h>

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
    assert_true(atomic_load(&stage.jobs->abandoned)); /* not to be begun */
    stage_prepare(&stage, NULL);                      /* its job comes back to nobody */
    stage_close(&stage);
}

/* The call may be closed before the scheduler's clock has told it. */
static void a_call_that_closes_at_its_deadline_was_not_cancelled(void **state)
{
    (void)state;
    struct stage stage;
    struct stage_question question = {.prompt = 10, .max_tokens = 100, .seconds = 2};
    stage_open(&stage, NULL);
    stage_attach(&stage, 100, 64);
    stage_run(&stage);
    struct stage_client *early = stage_ask(&stage, &question), *late = stage_ask(&stage, &question);
    stage_prepare(&stage, NULL);
    stage_cancel(&stage, early);
    stage.now += 2;
    stage_cancel(&stage, late);
    assert_true(early->status == RPC_CANCELLED && late->status == RPC_DEADLINE_EXCEEDED);
    stage_run(&stage);
    stage_close(&stage);
}

static void requests_wait_for_room_in_order_of_arrival(void **state)
{
    (void)state;
    struct stage stage;
    struct stage_question large = {.prompt = 60, .max_tokens = 20}, largest = {.prompt = 60, .max_tokens = 36};
    struct stage_question small = {.prompt = 8, .max_tokens = 8};
    stage_open(&stage, NULL);
    struct stage_group *group = stage_attach(&stage, 6, 64); /* 96 positions */
    stage_run(&stage);
    struct stage_client *first = stage_ask(&stage, &large), *second = stage_ask(&stage, &largest),
                        *third = stage_ask(&stage, &small);
    stage_prepare(&stage, NULL);
    stage_answer(group);
    assert_true(first->n == 1 && second->n == 0);
    stage_answer(group);
    assert_int_equal(third->n, 0); /* it would fit, but must not overtake the second */
    stage_run(&stage);
    stage_check_answer(first, &large, 20);
    stage_check_answer(second, &largest, 36);
    stage_check_answer(third, &small, 8);
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
            stage_check_answer(clients[i], &questions[i], 60);
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
        stage_check_answer(clients[i], &question, 100);
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
    stage_check_answer(first, &question, 100);
    stage_check_answer(second, &question, 100);
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
    struct stage_question questions[] = {{.prompt = 200, .max_tokens = 0},
                                         {.prompt = 100, .max_tokens = 101},
                                         {.prompt = 8, .max_tokens = 9, .min_tokens = 10},
                                         {.prompt = 90, .max_tokens = 20},
                                         {.prompt = 100, .max_tokens = 100}};
    const char *const texts[] = {"context of 200", "at most 100", "stopping.min_tokens", "96 (--kv-positions)",
                                 "96 (--kv-positions)"};
    for (int i = 0; i < 5; i++) {
        struct stage_client *client = stage_ask(&stage, &questions[i]);
        stage_run(&stage);
        assert_int_equal(client->status, i < 3 ? RPC_INVALID_ARGUMENT : RPC_RESOURCE_EXHAUSTED);
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
    struct stage_question exact = {.prompt = 10, .max_tokens = 9, .min_tokens = 9}; /* the least may be the most */
    struct stage_client *c = stage_ask(&stage, &exact);
    stage_run(&stage);
    stage_check_answer(a, &short_one, MAX_TOKENS_DEFAULT);
    stage_check_answer(b, &long_one, 10);
    stage_check_answer(c, &exact, 9);
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
        stage_check_answer(clients[i], &question, 8);
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
    stage_check_answer(first, &question, 8);
    assert_int_equal(scheduler_abort(stage.scheduler, "mine"), 0);
    assert_int_equal(scheduler_abort(stage.scheduler, "yours"), -1);
    struct stage_client *third = stage_ask(&stage, &question);
    stage_prepare(&stage, NULL);
    stage_answer(group);
    assert_int_equal(scheduler_abort(stage.scheduler, "mine"), 1);
    assert_int_equal(third->status, RPC_CANCELLED);
    struct stage_client *fourth = stage_ask(&stage, &question); /* at once */
    stage_run(&stage);
    stage_check_answer(fourth, &question, 8);
    stage_close(&stage);
}

static void a_request_waits_for_a_place_for_a_while(void **state)
{
    (void)state;
    struct stage stage;
    struct scheduler_options options = {.max_requests = 1, .wait_seconds = 2, .group_wait_seconds = 1};
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
    stage_check_answer(runs, &question, 50);
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

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(deadlines_end_requests_wherever_they_are),
        cmocka_unit_test(a_call_that_closes_at_its_deadline_was_not_cancelled),
        cmocka_unit_test(requests_wait_for_room_in_order_of_arrival),
        cmocka_unit_test(when_pages_run_out_the_youngest_waits_and_no_text_changes),
        cmocka_unit_test(load_counts_requests_and_their_whole_pages),
        cmocka_unit_test(a_request_is_admitted_by_what_it_needs_now),
        cmocka_unit_test(a_request_goes_where_all_of_it_could_fit),
        cmocka_unit_test(what_can_never_fit_is_refused_with_the_limit),
        cmocka_unit_test(an_open_answer_gets_the_default_within_the_context),
        cmocka_unit_test(too_many_waiting_requests_are_refused),
        cmocka_unit_test(a_request_id_names_one_running_request),
        cmocka_unit_test(a_request_waits_for_a_place_for_a_while),
        cmocka_unit_test(a_client_that_does_not_read_is_ended),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
