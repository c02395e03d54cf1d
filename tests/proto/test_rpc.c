/* test_rpc.c - calls and streams of proto/rpc.h between a server and a client on loopback */
#include "tests/proto/service.h"

#include <pthread.h>

static void a_unary_call_brings_back_its_bytes(void **state)
{
    (void)state;
    struct seen *seen = open_both();
    const size_t sizes[] = {0, 1, 7, 4096, 70001, LIMIT};
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++)
        expect_unary(seen, "/t/Echo", sizes[i], RPC_OK, NULL);
    close_both(seen);
}

static void an_error_keeps_its_status_and_words(void **state)
{
    (void)state;
    struct seen *seen = open_both();
    expect_unary(seen, "/t/Refuse", 3, RPC_INVALID_ARGUMENT, "sampling.temperature: -1 is below 0");
    close_both(seen);
}

static void an_unknown_method_is_unimplemented(void **state)
{
    (void)state;
    struct seen *seen = open_both();
    expect_unary(seen, "/t/Nothing", 3, RPC_UNIMPLEMENTED, "unknown method /t/Nothing");
    struct rpc_stream *stream = open_stream(seen, "/u/Chat", NULL, 0, 5);
    expect_end(stream, RPC_UNIMPLEMENTED, "/u/Chat");
    rpc_stream_close(stream);
    close_both(seen);
}

static void a_message_over_the_limit_is_refused_by_either_side(void **state)
{
    (void)state;
    struct seen *seen = open_both();
    expect_unary(seen, "/t/Echo", LIMIT + 1, RPC_RESOURCE_EXHAUSTED, "over the limit of 1048576");
    struct error err;
    struct rpc_options generous = {.message_limit = 4 * LIMIT};
    struct rpc_channel *strict = seen->channel;
    assert_int_equal(rpc_channel_open(&seen->channel, seen->address, &generous, &err), 0);
    expect_unary(seen, "/t/Echo", LIMIT + 1, RPC_RESOURCE_EXHAUSTED, "over the limit of 1048576 bytes (--limit)");
    expect_unary(seen, "/t/Echo", 2 * LIMIT + 1, RPC_RESOURCE_EXHAUSTED, "2097152"); /* in core's words */
    struct rpc_stream *chat = open_stream(seen, "/t/Chat", NULL, 0, 5);
    char *big = mem_new(LIMIT + 1, 1);
    assert_int_equal(rpc_stream_write(chat, big, LIMIT + 1, &err), 0);
    free(big);
    expect_end(chat, RPC_RESOURCE_EXHAUSTED, "over the limit of 1048576 bytes (--limit)");
    rpc_stream_close(chat);
    struct rpc_stream *count = open_stream(seen, "/t/Count", (int[2]){0, 0}, sizeof(int[2]), 5);
    expect_end(count, RPC_OK, NULL);
    rpc_stream_close(count);
    expect_unary(seen, "/t/Echo", 5, RPC_OK, NULL); /* and the service goes on */
    rpc_channel_close(strict);
    close_both(seen);
}

static void a_server_that_sends_too_much_ends_the_call(void **state)
{
    (void)state;
    struct seen *seen = open_both();
    struct rpc_stream *stream = open_stream(seen, "/t/Hold", "", 0, 5);
    assert_true(wait_for(&seen->started, 1, 3));
    char *big = mem_new(LIMIT + 1, 1);
    assert_int_equal(rpc_call_send(seen->held, big, LIMIT + 1), -1);
    free(big);
    expect_end(stream, RPC_RESOURCE_EXHAUSTED, "over the limit of 1048576");
    rpc_stream_close(stream);
    close_both(seen);
}

static void read_counted(struct rpc_stream *stream, int n, size_t size)
{
    struct rpc_bytes message;
    struct error err = {""};
    for (int i = 0; i < n; i++) {
        int result = rpc_stream_read(stream, 8, &message, NULL, &err), k;
        if (result != 1)
            fail_msg("message %d of %d: %d %s", i, n, result, err.text);
        assert_int_equal(message.size, size);
        memcpy(&k, message.data, sizeof k);
        assert_int_equal(k, i);
        free(message.data);
    }
    expect_end(stream, RPC_OK, NULL);
}

static void a_stream_delivers_all_messages_in_order(void **state)
{
    (void)state;
    struct seen *seen = open_both();
    const int orders[][2] = {{0, 4}, {1, 4}, {1000, 4}, {37, 70001}, {3, LIMIT}};
    for (size_t i = 0; i < sizeof orders / sizeof *orders; i++) {
        struct rpc_stream *stream = open_stream(seen, "/t/Count", orders[i], sizeof orders[i], 10);
        read_counted(stream, orders[i][0], (size_t)orders[i][1]);
        rpc_stream_close(stream);
    }
    close_both(seen);
}

static void sixty_four_streams_run_at_once(void **state)
{
    (void)state;
    enum { STREAMS = 64, MESSAGES = 50 };
    struct seen *seen = open_both();
    struct rpc_stream *streams[STREAMS];
    const int order[2] = {MESSAGES, 300};
    for (int i = 0; i < STREAMS; i++)
        streams[i] = open_stream(seen, "/t/Count", order, sizeof order, 20);
    for (int i = STREAMS - 1; i >= 0; i--)
        read_counted(streams[i], MESSAGES, 300);
    for (int i = 0; i < STREAMS; i++)
        rpc_stream_close(streams[i]);
    close_both(seen);
}

static void *write_many(void *stream)
{
    struct error err;
    for (int i = 0; i < 500; i++)
        if (rpc_stream_write(stream, &i, sizeof i, &err))
            return stream;
    return rpc_stream_half_close(stream, &err) ? stream : NULL;
}

static void a_chat_goes_both_ways_at_once_and_ends_with_the_half_close(void **state)
{
    (void)state;
    struct seen *seen = open_both();
    struct rpc_stream *chat = open_stream(seen, "/t/Chat", NULL, 0, 10);
    pthread_t writer;
    void *failed;
    pthread_create(&writer, NULL, write_many, chat);
    read_counted(chat, 500, sizeof(int));
    pthread_join(writer, &failed);
    assert_null(failed);
    struct error err = {""};
    assert_int_equal(rpc_stream_write(chat, "x", 1, &err), -1);
    assert_non_null(strstr(err.text, "has ended"));
    rpc_stream_close(chat);
    assert_int_equal(seen->half_closed, 1);
    assert_true(wait_for(&seen->closed, 1, 3));
    assert_int_equal(seen->cancelled, 0);
    close_both(seen);
}

static void a_read_that_finds_nothing_ends_in_time(void **state)
{
    (void)state;
    struct seen *seen = open_both();
    struct rpc_stream *chat = open_stream(seen, "/t/Chat", NULL, 0, 0);
    struct rpc_bytes message;
    double start = clock_seconds();
    assert_int_equal(rpc_stream_read(chat, 0.2, &message, NULL, NULL), -2);
    double took = clock_seconds() - start;
    assert_true(took >= 0.19 && took < 2);
    assert_int_equal(rpc_stream_read(chat, 0, &message, NULL, NULL), -2);
    rpc_stream_close(chat);
    close_both(seen);
}

static void a_deadline_ends_the_call_on_both_sides(void **state)
{
    (void)state;
    struct seen *seen = open_both();
    struct rpc_stream *stream = open_stream(seen, "/t/Hold", "", 0, 0.3);
    assert_true(wait_for(&seen->started, 1, 3));
    double left = rpc_call_time_left(seen->held);
    assert_true(left > -1 && left <= 0.3);
    expect_end(stream, RPC_DEADLINE_EXCEEDED, "within 0.3 s");
    assert_true(wait_for(&seen->cancelled, 1, 2));
    rpc_stream_close(stream);
    rpc_call_drop(atomic_exchange(&seen->held, NULL));
    stream = open_stream(seen, "/t/Hold", "", 0, 0);
    assert_true(wait_for(&seen->started, 2, 3));
    assert_true(rpc_call_time_left(seen->held) > 1e6);
    rpc_stream_close(stream);
    close_both(seen);
}

static void a_cancel_by_the_client_is_seen_within_a_second(void **state)
{
    (void)state;
    struct seen *seen = open_both();
    struct rpc_stream *stream = open_stream(seen, "/t/Hold", "", 0, 0);
    assert_true(wait_for(&seen->started, 1, 3));
    assert_int_equal(rpc_call_send(seen->held, "x", 1), 0);
    rpc_stream_cancel(stream);
    assert_true(wait_for(&seen->cancelled, 1, 1));
    struct rpc_bytes message;
    enum rpc_status status = RPC_OK;
    while (rpc_stream_read(stream, 3, &message, &status, NULL) == 1)
        free(message.data);
    assert_int_equal(status, RPC_CANCELLED);
    rpc_stream_close(stream);
    stream = open_stream(seen, "/t/Chat", NULL, 0, 0);
    assert_true(wait_for(&seen->started, 2, 3));
    rpc_stream_close(stream); /* closing an open stream cancels it */
    assert_true(wait_for(&seen->cancelled, 2, 1));
    assert_int_equal(seen->closed, 2);
    close_both(seen);
}

static void a_slow_reader_shows_as_backlog_and_can_be_dropped(void **state)
{
    (void)state;
    enum { PIECE = 100000, ALLOWED = 40 * PIECE };
    struct seen *seen = open_both();
    struct rpc_stream *stream = open_stream(seen, "/t/Hold", "", 0, 0);
    assert_true(wait_for(&seen->started, 1, 3));
    char *piece = mem_new(PIECE, 1);
    /* What the sockets and windows of the transport hold is not backlog; it is bounded, so the backlog grows in the end. */
    double end = clock_seconds() + 10;
    size_t settled = 0;
    while (settled < ALLOWED && clock_seconds() < end) {
        while (rpc_call_backlog(seen->held) < ALLOWED)
            assert_int_equal(rpc_call_send(seen->held, piece, PIECE), 0);
        clock_sleep(0.1);
        settled = rpc_call_backlog(seen->held);
    }
    free(piece);
    assert_true(settled >= ALLOWED && settled < ALLOWED + PIECE);
    rpc_call_abort(seen->held, RPC_RESOURCE_EXHAUSTED, "the client reads too slowly");
    assert_true(wait_for(&seen->closed, 1, 3));
    assert_int_equal(rpc_call_backlog(seen->held), 0);
    struct rpc_bytes message;
    enum rpc_status status = RPC_OK;
    struct error err = {""};
    while (rpc_stream_read(stream, 3, &message, &status, &err) == 1)
        free(message.data);
    assert_int_equal(status, RPC_RESOURCE_EXHAUSTED);
    assert_string_equal(err.text, "the client reads too slowly");
    rpc_stream_close(stream);
    close_both(seen);
}

static void a_finish_waits_for_what_is_queued(void **state)
{
    (void)state;
    struct seen *seen = open_both();
    struct rpc_stream *stream = open_stream(seen, "/t/Hold", "", 0, 0);
    assert_true(wait_for(&seen->started, 1, 3));
    char *piece = mem_new(LIMIT, 1);
    for (int i = 0; i < 8; i++)
        assert_int_equal(rpc_call_send(seen->held, piece, LIMIT), 0);
    rpc_call_finish(seen->held, RPC_UNAVAILABLE, "after eight");
    free(piece);
    struct rpc_bytes message;
    for (int i = 0; i < 8; i++) {
        assert_int_equal(rpc_stream_read(stream, 5, &message, NULL, NULL), 1);
        free(message.data);
    }
    expect_end(stream, RPC_UNAVAILABLE, "after eight");
    rpc_stream_close(stream);
    close_both(seen);
}

struct watched { /* by one thread that reads several streams */
    pthread_mutex_t mutex;
    pthread_cond_t changed;
    int told[8];
};
struct watched_stream {
    struct watched *watched;
    int index;
};

static void watched_ready(void *user)
{
    struct watched_stream *stream = user;
    pthread_mutex_lock(&stream->watched->mutex);
    stream->watched->told[stream->index] = 1;
    pthread_cond_signal(&stream->watched->changed);
    pthread_mutex_unlock(&stream->watched->mutex);
}

static int watched_next(struct watched *watched)
{
    struct timespec until;
    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec += 8;
    pthread_mutex_lock(&watched->mutex);
    for (;;) {
        for (int i = 0; i < 8; i++)
            if (watched->told[i]) {
                watched->told[i] = 0;
                pthread_mutex_unlock(&watched->mutex);
                return i;
            }
        if (pthread_cond_timedwait(&watched->changed, &watched->mutex, &until))
            fail_msg("nothing was told for 8 s");
    }
}

static void one_thread_reads_many_streams(void **state)
{
    (void)state;
    struct seen *seen = open_both();
    struct watched watched = {.mutex = PTHREAD_MUTEX_INITIALIZER, .changed = PTHREAD_COND_INITIALIZER};
    struct watched_stream users[8];
    struct rpc_stream *streams[8];
    int got[8] = {0}, open = 8;
    bool over[8] = {false};
    for (int i = 0; i < 8; i++) {
        streams[i] = open_stream(seen, i == 7 ? "/t/Refuse" : "/t/Count", (int[2]){50 * i, 100}, sizeof(int[2]), 8);
        if (i == 3)
            clock_sleep(0.05); /* so that something is there before somebody watches */
        users[i] = (struct watched_stream){&watched, i};
        rpc_stream_watch(streams[i], watched_ready, &users[i]);
    }
    while (open) {
        int i = watched_next(&watched), result;
        struct rpc_bytes message;
        struct error err;
        if (over[i])
            continue; /* told once more */
        while ((result = rpc_stream_read(streams[i], 0, &message, NULL, &err)) == 1) {
            free(message.data);
            got[i]++;
        }
        assert_int_equal(result, result == -2 ? -2 : i == 7 ? -1 : 0);
        over[i] = result != -2;
        open -= over[i];
    }
    for (int i = 0; i < 8; i++) {
        assert_int_equal(got[i], i == 7 ? 1 : 50 * i);
        rpc_stream_close(streams[i]);
    }
    close_both(seen);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(one_thread_reads_many_streams),
        cmocka_unit_test(a_unary_call_brings_back_its_bytes),
        cmocka_unit_test(an_error_keeps_its_status_and_words),
        cmocka_unit_test(an_unknown_method_is_unimplemented),
        cmocka_unit_test(a_message_over_the_limit_is_refused_by_either_side),
        cmocka_unit_test(a_server_that_sends_too_much_ends_the_call),
        cmocka_unit_test(a_stream_delivers_all_messages_in_order),
        cmocka_unit_test(sixty_four_streams_run_at_once),
        cmocka_unit_test(a_chat_goes_both_ways_at_once_and_ends_with_the_half_close),
        cmocka_unit_test(a_read_that_finds_nothing_ends_in_time),
        cmocka_unit_test(a_deadline_ends_the_call_on_both_sides),
        cmocka_unit_test(a_cancel_by_the_client_is_seen_within_a_second),
        cmocka_unit_test(a_slow_reader_shows_as_backlog_and_can_be_dropped),
        cmocka_unit_test(a_finish_waits_for_what_is_queued),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
