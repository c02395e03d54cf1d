/* test_flight.c - many calls at once: every message comes once, in its call's order, and every call ends once */
#include "tests/proto/service.h"

#include "proto/flight.h"

enum { CALLS = 300, MESSAGES = 20 };

struct caller {
    int next, ends;
};

static void counts(struct flight *flight, struct caller *caller)
{
    struct error err;
    int order[2] = {MESSAGES, 8};
    if (flight_send(flight, "/t/Count", &(struct rpc_bytes){order, sizeof order}, 20, caller, &err))
        fail_msg("%s", err.text);
}

static void every_call_gets_its_messages_in_order_and_one_end(void **state)
{
    (void)state;
    struct seen *seen = open_both();
    struct flight *flight;
    struct flight_event event;
    struct caller callers[CALLS] = {{0}};
    int sent = 0, over = 0, most = 0;
    assert_int_equal(flight_open(&flight, seen->address, &(struct rpc_security_files){0}, NULL), 0);
    while (over < CALLS) {
        while (sent < CALLS && flight_under_way(flight) < 64)
            counts(flight, &callers[sent++]);
        most = flight_under_way(flight) > most ? flight_under_way(flight) : most;
        assert_true(flight_next(flight, 20, &event));
        struct caller *caller = event.user;
        if (event.over) {
            if (event.status != RPC_OK)
                fail_msg("status %d: %s", (int)event.status, event.words.text);
            caller->ends++;
            over++;
        } else {
            int i;
            memcpy(&i, event.message.data, sizeof i);
            assert_int_equal(i, caller->next++);
            free(event.message.data);
        }
    }
    assert_false(flight_next(flight, 0.01, &event));
    assert_int_equal(most, 64);
    assert_int_equal(flight_under_way(flight), 0);
    for (int i = 0; i < CALLS; i++)
        assert_true(callers[i].next == MESSAGES && callers[i].ends == 1);
    flight_close(flight);
    close_both(seen);
}

/* Those that were dropped say nothing more, whatever was in their queue; the others go on. */
static void a_dropped_call_is_silent(void **state)
{
    (void)state;
    struct seen *seen = open_both();
    struct flight *flight;
    struct flight_event event;
    struct caller callers[CALLS] = {{0}};
    assert_int_equal(flight_open(&flight, seen->address, &(struct rpc_security_files){0}, NULL), 0);
    for (int i = 0; i < CALLS; i++)
        counts(flight, &callers[i]);
    for (int over = 0; flight_under_way(flight) && flight_next(flight, 20, &event);) {
        struct caller *caller = event.user;
        assert_int_equal(caller->ends, 0);
        free(event.message.data);
        if (!event.over && (caller - callers) % 2) {
            flight_drop(flight, event.call);
            caller->ends = 1;
        }
        over += event.over;
        caller->ends |= event.over;
    }
    for (int i = 0; i < CALLS; i++)
        assert_int_equal(callers[i].ends, 1);
    flight_close(flight);
    close_both(seen);
}

static void an_end_has_its_status_and_words(void **state)
{
    (void)state;
    struct seen *seen = open_both();
    struct flight *flight;
    struct flight_event event;
    struct caller caller = {0};
    assert_int_equal(flight_open(&flight, seen->address, &(struct rpc_security_files){0}, NULL), 0);
    assert_int_equal(flight_send(flight, "/t/Nothing", &(struct rpc_bytes){"", 0}, 5, &caller, NULL), 0);
    assert_true(flight_next(flight, 20, &event));
    assert_true(event.over && event.user == &caller && event.status == RPC_UNIMPLEMENTED);
    assert_non_null(strstr(event.words.text, "/t/Nothing"));
    assert_int_equal(flight_send(flight, "/t/Hold", &(struct rpc_bytes){"", 0}, 0.2, &caller, NULL), 0);
    assert_true(flight_next(flight, 20, &event));
    assert_true(event.over && event.status == RPC_DEADLINE_EXCEEDED);
    assert_int_equal(flight_send(flight, "/t/Hold", &(struct rpc_bytes){"", 0}, 0, &caller, NULL), 0);
    assert_true(wait_for(&seen->started, 2, 20));
    flight_close(flight); /* with one under way, which the server sees cancelled */
    assert_true(wait_for(&seen->closed, 2, 20));
    close_both(seen);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_call_gets_its_messages_in_order_and_one_end),
        cmocka_unit_test(a_dropped_call_is_silent),
        cmocka_unit_test(an_end_has_its_status_and_words),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
