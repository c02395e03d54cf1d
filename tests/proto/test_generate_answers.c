/* test_generate_answers.c - what the service says: events of an answer, what it tells of itself; packed, it comes back, and what is
 * wrong is refused with the field's name */
#include "tests/check.h"

#include <math.h>

#include "proto/generate.h"
#include "tests/proto/bytes.h"

static int try_response(const void *data, size_t size, struct error *err)
{
    struct generate_response response;
    int result = generate_response_unpack(&response, data, size, err);
    if (!result)
        generate_response_free(&response);
    return result;
}

static int try_server_info(const void *data, size_t size, struct error *err)
{
    struct server_info info;
    return server_info_unpack(&info, data, size, err);
}

static int try_load(const void *data, size_t size, struct error *err)
{
    struct load_info info;
    return load_info_unpack(&info, data, size, err);
}

static int try_model_info(const void *data, size_t size, struct error *err)
{
    struct model_info info;
    return model_info_unpack(&info, data, size, err);
}

static int try_health(const void *data, size_t size, struct error *err)
{
    struct health_info info;
    return health_info_unpack(&info, data, size, err);
}

static int try_abort(const void *data, size_t size, struct error *err)
{
    char request_id[128];
    return abort_request_unpack(request_id, data, size, err);
}

static int try_aborted(const void *data, size_t size, struct error *err)
{
    bool aborted;
    return abort_response_unpack(&aborted, data, size, err);
}

static void unpack_response(struct generate_response *out, const struct generate_response *in)
{
    struct rpc_bytes bytes;
    struct error err;
    generate_response_pack(in, &bytes);
    if (generate_response_unpack(out, bytes.data, bytes.size, &err))
        fail_msg("%s", err.text);
    free(bytes.data);
    assert_int_equal(out->event, in->event);
    assert_string_equal(out->request_id, in->request_id);
}

static void a_prompt_event_comes_back(void **state)
{
    (void)state;
    const int grids[2][2] = {{23, 37}, {1, 65536}};
    struct generate_response a = {.request_id = "x",
                                  .event = GENERATE_PROMPT,
                                  .usage = {900, 851, 0},
                                  .grids = grids,
                                  .n_grids = 2},
                             b;
    unpack_response(&b, &a);
    assert_int_equal(b.usage.prompt_tokens, 900);
    assert_int_equal(b.usage.image_tokens, 851);
    assert_int_equal(b.n_grids, 2);
    assert_memory_equal(b.grids, grids, sizeof grids);
    generate_response_free(&b);
}

static void a_token_event_comes_back_with_and_without_drafts(void **state)
{
    (void)state;
    const int32_t ids[3] = {11, 0, INT32_MAX};
    const bool accepted[3] = {true, false, true};
    const char *const texts[3] = {"a", "", "ß"};
    struct generate_response a = {.request_id = "", .event = GENERATE_TOKEN, .output = 15, .ids = ids, .n_ids = 3, .text = "aß"}, b;
    unpack_response(&b, &a);
    assert_int_equal(b.output, 15);
    assert_int_equal(b.n_ids, 3);
    assert_memory_equal(b.ids, ids, sizeof ids);
    assert_string_equal(b.text, "aß");
    assert_string_equal(b.rejected_text, "");
    assert_null(b.accepted);
    assert_null(b.token_texts);
    assert_null(b.logprobs);
    generate_response_free(&b);
    a.accepted = accepted;
    a.token_texts = texts;
    a.rejected_text = " no";
    const struct logprobs logprobs[3] = {
        {.chosen = -1, .top_ids = {7, 0}, .top = {-0.5f, -1}, .n_top = 2}, {.chosen = -2}, {.chosen = 0}};
    a.logprobs = logprobs;
    unpack_response(&b, &a);
    assert_memory_equal(b.accepted, accepted, sizeof accepted);
    for (int i = 0; i < 3; i++)
        assert_string_equal(b.token_texts[i], texts[i]);
    assert_string_equal(b.rejected_text, " no");
    assert_memory_equal(b.logprobs, logprobs, sizeof logprobs);
    generate_response_free(&b);
}

static void a_finished_event_comes_back(void **state)
{
    (void)state;
    struct generate_response a = {.request_id = "x",
                                  .event = GENERATE_FINISHED,
                                  .output = 3,
                                  .reason = "stop",
                                  .stop_match = "<|im_end|>",
                                  .usage = {10, 4, 256},
                                  .speculation = {4, 100, 400, 250, {90, 80, 50, 30}, "massv", "the drafter failed"},
                                  .timing = {0.5, 1.5, 20, 25.25, 1e4, 1.002e4},
                                  .seed = UINT64_MAX},
                             b;
    unpack_response(&b, &a);
    assert_int_equal(b.output, 3);
    assert_string_equal(b.reason, "stop");
    assert_string_equal(b.stop_match, "<|im_end|>");
    assert_true(b.seed == UINT64_MAX);
    assert_memory_equal(&b.usage, &a.usage, sizeof a.usage);
    assert_memory_equal(&b.timing, &a.timing, sizeof a.timing);
    assert_int_equal(b.speculation.draft_tokens_per_step, 4);
    assert_int_equal(b.speculation.steps, 100);
    assert_int_equal(b.speculation.drafted, 400);
    assert_int_equal(b.speculation.accepted, 250);
    assert_memory_equal(b.speculation.accepted_per_position, a.speculation.accepted_per_position,
                        sizeof a.speculation.accepted_per_position);
    assert_string_equal(b.speculation.drafter, "massv");
    assert_string_equal(b.speculation.inactive, "the drafter failed");
    generate_response_free(&b);
}

static void a_wrong_response_is_refused_by_field(void **state)
{
    (void)state;
    static const struct bad_bytes rows[] = {
        BAD("", "event: none of prompt"),
        BAD("\x12\x06\x08\xff\xff\xff\xff\x0f", "prompt.prompt_tokens: 4294967295 is above"),
        BAD("\x12\x04\x08\x01\x10\x02", "prompt.image_tokens: 2 is above 1"),
        BAD("\x12\x04\x1a\x02\x08\x01", "prompt.grids[0].columns: 0 is below 1"),
        BAD("\x1a\x05\x0a\x01\x01\x1a\x00"
            "\x12\x00",
            "prompt: given twice, or beside"),
        BAD("\x1a\x07\x0a\x01\x01\x1a\x02\x01\x01", "token.accepted: 2 elements for 1 token_ids"),
        BAD("\x1a\x02\x2a\x00", "token.token_texts: 1 elements for 0 token_ids"),
        BAD("\x1a\x02\x3a\x00", "token.logprobs: 1 elements for 0 token_ids"),
        BAD("\x1a\x0c\x0a\x0a\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01", "token.token_ids[0]: -1"),
        BAD("\x1a\x02\x30\x10", "token.output_index: 16 is above 15"),
        BAD("\x2a\x02\x28\x10", "finished.output_index: 16 is above 15"),
        BAD("\x2a\x00", "finished.reason: \"\" is not stop"),
        BAD("\x2a\x0a\x0a\x04stop\x1a\x02\x08\x11", "finished.speculation.draft_tokens_per_step: 17 is above 16"),
        BAD("\x2a\x1b\x0a\x04stop\x1a\x13\x2a\x11\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0",
            "finished.speculation.accepted_per_position: 17 elements"),
        BAD("\x2a\x11\x0a\x04stop\x22\x09\x31\0\0\0\0\0\0\xf8\x7f", "finished.timing.total: nan"),
        BAD("\x2a\x0a\x0a\x04stop\x12\x02\x10\x01", "finished.usage.image_tokens: 1 is above 0"),
        BAD("\x2a\x0a\x0a\x04stop\x12\x02\x20\x01", "finished.usage.cached_tokens: 1 is above 0"),
    };
    bytes_expect_refusals(rows, sizeof rows / sizeof *rows, try_response);
}

/* Member by member: what stands between them is nobody's. */
static void assert_activity(const struct server_activity *a, const struct server_activity *b)
{
    assert_true(a->uptime == b->uptime && a->kv_usage == b->kv_usage && a->kv_cached == b->kv_cached);
    assert_true(a->prefix_queries == b->prefix_queries && a->prefix_hits == b->prefix_hits);
    assert_true(a->prompt_tokens == b->prompt_tokens && a->generation_tokens == b->generation_tokens);
    assert_true(a->answered == b->answered && a->failed == b->failed && a->draft_rounds == b->draft_rounds);
    assert_true(a->drafted == b->drafted && a->accepted == b->accepted);
    assert_int_equal(a->n_groups, b->n_groups);
    for (int i = 0; i < a->n_groups; i++) {
        const struct group_activity *g = &a->groups[i], *h = &b->groups[i];
        assert_string_equal(g->host, h->host);
        assert_string_equal(g->device, h->device);
        assert_true(g->group == h->group && g->ranks == h->ranks && g->running == h->running && g->attached == h->attached);
        assert_true(g->steps == h->steps && g->kv_usage == h->kv_usage && g->step_seconds == h->step_seconds &&
                    g->compute_seconds == h->compute_seconds);
    }
}

static void assert_server(const struct server_info *a, const struct server_info *b)
{
    assert_string_equal(a->version, b->version);
    assert_string_equal(a->device, b->device);
    assert_true(a->groups == b->groups && a->ranks_per_group == b->ranks_per_group && a->kv_positions == b->kv_positions);
    assert_true(a->running == b->running && a->waiting == b->waiting && a->draft_tokens == b->draft_tokens);
    assert_int_equal(a->preemptions, b->preemptions);
    for (size_t i = 0; i < sizeof a->group_devices / sizeof *a->group_devices; i++)
        assert_string_equal(a->group_devices[i], b->group_devices[i]);
    assert_activity(&a->activity, &b->activity);
}

static void infos_come_back(void **state)
{
    (void)state;
    struct rpc_bytes bytes;
    struct server_activity activity = {
        12.5, 0.25, 0.5, 1, 2, 3, 4, 5, 6, 7, 8, 9, {{0, "h1", "cpu", 2, 1, true, 9, 0.5, 1.5, 1.25}}, ACTIVITY_GROUPS};
    activity.groups[ACTIVITY_GROUPS - 1] = (struct group_activity){.group = 31, .host = "h31"};
    struct server_info server = {"0.1.0", 9, 4,  1LL << 40,        3,
                                 7,       5, 12, "cpu: two cores", {"h100", "b", "", "d", "e", "f", "g", "h"},
                                 activity},
                       s;
    server_info_pack(&server, &bytes);
    assert_int_equal(server_info_unpack(&s, bytes.data, bytes.size, NULL), 0);
    assert_server(&s, &server);
    free(bytes.data);
    struct load_info load = {3, 32, 7, 128, 1LL << 40, 5 << 6, 7 << 6}, l;
    load_info_pack(&load, &bytes);
    assert_int_equal(load_info_unpack(&l, bytes.data, bytes.size, NULL), 0);
    assert_memory_equal(&l, &load, sizeof l);
    free(bytes.data);
    struct model_info model =
                          {"Qwen2.5-VL-32B", "qwen2.5-vl", "massv-3b", "massv", 128000, 152064, "00112233445566778899aabbccddeeff"},
                      m;
    model_info_pack(&model, &bytes);
    assert_int_equal(model_info_unpack(&m, bytes.data, bytes.size, NULL), 0);
    assert_memory_equal(&m, &model, sizeof m);
    free(bytes.data);
    struct health_info healths[] = {{"READY", ""}, {"NOT_READY", "no worker group is attached"}}, h;
    for (int i = 0; i < 2; i++) {
        health_info_pack(&healths[i], &bytes);
        assert_int_equal(health_info_unpack(&h, bytes.data, bytes.size, NULL), 0);
        assert_memory_equal(&h, &healths[i], sizeof h);
        free(bytes.data);
    }
}

static void aborts_come_back(void **state)
{
    (void)state;
    struct rpc_bytes bytes;
    char request_id[128];
    abort_request_pack("req-1", &bytes);
    assert_int_equal(abort_request_unpack(request_id, bytes.data, bytes.size, NULL), 0);
    assert_string_equal(request_id, "req-1");
    free(bytes.data);
    for (int i = 0; i < 2; i++) {
        bool aborted = !i;
        abort_response_pack(i, &bytes);
        assert_int_equal(abort_response_unpack(&aborted, bytes.data, bytes.size, NULL), 0);
        assert_int_equal(aborted, i);
        free(bytes.data);
    }
}

static void wrong_infos_are_refused_by_field(void **state)
{
    (void)state;
    static const struct bad_bytes server[] = {
        BAD("\x0a\x20"
            "01234567890123456789012345678901",
            "version: 32 bytes are above 31"),
        BAD("\x10\xff\xff\xff\xff\x0f", "groups: 4294967295 is above"),
        BAD("\x20\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01", "kv_positions: 18446744073709551615"),
        BAD("\x38\x11", "draft_tokens: 17 is above 16"),
        BAD("\x42\x01\x80", "device: is not UTF-8"),
        BAD("\xa2\x01\x09\x49\x00\x00\x00\x00\x00\x00\xf8\x7f", "activity.kv_usage: "),
        BAD("\xa2\x01\x09\x09\x00\x00\x00\x00\x00\x00\xf0\xbf", "activity.uptime_seconds: -1"),
        BAD("\xa2\x01\x08\x52\x06\x20\xff\xff\xff\xff\x0f", "activity.groups[0].ranks: 4294967295 is above"),
    };
    static const struct bad_bytes load[] = {
        BAD("\x20\xff\xff\xff\xff\x0f", "max_waiting: 4294967295 is above"),
        BAD("\x28\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01", "kv_positions: 18446744073709551615"),
        BAD("\x28\x40\x30\x41", "kv_positions_reserved: 65 is above the 64"),
        BAD("\x28\x40\x30\x3f\x38\x02", "kv_positions_cached: 2 is above the 1 that are not reserved"),
    };
    static const struct bad_bytes model[] = {
        BAD("\x22\x10"
            "0123456789012345",
            "drafter_kind: 16 bytes are above 15"),
        BAD("\x30\xff\xff\xff\xff\x0f", "vocabulary: 4294967295"),
        BAD("\x3a\x28"
            "0123456789012345678901234567890123456789",
            "fingerprint: 40 bytes are above 39"),
    };
    static const struct bad_bytes health[] = {
        BAD("", "state: \"\" is not STARTING"),
        BAD("\x0a\x02OK", "state: \"OK\" is not"),
    };
    static const struct bad_bytes aborts[] = {
        BAD("", "request_id: empty"),
        BAD("\x0a\x03"
            "ab",
            "request_id: broken"),
    };
    bytes_expect_refusals(server, sizeof server / sizeof *server, try_server_info);
    bytes_expect_refusals(load, sizeof load / sizeof *load, try_load);
    bytes_expect_refusals(model, sizeof model / sizeof *model, try_model_info);
    bytes_expect_refusals(health, sizeof health / sizeof *health, try_health);
    bytes_expect_refusals(aborts, sizeof aborts / sizeof *aborts, try_abort);
}

static void damaged_answers_never_crash(void **state)
{
    (void)state;
    struct rpc_bytes bytes;
    int grids[2][2] = {{4, 6}, {1, 1}};
    const int32_t ids[3] = {1, 2, 3};
    const bool accepted[3] = {true, true, false};
    const char *const texts[3] = {"a", "ß", ""};
    struct generate_response responses[3] = {
        {.request_id = "r", .event = GENERATE_PROMPT, .grids = (const int(*)[2])grids, .n_grids = 2, .usage = {30, 25, 0}},
        {.request_id = "r",
         .event = GENERATE_TOKEN,
         .ids = ids,
         .n_ids = 3,
         .text = "aß",
         .accepted = accepted,
         .token_texts = texts},
        {.request_id = "r", .event = GENERATE_FINISHED, .reason = "stop", .speculation = {5, 1, 2, 3, {1, 1}, "massv", ""}},
    };
    for (int i = 0; i < 3; i++) {
        generate_response_pack(&responses[i], &bytes);
        bytes_damage(&bytes, try_response);
        free(bytes.data);
    }
    bytes_try *all[] = {try_response, try_server_info, try_load, try_model_info, try_health, try_abort, try_aborted};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        bytes_garbage(all[i]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_prompt_event_comes_back),
        cmocka_unit_test(a_token_event_comes_back_with_and_without_drafts),
        cmocka_unit_test(a_finished_event_comes_back),
        cmocka_unit_test(a_wrong_response_is_refused_by_field),
        cmocka_unit_test(infos_come_back),
        cmocka_unit_test(aborts_come_back),
        cmocka_unit_test(wrong_infos_are_refused_by_field),
        cmocka_unit_test(damaged_answers_never_crash),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
