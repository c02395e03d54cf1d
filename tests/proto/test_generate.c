/* test_generate.c - requests: what is packed comes back, what is wrong is refused with the field's name */
#include "tests/check.h"

#include <math.h>

#include "proto/generate.h"
#include "tests/proto/bytes.h"

static int try_request(const void *data, size_t size, struct error *err)
{
    struct generate_request request;
    int result = generate_request_unpack(&request, data, size, err);
    if (!result)
        generate_request_free(&request);
    return result;
}

/* Two pictures in two turns, every parameter given. The parts are the caller's. */
static struct generate_request full_request(struct generate_turn turns[2], struct generate_part parts[4],
                                            struct generate_picture pictures[2])
{
    static char texts[][24] = {"What is this?", "", "user", "assistant", "req-1", "qwen"};
    static uint8_t files[2][5] = {{0xff, 0xd8, 0, 1, 2}, {0x89, 'P', 0, 0, 0}};
    static int32_t stops[2] = {0, 151645};
    static char strings[][8] = {"\n\n", "Ende ß"};
    static char *stop_strings[2] = {strings[0], strings[1]};
    parts[0].text = NULL;
    parts[1].text = texts[0];
    parts[2].text = NULL;
    parts[3].text = texts[1];
    turns[0] = (struct generate_turn){texts[2], parts, 3};
    turns[1] = (struct generate_turn){texts[3], parts + 3, 1};
    pictures[0] = (struct generate_picture){files[0], 5};
    pictures[1] = (struct generate_picture){files[1], 3};
    return (struct generate_request){.request_id = texts[4],
                                     .model = texts[5],
                                     .turns = turns,
                                     .n_turns = 2,
                                     .pictures = pictures,
                                     .n_pictures = 2,
                                     .sampling = {.repetition_penalty = 1.05f, .seed = UINT64_MAX, .top_k = 3},
                                     .given = GIVEN_TEMPERATURE | GIVEN_REPETITION_PENALTY | GIVEN_SEED,
                                     .max_tokens = 1 << 20,
                                     .stop_ids = stops,
                                     .n_stop_ids = 2,
                                     .stop_strings = stop_strings,
                                     .n_stop_strings = 2,
                                     .min_tokens = 1 << 20,
                                     .ignore_eos = true,
                                     .drafts = true,
                                     .n_outputs = 16,
                                     .draft_tokens = 0};
}

static void expect_same_conversation(const struct generate_request *a, const struct generate_request *b)
{
    assert_int_equal(a->n_turns, b->n_turns);
    for (int i = 0; i < a->n_turns; i++) {
        assert_string_equal(a->turns[i].role, b->turns[i].role);
        assert_int_equal(a->turns[i].n_parts, b->turns[i].n_parts);
        for (int k = 0; k < a->turns[i].n_parts; k++) {
            const char *x = a->turns[i].parts[k].text, *y = b->turns[i].parts[k].text;
            assert_true(!x == !y);
            assert_true(!x || strcmp(x, y) == 0);
        }
    }
    assert_int_equal(a->n_pictures, b->n_pictures);
    for (int i = 0; i < a->n_pictures; i++) {
        assert_int_equal(a->pictures[i].size, b->pictures[i].size);
        assert_memory_equal(a->pictures[i].bytes, b->pictures[i].bytes, a->pictures[i].size);
    }
}

static struct rpc_bytes pack_request(const struct generate_request *request)
{
    struct rpc_bytes bytes;
    struct error err;
    if (generate_request_pack(request, &bytes, &err))
        fail_msg("%s", err.text);
    return bytes;
}

static void a_full_request_comes_back(void **state)
{
    (void)state;
    struct generate_turn turns[2];
    struct generate_part parts[4];
    struct generate_picture pictures[2];
    struct generate_request a = full_request(turns, parts, pictures), b;
    struct rpc_bytes bytes = pack_request(&a);
    assert_int_equal(generate_request_unpack(&b, bytes.data, bytes.size, NULL), 0);
    free(bytes.data); /* nothing points into the bytes */
    expect_same_conversation(&a, &b);
    assert_string_equal(b.request_id, "req-1");
    assert_string_equal(b.model, "qwen");
    assert_null(b.prompt);
    assert_null(b.ids);
    assert_true(b.sampling.temperature == 0 && b.sampling.repetition_penalty == 1.05f && b.sampling.seed == UINT64_MAX);
    assert_int_equal(b.given, a.given);
    assert_int_equal(b.sampling.top_k, 0); /* not given: not sent */
    assert_int_equal(b.max_tokens, 1 << 20);
    assert_int_equal(b.n_stop_ids, 2);
    assert_int_equal(b.stop_ids[1], 151645);
    assert_int_equal(b.n_stop_strings, 2);
    assert_string_equal(b.stop_strings[0], "\n\n");
    assert_string_equal(b.stop_strings[1], "Ende ß");
    assert_int_equal(b.min_tokens, 1 << 20);
    assert_int_equal(b.n_outputs, 16);
    assert_true(b.ignore_eos && b.drafts);
    assert_int_equal(b.draft_tokens, 0);
    generate_request_free(&b);
}

static void what_is_absent_stays_absent(void **state)
{
    (void)state;
    char prompt[] = "Grüße, 世界 🙂";
    struct generate_request a = {.prompt = prompt, .draft_tokens = -1}, b;
    struct rpc_bytes bytes = pack_request(&a);
    assert_int_equal(generate_request_unpack(&b, bytes.data, bytes.size, NULL), 0);
    free(bytes.data);
    assert_string_equal(b.prompt, prompt);
    assert_string_equal(b.request_id, "");
    assert_string_equal(b.model, "");
    assert_true(!b.given && !b.sampling.logprobs && !b.sampling.n_bias);
    assert_int_equal(b.max_tokens, 0);
    assert_int_equal(b.draft_tokens, -1);
    assert_int_equal(b.n_outputs, 0);
    assert_int_equal(b.n_turns + b.n_pictures + b.n_stop_ids + b.n_stop_strings + b.min_tokens + b.n_ids, 0);
    assert_false(b.ignore_eos || b.drafts);
    generate_request_free(&b);
    assert_int_equal(generate_request_unpack(&b, "\x1a\x02hi", 4, NULL), 0); /* no sub-message at all */
    assert_true(!b.given && b.draft_tokens == -1);
    generate_request_free(&b);
}

static void ids_come_back_packed_or_not(void **state)
{
    (void)state;
    int32_t ids[1000];
    for (int i = 0; i < 1000; i++)
        ids[i] = i * 2147483;
    struct generate_request a = {.ids = ids,
                                 .n_ids = 1000,
                                 .sampling.temperature = 0.7f,
                                 .given = GIVEN_TEMPERATURE,
                                 .draft_tokens = 16},
                            b;
    struct rpc_bytes bytes = pack_request(&a);
    assert_int_equal(generate_request_unpack(&b, bytes.data, bytes.size, NULL), 0);
    free(bytes.data);
    assert_int_equal(b.n_ids, 1000);
    assert_memory_equal(b.ids, ids, sizeof ids);
    assert_true(b.sampling.temperature == 0.7f);
    assert_int_equal(b.draft_tokens, 16);
    generate_request_free(&b);
    assert_int_equal(generate_request_unpack(&b, "\x22\x06\x08\x01\x08\x02\x08\x03", 8, NULL), 0);
    assert_int_equal(b.n_ids, 3);
    assert_int_equal(b.ids[2], 3);
    generate_request_free(&b);
}

static void fields_of_a_later_version_are_ignored(void **state)
{
    (void)state;
    static const char bytes[] = "\x1a\x02hi\x98\x06\x07\x9a\x06\x01x\x9d\x06\1\2\3\4\x99\x06\1\2\3\4\5\6\7\x8";
    assert_int_equal(try_request(bytes, sizeof bytes - 1, NULL), 0);
}

#define HI "\x1a\x02hi"
#define SAMPLING(value) HI "\x2a\x05" value
#define MEDIUM "\x52\x03\x0a\x01x"
#define TURN_USER "\x0a\x04user"

static void a_wrong_request_is_refused_by_field(void **state)
{
    (void)state;
    static const struct bad_bytes rows[] = {
        BAD("", "input: one of prompt"),
        BAD("\x1a\x00", "prompt: empty"),
        BAD(HI HI, "prompt: given twice"),
        BAD(HI "\x22\x02\x08\x01", "token_ids: given twice, or beside another field of its oneof"),
        BAD("\x1a\x02\xc3\x28", "prompt: is not UTF-8"),
        BAD("\x1a\x03h\0i", "prompt: is not UTF-8 without zero bytes"),
        BAD("\x1a\x03\xed\xa0\x80", "prompt: is not UTF-8"),
        BAD("\x1a\x02\xc1\x81", "prompt: is not UTF-8"),
        BAD("\x1a\x05hi", "prompt: broken or cut short"),
        BAD("\x18\x01", "prompt: has another type"),
        BAD("\x1b", "prompt: broken"),
        BAD("\x00", "message: broken"),
        BAD("\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff", "message: broken"),
        BAD("\x1a\xff\xff\xff\xff\xff\xff\xff\xff\x7f", "prompt: broken"),
        BAD("\x22\x00", "token_ids.ids: empty"),
        BAD("\x22\x0c\x0a\x0a\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01", "token_ids.ids[0]: -1 is below 0"),
        BAD("\x22\x04\x0a\x02\x01\x80", "not a massv.v1.GenerateRequest"),
        BAD("\x22\x03\x0a\x05\x01", "token_ids.ids[0]: broken"),
        BAD("\xa2\x01\x00", "conversation.turns: empty"),
        BAD("\xa2\x01\x08\x0a\x06" TURN_USER, "conversation.turns[0].parts: empty"),
        BAD("\xa2\x01\x06\x0a\x04\x12\x02\x0a\x00", "conversation.turns[0].role: \"\" is not system"),
        BAD("\xa2\x01\x08\x0a\x06\x0a\x04tool", "conversation.turns[0].role: \"tool\" is not"),
        BAD("\xa2\x01\x0a\x0a\x08" TURN_USER "\x12\x00", "conversation.turns[0].parts[0]: neither text nor picture"),
        BAD("\xa2\x01\x0c\x0a\x0a" TURN_USER "\x12\x02\x10\x00", "conversation.turns[0].parts[0].picture: false"),
        BAD("\xa2\x01\x0c\x0a\x0a" TURN_USER "\x12\x02\x10\x01", "media: 0 items for 1 pictures"),
        BAD("\xa2\x01\x0c\x0a\x0a" TURN_USER "\x12\x02\x0a\x00" MEDIUM, "media: 1 items for 0 pictures"),
        BAD("\xa2\x01\x0d\x0a\x0b" TURN_USER "\x12\x03\x0a\x01\xff", "conversation.turns[0].parts[0].text: is not UTF-8"),
        BAD("\xa2\x01\x0c\x0a\x0a" TURN_USER "\x12\x02\x0a\x05", "conversation.turns[0].parts[0].text: broken"),
        BAD(HI "\x52\x00", "media[0].raw_bytes: empty"),
        BAD(HI MEDIUM "\x52\x04\x12\x02\x61\x00", "media[1].mime_type: is not UTF-8"),
        BAD(SAMPLING("\x0d\x00\x00\x80\xbf"), "sampling.temperature: -1 is below 0; a number from 0 to 100 is wanted"),
        BAD(SAMPLING("\x0d\x00\x00\xc0\x7f"), "sampling.temperature: nan is not a finite number; one from 0 to 100 is wanted"),
        BAD(SAMPLING("\x0d\x00\x00\x80\x7f"), "sampling.temperature: inf is not"),
        BAD(SAMPLING("\x2d\x00\x00\x00\x00"), "sampling.repetition_penalty: 0 is not above 0"),
        BAD(SAMPLING("\x2d\x00\x00\x80\xff"), "sampling.repetition_penalty: -inf is not"),
        BAD(SAMPLING("\x2d\x00\x00\x00\xc0"),
            "sampling.repetition_penalty: -2 is not above 0; a number above 0, up to 100, is wanted"),
        BAD(HI "\x32\x02\x08\x00", "stopping.max_tokens: 0 is below 1; a whole number from 1 to 1048576 is wanted"),
        BAD(HI "\x32\x04\x08\x81\x80\x40", "stopping.max_tokens: 1048577 is above 1048576"),
        BAD(HI "\x32\x0c\x1a\x0a\xfe\xff\xff\xff\xff\xff\xff\xff\xff\x01", "stopping.stop_token_ids[0]: -2 is below 0"),
        BAD(HI "\x32\x02\x2a\x00", "stopping.stop_strings[0]: empty"),
        BAD(HI "\x32\x05\x2a\x01x\x2a\x00", "stopping.stop_strings[1]: empty"),
        BAD(HI "\x32\x03\x2a\x01\xff", "stopping.stop_strings[0]: is not UTF-8"),
        BAD(HI "\x32\x22\x2a\0\x2a\0\x2a\0\x2a\0\x2a\0\x2a\0\x2a\0\x2a\0\x2a\0\x2a\0\x2a\0\x2a\0\x2a\0\x2a\0\x2a\0\x2a\0\x2a\0",
            "stopping.stop_strings: 17 strings are above 16"),
        BAD(HI "\x32\x04\x30\x81\x80\x40", "stopping.min_tokens: 1048577 is above 1048576"),
        BAD(HI "\x32\x04\x08\x04\x30\x05", "stopping.min_tokens: 5 is above 4, the stopping.max_tokens of this request"),
        BAD(HI "\x3a\x02\x18\x00", "response.n: 0 is below 1"),
        BAD(HI "\x3a\x02\x18\x11", "response.n: 17 is above 16"),
        BAD(HI "\xaa\x01\x02\x08\x11", "speculation.draft_tokens: 17 is above 16"),
        BAD(HI "\xaa\x01\x02\x0a\x00", "speculation.draft_tokens: has another type"),
        BAD(HI "\x0a\x80\x01"
               "0123456789012345678901234567890123456789012345678901234567890123"
               "0123456789012345678901234567890123456789012345678901234567890123",
            "request_id: 128 bytes are above 127"),
    };
    bytes_expect_refusals(rows, sizeof rows / sizeof *rows, try_request);
}

static void a_client_learns_at_home_what_would_be_refused(void **state)
{
    (void)state;
    char prompt[] = "hi", broken[] = "\xff", long_string[1026];
    char *stop_strings[] = {long_string};
    memset(long_string, 'x', 1025);
    long_string[1025] = 0;
    int32_t ids[1] = {1}, minus[1] = {-1};
    struct generate_turn turn = {prompt, NULL, 0};
    const struct {
        struct generate_request request;
        const char *words;
    } rows[] = {
        {{.draft_tokens = -1}, "input: exactly one"},
        {{.prompt = prompt, .ids = ids, .n_ids = 1}, "input: exactly one"},
        {{.prompt = broken}, "prompt: is not UTF-8"},
        {{.ids = minus, .n_ids = 1}, "token_ids.ids[0]: -1"},
        {{.turns = &turn, .n_turns = 1}, "conversation.turns[0].role: \"hi\""},
        {{.prompt = prompt, .sampling.temperature = NAN, .given = GIVEN_TEMPERATURE}, "sampling.temperature: nan"},
        {{.prompt = prompt, .sampling.repetition_penalty = -1, .given = GIVEN_REPETITION_PENALTY},
         "sampling.repetition_penalty: -1"},
        {{.prompt = prompt, .max_tokens = 1 << 21}, "stopping.max_tokens: 2097152"},
        {{.prompt = prompt, .stop_strings = stop_strings, .n_stop_strings = 1},
         "stopping.stop_strings[0]: 1025 bytes are above 1024"},
        {{.prompt = prompt, .max_tokens = 3, .min_tokens = 4}, "stopping.min_tokens: 4 is above 3"},
        {{.prompt = prompt, .draft_tokens = 17}, "speculation.draft_tokens: 17"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct rpc_bytes bytes;
        struct error err = {""};
        assert_int_equal(generate_request_pack(&rows[i].request, &bytes, &err), -1);
        assert_null(bytes.data);
        if (!strstr(err.text, rows[i].words))
            fail_msg("\"%s\" does not say \"%s\"", err.text, rows[i].words);
    }
}

static void a_message_of_very_many_records_is_refused(void **state)
{
    (void)state;
    size_t n = 300000;
    struct error err = {""};
    char *bytes = mem_new(n, 2);
    for (size_t i = 0; i < n; i++)
        memcpy(bytes + 2 * i, "\x52\x00", 2);
    assert_int_equal(try_request(bytes, 2 * n, &err), -1);
    assert_non_null(strstr(err.text, "too many fields"));
    for (size_t i = 0; i < n; i++)
        memcpy(bytes + 2 * i, "\x78\x00", 2); /* a field that nobody knows */
    assert_int_equal(try_request(bytes, 2 * n, &err), -1);
    free(bytes);
}

static void damaged_requests_never_crash(void **state)
{
    (void)state;
    struct generate_turn turns[2];
    struct generate_part parts[4];
    struct generate_picture pictures[2];
    struct generate_request request = full_request(turns, parts, pictures);
    struct rpc_bytes bytes = pack_request(&request);
    bytes_damage(&bytes, try_request);
    free(bytes.data);
    bytes_garbage(try_request);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_full_request_comes_back),
        cmocka_unit_test(what_is_absent_stays_absent),
        cmocka_unit_test(ids_come_back_packed_or_not),
        cmocka_unit_test(fields_of_a_later_version_are_ignored),
        cmocka_unit_test(a_wrong_request_is_refused_by_field),
        cmocka_unit_test(a_client_learns_at_home_what_would_be_refused),
        cmocka_unit_test(a_message_of_very_many_records_is_refused),
        cmocka_unit_test(damaged_requests_never_crash),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
