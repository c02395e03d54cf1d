/* test_kserve.c - calls of KServe with many asks in them: each gets its own answer or its own fault, however the call ends; the
 * test is the scheduler */
#include "tests/check.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/memory.h"
#include "coordinator/kserve.h"
#include "coordinator/service.h"
#include "coordinator/stream.h"
#include "proto/kserve.h"

/* Questions "x" to any model, with an id. */
#define ASK(id)                                                                                                                    \
    "\x1a\x01" id "\x2a\x16\x0a\x0atext_input\x12\x05"                                                                             \
    "BYTES\x1a\x01\x01\x3a\x05\x01\0\0\0x"
#define DELTAS(id) "\x22\x0c\x0a\x06stream\x12\x02\x08\x01" ASK(id)

#define TWO_OUTPUTS "\x22\x07\x0a\x01n\x12\x02\x10\x02"
#define FULL_END "\x22\x28\x0a\x22triton_enable_empty_final_response\x12\x02\x08\x00"

struct place {
    struct model_config config;
    struct service service;
    struct rpc_server *server;
    struct rpc_channel *channel;
    struct event *events; /* taken and not yet looked at */
};

static int place_open(void **state)
{
    struct place *place = mem_new(1, sizeof *place);
    struct error err;
    const char *address = "127.0.0.1:0";
    char target[64];
    snprintf(place->config.name, sizeof place->config.name, "scenes");
    place->service = (struct service){.mailbox = mailbox_new(), .health = health_new(), .config = &place->config};
    const struct rpc_service services[] = {{.methods = kserve_methods, .context = &place->service}, {0}};
    if (rpc_server_open(&place->server, &address, 1, services, NULL, &err) != 0)
        fail_msg("%s", err.text);
    snprintf(target, sizeof target, "127.0.0.1:%d", rpc_server_port(place->server, 0));
    assert_int_equal(rpc_channel_open(&place->channel, target, NULL, &err), 0);
    *state = place;
    return 0;
}

static bool event_take(struct place *place, double seconds, struct event *event)
{
    if (!place->events)
        place->events = mailbox_take(place->service.mailbox, seconds);
    struct event *first = place->events;
    if (!first)
        return false;
    *event = *first;
    place->events = first->next;
    free(first);
    return true;
}

/* A call that closes while an ask of it is being dropped says so, or not: that is skipped unless it is what should come. */
static struct event event_next(struct place *place, enum event_kind kind)
{
    struct event event;
    do
        assert_true(event_take(place, 10, &event));
    while (event.kind == EVENT_CLOSED && kind != EVENT_CLOSED);
    assert_int_equal(event.kind, kind);
    return event;
}

static int place_close(void **state)
{
    struct place *place = *state;
    struct event event;
    rpc_channel_close(place->channel);
    rpc_server_close(place->server, 0);
    while (event_take(place, 0, &event))
        assert_int_equal(event.kind, EVENT_CLOSED);
    mailbox_free(place->service.mailbox);
    health_free(place->service.health);
    free(place);
    return 0;
}

static struct request *arrived(struct place *place)
{
    struct event event = event_next(place, EVENT_ARRIVED);
    assert_int_equal(event.job->number, event.request->number);
    assert_string_equal(event.job->asked.turns[0].parts[0].text, "x");
    preparation_free(event.job);
    return event.request;
}

static void say(struct request *request, const char *text)
{
    const struct generate_response token = {.event = GENERATE_TOKEN, .output = request->output, .text = text};
    request->client.calls->send(request->client.call, &token);
}

static void finish(struct request *request, const char *reason)
{
    const struct generate_response finished = {.event = GENERATE_FINISHED, .output = request->output, .reason = reason};
    request->client.calls->send(request->client.call, &finished);
}

static void end(struct request *request, const char *reason, enum rpc_status status, const char *message)
{
    if (*reason)
        finish(request, reason);
    request->client.calls->finish(request->client.call, status, message);
    request->client.calls->finish(request->client.call, RPC_INTERNAL, "the first of several counts");
    request_free(request);
}

static struct rpc_stream *stream_of(struct place *place)
{
    struct rpc_stream *stream;
    assert_int_equal(rpc_stream_open(&stream, place->channel, KSERVE_STREAM_PATH, NULL, 0, 60, NULL), 0);
    return stream;
}

static void write_bytes(struct rpc_stream *stream, const char *bytes, size_t size)
{
    assert_int_equal(rpc_stream_write(stream, bytes, size, NULL), 0);
}
#define WRITE(stream, bytes) write_bytes(stream, bytes, sizeof(bytes) - 1)

/* The next message has all these words, up to NULL. */
static void expect_words(struct rpc_stream *stream, const char *const *words)
{
    struct rpc_bytes message;
    assert_int_equal(rpc_stream_read(stream, 10, &message, NULL, NULL), 1);
    for (; *words; words++)
        if (!memmem(message.data, message.size, *words, strlen(*words)))
            fail_msg("no \"%s\" in the message", *words);
    free(message.data);
}
#define EXPECT(stream, ...) expect_words(stream, (const char *const[]){__VA_ARGS__, NULL})

static void expect_end(struct rpc_stream *stream, enum rpc_status expected)
{
    struct rpc_bytes message;
    enum rpc_status status = RPC_OK;
    struct error err = {""};
    assert_int_equal(rpc_stream_read(stream, 10, &message, &status, &err), expected == RPC_OK ? 0 : -1);
    assert_int_equal(status, expected);
    rpc_stream_close(stream);
}

#define ID(id) "\x1a\x01" id /* field 3 of a response */
#define LAST "triton_final_response\x12\x02\x08\x01"

static void asks_of_one_call_are_answered_each_for_itself(void **state)
{
    struct place *place = *state;
    struct rpc_stream *stream = stream_of(place);
    WRITE(stream, DELTAS("a"));
    WRITE(stream, ASK("b"));
    struct request *a = arrived(place), *b = arrived(place);
    assert_int_not_equal(a->number, b->number);
    say(b, "first, ");
    say(a, "one");
    EXPECT(stream, ID("a"), "one", "triton_final_response\x12");
    say(a, ""); /* half a character: nothing to show */
    say(b, "second");
    end(b, "stop", RPC_OK, "");
    EXPECT(stream, ID("b"), "first, second", "finish_reason", LAST);
    assert_int_equal(rpc_stream_half_close(stream, NULL), 0);
    say(a, "two");
    EXPECT(stream, ID("a"), "two");
    end(a, "length", RPC_OK, "");
    EXPECT(stream, ID("a"), LAST);
    expect_end(stream, RPC_OK);
}

/* Both outputs of a request. */
static void arrived_two(struct place *place, struct request *outputs[2])
{
    outputs[0] = arrived(place);
    outputs[1] = outputs[0]->next_output;
    assert_non_null(outputs[1]);
    assert_null(outputs[1]->next_output);
}

#define NUMBERED(i) "output_index\x12\x02\x10" i

static void several_outputs_come_in_one_answer_or_as_deltas_with_an_index(void **state)
{
    struct place *place = *state;
    struct rpc_stream *stream = stream_of(place);
    struct request *whole[2], *deltas[2];
    WRITE(stream, TWO_OUTPUTS ASK("w"));
    WRITE(stream, TWO_OUTPUTS DELTAS("d"));
    arrived_two(place, whole);
    arrived_two(place, deltas);
    say(whole[1], "second");
    say(deltas[1], "uno");
    EXPECT(stream, ID("d"), "uno", NUMBERED("\1"));
    say(deltas[0], "due");
    EXPECT(stream, ID("d"), "due", NUMBERED("\0"));
    finish(whole[1], "stop");
    finish(deltas[0], "length");
    EXPECT(stream, ID("d"), NUMBERED("\0"), "length", "triton_final_response\x12");
    request_free(deltas[0]);
    say(whole[0], "first");
    end(whole[0], "length", RPC_OK, "");
    EXPECT(stream, ID("w"), "first", "second", "length", "stop", LAST);
    request_free(whole[1]);
    end(deltas[1], "stop", RPC_OK, "");
    EXPECT(stream, ID("d"), NUMBERED("\1"), "stop", LAST);
    assert_int_equal(rpc_stream_half_close(stream, NULL), 0);
    expect_end(stream, RPC_OK);
}

static void the_last_delta_has_text_where_an_empty_one_is_not_wanted(void **state)
{
    struct place *place = *state;
    struct rpc_stream *stream = stream_of(place);
    WRITE(stream, FULL_END DELTAS("a"));
    struct request *a = arrived(place);
    say(a, "one");
    say(a, "");
    say(a, "two");
    EXPECT(stream, ID("a"), "one", "triton_final_response\x12");
    end(a, "stop", RPC_OK, "");
    EXPECT(stream, ID("a"), "two", "finish_reason", LAST);
    assert_int_equal(rpc_stream_half_close(stream, NULL), 0);
    expect_end(stream, RPC_OK);
}

#define TRACE_ID "0af7651916cd43dd8448eb211c80319c"
#define TRACED                                                                                                                     \
    "\x22\x48\x0a\x0btraceparent\x12\x39\x1a\x37"                                                                                  \
    "00-" TRACE_ID "-b7ad6b7169203331-01"

static void each_ask_may_belong_to_a_trace_of_its_own(void **state)
{
    struct place *place = *state;
    struct rpc_stream *stream = stream_of(place);
    WRITE(stream, TRACED ASK("a"));
    WRITE(stream, ASK("b"));
    WRITE(stream, "\x22\x14\x0a\x0btraceparent\x12\x05\x1a\x03"
                  "new" ASK("c"));
    EXPECT(stream, ID("c"), "INVALID_ARGUMENT: traceparent: \"new\"");
    struct request *a = arrived(place), *b = arrived(place);
    event_next(place, EVENT_REFUSED);
    assert_string_equal(a->client.origin.trace.id, TRACE_ID);
    assert_string_not_equal(b->client.origin.trace.id, TRACE_ID);
    end(a, "stop", RPC_OK, "");
    end(b, "stop", RPC_OK, "");
    EXPECT(stream, ID("a"));
    EXPECT(stream, ID("b"));
    rpc_stream_close(stream);
}

static void a_fault_of_one_ask_is_no_fault_of_the_call(void **state)
{
    struct place *place = *state;
    struct rpc_stream *stream = stream_of(place);
    WRITE(stream, ASK("a"));
    WRITE(stream, "\x1a\x01"
                  "b");
    WRITE(stream, "\xff");
    WRITE(stream, "\x0a\x05"
                  "llama" ASK("c"));
    EXPECT(stream, ID("b"), "INVALID_ARGUMENT: text_input: missing");
    EXPECT(stream, "INVALID_ARGUMENT: ");
    EXPECT(stream, ID("c"), "NOT_FOUND: model: \"llama\"");
    struct request *a = arrived(place);
    assert_int_equal(event_next(place, EVENT_REFUSED).status, RPC_INVALID_ARGUMENT);
    assert_int_equal(event_next(place, EVENT_REFUSED).status, RPC_INVALID_ARGUMENT);
    assert_int_equal(event_next(place, EVENT_REFUSED).status, RPC_NOT_FOUND);
    say(a, "half an");
    end(a, "cancelled", RPC_CANCELLED, "aborted");
    EXPECT(stream, ID("a"), "CANCELLED: aborted");
    assert_int_equal(rpc_stream_half_close(stream, NULL), 0);
    expect_end(stream, RPC_OK);
}

static void a_call_that_ends_takes_its_asks_along(void **state)
{
    struct place *place = *state;
    struct rpc_stream *stream = stream_of(place);
    WRITE(stream, ASK("a"));
    WRITE(stream, DELTAS("b"));
    struct request *a = arrived(place), *b = arrived(place);
    rpc_stream_close(stream);
    uint64_t first = event_next(place, EVENT_CLOSED).number, second = event_next(place, EVENT_CLOSED).number;
    assert_true((first == a->number && second == b->number) || (first == b->number && second == a->number));
    say(b, "to nobody");
    end(b, "", RPC_CANCELLED, "the client has cancelled");
    end(a, "stop", RPC_OK, "");
}

struct unary {
    struct place *place;
    enum rpc_status status;
    struct rpc_bytes reply;
    struct error err;
};

static void *infer(void *arg)
{
    struct unary *unary = arg;
    rpc_unary(unary->place->channel, KSERVE_INFER_PATH, ASK("u"), sizeof ASK("u") - 1, 10, &unary->reply, &unary->status,
              &unary->err);
    return NULL;
}

/* Waits for a request of one call, which another thread makes. */
static struct request *infer_begin(struct unary *unary, pthread_t *thread)
{
    assert_int_equal(pthread_create(thread, NULL, infer, unary), 0);
    return arrived(unary->place);
}

static void one_ask_of_its_own_call_has_a_status(void **state)
{
    struct unary good = {.place = *state}, bad = good;
    pthread_t thread;
    struct request *request = infer_begin(&good, &thread);
    double left = request->deadline - clock_seconds();
    assert_true(left > 5 && left < 10.5); /* s: the call's own */
    say(request, "Yes");
    say(request, ".");
    end(request, "stop", RPC_OK, "");
    pthread_join(thread, NULL);
    assert_int_equal(good.status, RPC_OK);
    assert_non_null(memmem(good.reply.data, good.reply.size, "\4\0\0\0Yes.", 8));
    free(good.reply.data);
    request = infer_begin(&bad, &thread);
    end(request, "", RPC_RESOURCE_EXHAUSTED, "try again later");
    pthread_join(thread, NULL);
    assert_int_equal(bad.status, RPC_RESOURCE_EXHAUSTED);
    assert_non_null(strstr(bad.err.text, "try again later"));
    struct rpc_bytes reply;
    assert_int_equal(
        rpc_unary(bad.place->channel, KSERVE_INFER_PATH, DELTAS("d"), sizeof DELTAS("d") - 1, 10, &reply, &bad.status, &bad.err),
        -1);
    assert_int_equal(bad.status, RPC_INVALID_ARGUMENT);
    assert_non_null(strstr(bad.err.text, "stream: true needs ModelStreamInfer"));
    event_next(bad.place, EVENT_REFUSED);
}

static void the_same_state_answers_live_and_ready(void **state)
{
    struct place *place = *state;
    static const struct row {
        struct health_info info;
        bool live, ready;
    } rows[] = {{{"STARTING", "x"}, true, false},
                {{"READY", ""}, true, true},
                {{"NOT_READY", "x"}, true, false},
                {{"DRAINING", "x"}, false, false}};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        static const char *const paths[] = {KSERVE_LIVE_PATH, KSERVE_READY_PATH, KSERVE_MODEL_READY_PATH};
        health_say(place->service.health, &rows[i].info, clock_seconds());
        for (int k = 0; k < 3; k++) {
            struct rpc_bytes reply;
            enum rpc_status status;
            size_t size = k == 2 ? 8 : 0;
            assert_int_equal(rpc_unary(place->channel, paths[k], "\x0a\x06scenes", size, 10, &reply, &status, NULL), 0);
            assert_int_equal(reply.size == 2, k == 0 ? rows[i].live : rows[i].ready);
            free(reply.data);
        }
    }
}

#define KSERVE_TEST(name) cmocka_unit_test_setup_teardown(name, place_open, place_close)

int main(void)
{
    const struct CMUnitTest tests[] = {
        KSERVE_TEST(asks_of_one_call_are_answered_each_for_itself),
        KSERVE_TEST(a_fault_of_one_ask_is_no_fault_of_the_call),
        KSERVE_TEST(a_call_that_ends_takes_its_asks_along),
        KSERVE_TEST(one_ask_of_its_own_call_has_a_status),
        KSERVE_TEST(several_outputs_come_in_one_answer_or_as_deltas_with_an_index),
        KSERVE_TEST(the_last_delta_has_text_where_an_empty_one_is_not_wanted),
        KSERVE_TEST(each_ask_may_belong_to_a_trace_of_its_own),
        KSERVE_TEST(the_same_state_answers_live_and_ready),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
