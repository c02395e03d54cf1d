/* test_leader.c - the leader against a coordinator that this program plays: attach, steps, heartbeats, refusal, loss */
#include "tests/worker/engine_checks.h"

#include <pthread.h>
#include <stdatomic.h>

#include "base/clock.h"
#include "worker/leader.h"

/* ---- the coordinator ---- */

struct coordinator {
    struct rpc_server *server;
    char address[64];
    const char *refusal; /* NULL: welcome */
    pthread_mutex_t lock;
    struct rpc_call *call; /* held; of the attached group */
    struct step_hello hello;
    struct step_verdict verdict; /* the last one */
    int attached, verdicts, heartbeats;
    uint64_t heartbeat; /* the step that the last one named */
};

static void coordinator_start(struct rpc_call *call, const void *request, size_t size, void *context)
{
    (void)request;
    (void)size;
    rpc_call_set(call, context);
}

static void coordinator_say(struct rpc_call *call, const struct step_message *message)
{
    struct rpc_bytes bytes;
    step_message_pack(message, false, &bytes);
    rpc_call_send(call, bytes.data, bytes.size);
    free(bytes.data);
}

static void coordinator_greet(struct coordinator *c, struct rpc_call *call, const struct step_hello *hello)
{
    const struct step_message welcome = {.kind = STEP_WELCOME, .heartbeat_ms = 100};
    c->hello = *hello;
    c->attached++;
    if (c->refusal) {
        rpc_call_finish(call, RPC_FAILED_PRECONDITION, c->refusal);
        return;
    }
    rpc_call_hold(call);
    if (c->call)
        rpc_call_drop(c->call);
    c->call = call;
    coordinator_say(call, &welcome);
}

static void coordinator_message(struct rpc_call *call, const void *data, size_t size)
{
    struct coordinator *c = rpc_call_get(call);
    struct step_message message;
    assert_int_equal(step_message_unpack(&message, data, size, true, NULL), 0);
    pthread_mutex_lock(&c->lock);
    if (message.kind == STEP_HELLO)
        coordinator_greet(c, call, &message.hello);
    if (message.kind == STEP_HEARTBEAT) {
        c->heartbeats++;
        c->heartbeat = message.heartbeat;
    }
    if (message.kind == STEP_VERDICT) {
        engine_verdict_free(&c->verdict);
        c->verdict = message.verdict;
        c->verdict.answers = mem_new((size_t)message.verdict.n_answers, sizeof *c->verdict.answers);
        memcpy(c->verdict.answers, message.verdict.answers, (size_t)message.verdict.n_answers * sizeof *c->verdict.answers);
        c->verdicts++;
    }
    pthread_mutex_unlock(&c->lock);
    step_message_free(&message);
}

static void coordinator_half_closed(struct rpc_call *call)
{
    rpc_call_finish(call, RPC_OK, "");
}

static void coordinator_closed(struct rpc_call *call, bool cancelled)
{
    (void)call;
    (void)cancelled;
}

static const struct rpc_method coordinator_methods[] = {
    {ATTACH_PATH, RPC_BIDIRECTIONAL, coordinator_start, coordinator_message, coordinator_half_closed, coordinator_closed},
    {0},
};

/* port 0 = any */
static void coordinator_open(struct coordinator *c, int port)
{
    struct error err;
    char address[64];
    const char *addresses[] = {address};
    snprintf(address, sizeof address, "127.0.0.1:%d", port);
    const struct rpc_service services[] = {{.methods = coordinator_methods, .context = c}, {0}};
    if (rpc_server_open(&c->server, addresses, 1, services, NULL, &err) != 0)
        fail_msg("%s", err.text);
    snprintf(c->address, sizeof c->address, "127.0.0.1:%d", rpc_server_port(c->server, 0));
}

static void coordinator_close(struct coordinator *c)
{
    if (c->call)
        rpc_call_drop(c->call);
    c->call = NULL;
    if (c->server)
        rpc_server_close(c->server, 0);
    c->server = NULL;
}

static int coordinator_count(struct coordinator *c, const int *count)
{
    pthread_mutex_lock(&c->lock);
    int n = *count;
    pthread_mutex_unlock(&c->lock);
    return n;
}

/* Until *count reaches wanted; at most 20 s. */
static void coordinator_await(struct coordinator *c, const int *count, int wanted)
{
    double until = clock_seconds() + 20;
    int have;
    while ((have = coordinator_count(c, count)) < wanted) {
        if (clock_seconds() > until)
            fail_msg("waited 20 s for %d, have %d", wanted, have);
        clock_sleep(0.01);
    }
}

/* ---- the group ---- */

struct fixture {
    struct comm *comm;
    struct group group;
    struct post post;
    struct step_hello hello;
    struct stop *stop;
    struct coordinator coordinator;
    struct golden *text, *scene;
    char address[64]; /* the leader's own: the coordinator that comes back writes its again */
    pthread_t thread;
    struct error err;
    int rc;
    atomic_bool over;
};

static void *leader_thread(void *arg)
{
    struct fixture *f = arg;
    const struct link_options options = {f->address, &f->hello, f->stop, NULL};
    f->rc = leader_run(&f->post, &options, &f->err);
    atomic_store(&f->over, true);
    return NULL;
}

static void leader_start(struct fixture *f)
{
    memcpy(f->address, f->coordinator.address, sizeof f->address);
    atomic_store(&f->over, false);
    assert_int_equal(pthread_create(&f->thread, NULL, leader_thread, f), 0);
}

/* The leader's end within `seconds`. */
static void leader_await(struct fixture *f, double seconds)
{
    double until = clock_seconds() + seconds;
    while (!atomic_load(&f->over)) {
        if (clock_seconds() > until)
            fail_msg("the leader goes on after %g s", seconds);
        clock_sleep(0.01);
    }
    pthread_join(f->thread, NULL);
}

static int setup(void **state)
{
    struct fixture *f = mem_new(1, sizeof *f);
    const struct watchdog_options watch = {.timeout = 60};
    assert_int_equal(comm_open_one(&f->comm, NULL), 0);
    group_open(&f->group, GOLDEN_TARGET, f->comm, GROUP_POSITIONS);
    assert_int_equal(watchdog_open(&f->post.watchdog, &watch, NULL), 0);
    assert_int_equal(stop_open(&f->stop, NULL), 0);
    f->post.comm = f->comm;
    f->post.engine = f->group.engine;
    f->hello =
        (struct step_hello){.protocol = STEP_PROTOCOL, .ranks = 1, .pages = 32, .page_positions = 64, .max_rows = GROUP_ROWS};
    snprintf(f->hello.version, sizeof f->hello.version, "1.2.3");
    snprintf(f->hello.model, sizeof f->hello.model, "tiny");
    f->text = golden_read(GOLDEN_TARGET, "text-only");
    f->scene = golden_read(GOLDEN_TARGET, "scene");
    pthread_mutex_init(&f->coordinator.lock, NULL);
    coordinator_open(&f->coordinator, 0);
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    coordinator_close(&f->coordinator);
    engine_verdict_free(&f->coordinator.verdict);
    stop_close(f->stop);
    watchdog_close(f->post.watchdog);
    golden_free(f->text);
    golden_free(f->scene);
    group_close(&f->group);
    comm_close(f->comm);
    free(f);
    return 0;
}

/* The verdict on a step; the caller frees it. */
static struct step_verdict wire_verdict(struct fixture *f, struct step_span *span, uint64_t id)
{
    struct coordinator *c = &f->coordinator;
    const struct step_message message = {.kind = STEP_STEP, .step = {.id = id, .spans = span, .n_spans = 1}};
    int before = coordinator_count(c, &c->verdicts);
    coordinator_say(c->call, &message);
    coordinator_await(c, &c->verdicts, before + 1);
    pthread_mutex_lock(&c->lock);
    struct step_verdict verdict = c->verdict;
    c->verdict = (struct step_verdict){0};
    pthread_mutex_unlock(&c->lock);
    return verdict;
}

/* One step of a request over the wire. */
static void wire_step(struct fixture *f, struct request *r, uint64_t id)
{
    struct step_span span = request_span(r, 50);
    struct step_verdict verdict = wire_verdict(f, &span, id);
    assert_string_equal(verdict.error, "");
    assert_int_equal(verdict.step, id);
    assert_int_equal(verdict.n_answers, 1);
    assert_true(verdict.compute_ms > 0);
    request_take(r, &span, &verdict.answers[0]);
    engine_verdict_free(&verdict);
}

/* A step that counts on positions of the sequence which a group without any does not have. */
static void wire_check_empty(struct fixture *f, struct request *r, int positions)
{
    struct step_span span = request_span(r, 50);
    char refusal[64];
    span.length = positions;
    snprintf(refusal, sizeof refusal, "the group has 0 positions, the step counts on %d", positions);
    struct step_verdict verdict = wire_verdict(f, &span, 1);
    assert_non_null(strstr(verdict.error, refusal));
    engine_verdict_free(&verdict);
}

static void wire_pictures(struct fixture *f, const struct golden *golden)
{
    const struct golden_picture *p = &golden->pictures[0];
    for (int first = 0; first < p->count; first += 11) {
        const struct step_message message = {
            .kind = STEP_PIECE,
            .piece = {.hash = {p->hash[0], p->hash[1]},
                      .rows = p->count,
                      .width = p->width,
                      .first = first,
                      .n = least(11, p->count - first),
                      .features = p->features + (size_t)first * (size_t)p->width},
        };
        coordinator_say(f->coordinator.call, &message);
    }
}

/* ---- tests ---- */

static void a_group_attaches_and_answers_steps(void **state)
{
    struct fixture *f = *state;
    struct coordinator *c = &f->coordinator;
    struct request r = request_of(3, f->scene, 4, DRAFTS_MIXED);
    uint64_t id = 100;
    leader_start(f);
    coordinator_await(c, &c->attached, 1);
    assert_string_equal(c->hello.version, "1.2.3");
    assert_string_equal(c->hello.model, "tiny");
    assert_int_equal(c->hello.max_rows, GROUP_ROWS);
    wire_pictures(f, f->scene);
    while (r.n < GOLDEN_TOKENS)
        wire_step(f, &r, id++);
    assert_tokens(r.tokens, f->scene->greedy, GOLDEN_TOKENS);
    coordinator_await(c, &c->heartbeats, coordinator_count(c, &c->heartbeats) + 2);
    pthread_mutex_lock(&c->lock); /* they go on */
    assert_int_equal(c->heartbeat, id - 1);
    pthread_mutex_unlock(&c->lock);
    rpc_call_finish(c->call, RPC_OK, "");
    leader_await(f, 5);
    assert_int_equal(f->rc, 0);
}

static void a_refused_step_is_answered_and_the_group_goes_on(void **state)
{
    struct fixture *f = *state;
    struct coordinator *c = &f->coordinator;
    struct request r = request_of(3, f->text, 0, DRAFTS_RIGHT);
    leader_start(f);
    coordinator_await(c, &c->attached, 1);
    wire_check_empty(f, &r, 5);
    wire_step(f, &r, 2);
    rpc_call_finish(c->call, RPC_OK, "");
    leader_await(f, 5);
    assert_int_equal(f->rc, 0);
}

static void a_refused_group_ends_with_the_reason(void **state)
{
    struct fixture *f = *state;
    pthread_mutex_lock(&f->coordinator.lock); /* the server runs */
    f->coordinator.refusal = "version 9.9 is wanted";
    pthread_mutex_unlock(&f->coordinator.lock);
    leader_start(f);
    leader_await(f, 5);
    assert_int_equal(f->rc, -1);
    assert_non_null(strstr(f->err.text, "version 9.9 is wanted"));
    assert_non_null(strstr(f->err.text, "refused"));
    assert_int_equal(coordinator_count(&f->coordinator, &f->coordinator.attached), 1);
}

/* A server that does not know the workers' method, as on the public port. */
static void a_wrong_address_ends_the_group_at_once(void **state)
{
    struct fixture *f = *state;
    const struct rpc_service none[] = {{0}};
    struct rpc_server *server;
    const char *addresses[] = {"127.0.0.1:0"};
    assert_int_equal(rpc_server_open(&server, addresses, 1, none, NULL, NULL), 0);
    coordinator_close(&f->coordinator);
    snprintf(f->coordinator.address, sizeof f->coordinator.address, "127.0.0.1:%d", rpc_server_port(server, 0));
    leader_start(f);
    leader_await(f, 5);
    assert_int_equal(f->rc, -1);
    assert_non_null(strstr(f->err.text, "UNIMPLEMENTED"));
    rpc_server_close(server, 0);
}

static void a_lost_coordinator_that_comes_back_finds_an_empty_group(void **state)
{
    struct fixture *f = *state;
    struct coordinator *c = &f->coordinator;
    struct request r = request_of(3, f->text, 0, DRAFTS_RIGHT);
    leader_start(f);
    coordinator_await(c, &c->attached, 1);
    wire_step(f, &r, 1);
    int port = rpc_server_port(c->server, 0);
    coordinator_close(c);
    clock_sleep(0.5);
    coordinator_open(c, port);
    coordinator_await(c, &c->attached, 2);
    struct request again = request_of(3, f->text, 0, DRAFTS_RIGHT);
    wire_check_empty(f, &again, r.length);
    while (again.n < 3)
        wire_step(f, &again, 2);
    assert_tokens(again.tokens, f->text->greedy, 3);
    rpc_call_finish(c->call, RPC_OK, "");
    leader_await(f, 5);
    assert_int_equal(f->rc, 0);
}

static void a_coordinator_that_stays_away_ends_the_group_within_5_seconds(void **state)
{
    struct fixture *f = *state;
    struct coordinator *c = &f->coordinator;
    leader_start(f);
    coordinator_await(c, &c->attached, 1);
    coordinator_close(c);
    leader_await(f, 5);
    assert_int_equal(f->rc, -1);
    assert_non_null(strstr(f->err.text, "no coordinator"));
}

/* gRPC's keepalive is content with a living connection; the heartbeat is about a living service. */
static void a_silent_coordinator_is_lost(void **state)
{
    struct fixture *f = *state;
    struct coordinator *c = &f->coordinator;
    leader_start(f);
    coordinator_await(c, &c->attached, 2); /* it never sends a heartbeat: after 5 s the group dials again */
    rpc_call_finish(c->call, RPC_OK, "");
    leader_await(f, 5);
    assert_int_equal(f->rc, 0);
}

static void a_message_that_makes_no_sense_ends_the_stream_not_the_group(void **state)
{
    struct fixture *f = *state;
    struct coordinator *c = &f->coordinator;
    leader_start(f);
    coordinator_await(c, &c->attached, 1);
    rpc_call_send(c->call, "\xff\xff\xff\xff", 4);
    coordinator_await(c, &c->attached, 2);
    rpc_call_finish(c->call, RPC_OK, "");
    leader_await(f, 5);
    assert_int_equal(f->rc, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_group_attaches_and_answers_steps, setup, teardown),
        cmocka_unit_test_setup_teardown(a_refused_step_is_answered_and_the_group_goes_on, setup, teardown),
        cmocka_unit_test_setup_teardown(a_refused_group_ends_with_the_reason, setup, teardown),
        cmocka_unit_test_setup_teardown(a_wrong_address_ends_the_group_at_once, setup, teardown),
        cmocka_unit_test_setup_teardown(a_lost_coordinator_that_comes_back_finds_an_empty_group, setup, teardown),
        cmocka_unit_test_setup_teardown(a_coordinator_that_stays_away_ends_the_group_within_5_seconds, setup, teardown),
        cmocka_unit_test_setup_teardown(a_silent_coordinator_is_lost, setup, teardown),
        cmocka_unit_test_setup_teardown(a_message_that_makes_no_sense_ends_the_stream_not_the_group, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
