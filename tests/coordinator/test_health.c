/* test_health.c - those who ask and those who watch see every state as it was said, however they race with it */
#include "tests/check.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/memory.h"
#include "coordinator/health.h"
#include "proto/health.h"

static const struct health_info starting = {"STARTING", "soon"}, ready = {"READY", ""}, lost = {"NOT_READY", "no group"},
                                draining = {"DRAINING", "stopping"};

struct place { /* a server with nothing but health, and a client */
    struct health *health;
    struct rpc_server *server;
    struct rpc_channel *channel;
};

static int place_open(void **state)
{
    struct place *place = mem_new(1, sizeof *place);
    struct error err;
    const char *address = "127.0.0.1:0";
    char target[64];
    place->health = health_new();
    const struct rpc_service services[] = {{.methods = health_methods, .context = place->health}, {0}};
    if (rpc_server_open(&place->server, &address, 1, services, NULL, &err) != 0)
        fail_msg("%s", err.text);
    snprintf(target, sizeof target, "127.0.0.1:%d", rpc_server_port(place->server, 0));
    assert_int_equal(rpc_channel_open(&place->channel, target, NULL, &err), 0);
    *state = place;
    return 0;
}

static int place_close(void **state)
{
    struct place *place = *state;
    rpc_channel_close(place->channel);
    rpc_server_close(place->server, 0);
    health_free(place->health);
    free(place);
    return 0;
}

static size_t request_of(const char *service, char *bytes)
{
    size_t n = strlen(service);
    bytes[0] = 0x0a;
    bytes[1] = (char)n;
    memcpy(bytes + 2, service, n);
    return n + 2;
}

static int status_in(struct rpc_bytes *message)
{
    const char *bytes = message->data;
    assert_int_equal(message->size, 2);
    assert_int_equal(bytes[0], 8);
    int status = bytes[1];
    free(message->data);
    return status;
}

static void expect_answer(struct place *place, const char *service, enum health_status expected)
{
    char request[64];
    struct rpc_bytes reply;
    enum rpc_status status;
    struct error err;
    size_t size = request_of(service, request);
    if (rpc_unary(place->channel, HEALTH_V1_CHECK_PATH, request, size, 10, &reply, &status, &err) != 0)
        fail_msg("%s: %s", service, err.text);
    assert_int_equal(status_in(&reply), expected);
}

static struct rpc_stream *watch(struct place *place, const char *service)
{
    char request[64];
    struct rpc_stream *stream;
    struct error err;
    size_t size = request_of(service, request);
    if (rpc_stream_open(&stream, place->channel, HEALTH_V1_WATCH_PATH, request, size, 0, &err) != 0)
        fail_msg("%s", err.text);
    return stream;
}

static void expect_seen(struct rpc_stream *stream, enum health_status expected)
{
    struct rpc_bytes message;
    assert_int_equal(rpc_stream_read(stream, 10, &message, NULL, NULL), 1);
    assert_int_equal(status_in(&message), expected);
}

static void expect_silence(struct rpc_stream *stream)
{
    struct rpc_bytes message;
    assert_int_equal(rpc_stream_read(stream, 0.05, &message, NULL, NULL), -2);
}

static void the_process_lives_while_the_services_are_not_ready(void **state)
{
    struct place *place = *state;
    static const struct row {
        const struct health_info *info;
        enum health_status process, service;
    } rows[] = {{&starting, HEALTH_SERVING, HEALTH_NOT_SERVING},
                {&ready, HEALTH_SERVING, HEALTH_SERVING},
                {&lost, HEALTH_SERVING, HEALTH_NOT_SERVING},
                {&draining, HEALTH_NOT_SERVING, HEALTH_NOT_SERVING}};
    expect_answer(place, "massv.v1.Inference", HEALTH_NOT_SERVING); /* nothing was said yet */
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        health_say(place->health, rows[i].info, clock_seconds());
        expect_answer(place, "", rows[i].process);
        expect_answer(place, "massv.v1.Inference", rows[i].service);
        expect_answer(place, "massv.v1.Control", rows[i].service);
    }
}

static void an_unknown_service_is_not_found_and_watched_in_vain(void **state)
{
    struct place *place = *state;
    char request[64];
    struct rpc_bytes reply;
    enum rpc_status status;
    struct error err;
    size_t size = request_of("massv.v1", request);
    assert_int_equal(rpc_unary(place->channel, HEALTH_V1_CHECK_PATH, request, size, 10, &reply, &status, &err), -1);
    assert_int_equal(status, RPC_NOT_FOUND);
    assert_non_null(strstr(err.text, "\"massv.v1\""));
    struct rpc_stream *stream = watch(place, "massv.v1");
    expect_seen(stream, HEALTH_SERVICE_UNKNOWN);
    health_say(place->health, &ready, clock_seconds());
    expect_silence(stream);
    rpc_stream_close(stream);
}

static void a_watcher_sees_the_present_and_every_change_once(void **state)
{
    struct place *place = *state;
    struct rpc_stream *service = watch(place, "massv.v1.Inference"), *process = watch(place, "");
    expect_seen(service, HEALTH_NOT_SERVING);
    expect_seen(process, HEALTH_SERVING);
    for (int i = 0; i < 3; i++) {
        health_say(place->health, &ready, clock_seconds());
        health_say(place->health, &ready, clock_seconds());
        health_say(place->health, &lost, clock_seconds());
    }
    for (int i = 0; i < 3; i++) {
        expect_seen(service, HEALTH_SERVING);
        expect_seen(service, HEALTH_NOT_SERVING);
    }
    expect_silence(service);
    health_say(place->health, &draining, clock_seconds());
    expect_seen(process, HEALTH_NOT_SERVING);
    expect_silence(service);
    rpc_stream_close(service);
    rpc_stream_close(process);
}

static void a_scheduler_that_says_nothing_is_not_ready(void **state)
{
    struct place *place = *state;
    struct health_info info;
    double now = clock_seconds();
    health_say(place->health, &ready, now);
    struct rpc_stream *stream = watch(place, "massv.v1.Inference");
    expect_seen(stream, HEALTH_SERVING);
    health_look(place->health, now + HEALTH_SILENCE_SECONDS - 1);
    expect_silence(stream);
    health_look(place->health, now + HEALTH_SILENCE_SECONDS + 1);
    expect_seen(stream, HEALTH_NOT_SERVING);
    health_get(place->health, now + HEALTH_SILENCE_SECONDS + 1, &info);
    assert_string_equal(info.state, "NOT_READY");
    assert_non_null(strstr(info.reason, "31 s"));
    health_say(place->health, &ready, now + HEALTH_SILENCE_SECONDS + 2);
    expect_seen(stream, HEALTH_SERVING);
    rpc_stream_close(stream);
}

enum { FLIPS = 2000, WATCHES = 40 };

static void *flip(void *arg)
{
    struct place *place = arg;
    for (int i = 0; i <= FLIPS; i++) {
        health_say(place->health, i % 2 ? &lost : &ready, clock_seconds());
        clock_sleep(1e-4);
    }
    return NULL;
}

/* Statuses alternate from the first to the last, which is the last that was said: none was lost between answer and subscription. */
static void watches_that_begin_amid_changes_miss_none(void **state)
{
    struct place *place = *state;
    pthread_t thread;
    struct rpc_stream *streams[WATCHES];
    assert_int_equal(pthread_create(&thread, NULL, flip, place), 0);
    for (int i = 0; i < WATCHES; i++)
        streams[i] = watch(place, "massv.v1.Inference");
    pthread_join(thread, NULL);
    health_close(place->health);
    for (int i = 0; i < WATCHES; i++) {
        struct rpc_bytes message;
        int last = HEALTH_UNKNOWN;
        while (rpc_stream_read(streams[i], 10, &message, NULL, NULL) == 1) {
            int status = status_in(&message);
            assert_int_not_equal(status, last);
            last = status;
        }
        assert_int_equal(last, HEALTH_SERVING);
        rpc_stream_close(streams[i]);
    }
}

static void watches_end_when_the_service_does(void **state)
{
    struct place *place = *state;
    struct rpc_bytes message;
    enum rpc_status status;
    struct error err;
    struct rpc_stream *before = watch(place, "");
    expect_seen(before, HEALTH_SERVING);
    health_close(place->health);
    struct rpc_stream *after = watch(place, "");
    assert_int_equal(rpc_stream_read(before, 10, &message, &status, &err), -1);
    assert_int_equal(status, RPC_UNAVAILABLE);
    expect_seen(after, HEALTH_SERVING);
    assert_int_equal(rpc_stream_read(after, 10, &message, &status, &err), -1);
    assert_int_equal(status, RPC_UNAVAILABLE);
    rpc_stream_close(before);
    rpc_stream_close(after);
}

#define HEALTH_TEST(name) cmocka_unit_test_setup_teardown(name, place_open, place_close)

int main(void)
{
    const struct CMUnitTest tests[] = {
        HEALTH_TEST(the_process_lives_while_the_services_are_not_ready),
        HEALTH_TEST(an_unknown_service_is_not_found_and_watched_in_vain),
        HEALTH_TEST(a_watcher_sees_the_present_and_every_change_once),
        HEALTH_TEST(a_scheduler_that_says_nothing_is_not_ready),
        HEALTH_TEST(watches_that_begin_amid_changes_miss_none),
        HEALTH_TEST(watches_end_when_the_service_does),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
