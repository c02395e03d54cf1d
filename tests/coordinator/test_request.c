/* test_request.c - a request's states and sizes, and the text that its client reads */
#include "tests/check.h"

#include <stdlib.h>
#include <string.h>

#include "coordinator/stream.h"

static void every_request_reaches_its_end_from_every_state(void **state)
{
    (void)state;
    const enum request_event lives[][5] = {
        {REQUEST_END},
        {REQUEST_PREPARED, REQUEST_END},
        {REQUEST_PREPARED, REQUEST_PLACED, REQUEST_END},
        {REQUEST_PREPARED, REQUEST_PLACED, REQUEST_GROUP_LOST, REQUEST_END},
        {REQUEST_PREPARED, REQUEST_PLACED, REQUEST_GROUP_LOST, REQUEST_PLACED, REQUEST_END},
    };
    const int lengths[] = {1, 2, 3, 4, 5};
    for (int i = 0; i < 5; i++) {
        struct request request = {.state = REQUEST_PREPARING};
        for (int j = 0; j < lengths[i]; j++) {
            assert_int_not_equal(request.state, REQUEST_ENDED);
            request_apply(&request, lives[i][j]);
        }
        assert_int_equal(request.state, REQUEST_ENDED);
    }
}

static void sizes_follow_from_prompt_and_tokens(void **state)
{
    (void)state;
    struct request request = {.max_tokens = 10, .prepared = {.prompt = {.n = 30}}};
    assert_int_equal(request_positions(&request), 40);
    assert_int_equal(request_known(&request), 30);
    request.n_tokens = 1; /* of the prompt's last row: nothing of it is computed */
    assert_int_equal(request_known(&request), 30);
    request.n_tokens = 5;
    assert_int_equal(request_known(&request), 34);
}

struct reader { /* a client that keeps what it reads */
    char text[256], rejected[64], last[64];
    int deltas;
};

static void reader_send(void *call, const struct generate_response *response)
{
    struct reader *reader = call;
    strcat(reader->text, response->text);
    strcpy(reader->last, response->text);
    strcpy(reader->rejected, response->rejected_text);
    assert_int_equal(response->accepted != NULL, response->token_texts != NULL);
    reader->deltas++;
}

static size_t reader_backlog(void *call)
{
    (void)call;
    return 0;
}

static void reader_finish(void *call, enum rpc_status status, const char *message)
{
    (void)call;
    (void)status;
    (void)message;
}

static void reader_drop(void *call)
{
    (void)call;
}

static const struct client_calls reader_calls = {reader_send, reader_backlog, reader_finish, reader_drop};

static int setup(void **state)
{
    struct error err;
    return tokenizer_open((struct tokenizer **)state, "tests/golden/qwen2-tiny", &err);
}

static int teardown(void **state)
{
    tokenizer_close(*state);
    return 0;
}

/* Sends ids[0, n) one by one. */
static void ids_send(struct request *request, const struct tokenizer *tokenizer, const int32_t *ids, int n, bool last)
{
    for (int i = 0; i < n; i++) {
        struct delta delta = {.ids = &ids[i], .n = 1, .last = last && i == n - 1};
        stream_delta(request, tokenizer, &delta);
    }
}

static void a_character_of_several_tokens_comes_whole(void **state)
{
    const struct tokenizer *tokenizer = *state;
    struct error err;
    struct reader reader = {.deltas = 0};
    struct request request = {.client = {&reader_calls, &reader}};
    const char text[] = "ab \xf0\x9f\xa6\x94 c"; /* a hedgehog: four bytes */
    int32_t *ids;
    int n = tokenizer_encode(tokenizer, text, strlen(text), false, &ids, &err);
    assert_true(n > 5); /* or the hedgehog is one token and nothing is tested */
    for (int i = 0; i < n; i++) {
        ids_send(&request, tokenizer, &ids[i], 1, i == n - 1);
        assert_null(strstr(reader.text, "\xef\xbf\xbd"));
    }
    assert_string_equal(reader.text, text);
    assert_int_equal(reader.deltas, n);
    free(ids);
}

static void what_stays_incomplete_ends_as_a_replacement_character(void **state)
{
    const struct tokenizer *tokenizer = *state;
    struct error err;
    struct reader reader = {.deltas = 0};
    struct request request = {.client = {&reader_calls, &reader}};
    int32_t *ids;
    int n = tokenizer_encode(tokenizer, "\xf0\x9f\xa6\x94", 4, false, &ids, &err);
    assert_true(n > 1);
    ids_send(&request, tokenizer, ids, n - 1, true);
    assert_string_equal(reader.text, "\xef\xbf\xbd");
    free(ids);
}

static void special_tokens_have_no_text(void **state)
{
    const struct tokenizer *tokenizer = *state;
    struct reader reader = {.deltas = 0};
    struct request request = {.client = {&reader_calls, &reader}};
    int32_t id = tokenizer_find(tokenizer, "<|im_end|>");
    assert_true(id >= 0);
    ids_send(&request, tokenizer, &id, 1, true);
    assert_string_equal(reader.text, "");
    assert_int_equal(reader.deltas, 1);
}

static void drafts_are_shown_to_those_who_ask(void **state)
{
    const struct tokenizer *tokenizer = *state;
    struct error err;
    struct reader reader = {.deltas = 0};
    struct request request = {.client = {&reader_calls, &reader}};
    int32_t *ids;
    int n = tokenizer_encode(tokenizer, "no", 2, false, &ids, &err);
    struct delta delta = {.ids = ids, .n = n, .rejected = ids, .n_rejected = n};
    stream_delta(&request, tokenizer, &delta);
    assert_string_equal(reader.rejected, "");
    request.show_drafts = true;
    stream_delta(&request, tokenizer, &delta);
    assert_string_equal(reader.rejected, "no");
    free(ids);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_request_reaches_its_end_from_every_state),
        cmocka_unit_test(sizes_follow_from_prompt_and_tokens),
        cmocka_unit_test(a_character_of_several_tokens_comes_whole),
        cmocka_unit_test(what_stays_incomplete_ends_as_a_replacement_character),
        cmocka_unit_test(special_tokens_have_no_text),
        cmocka_unit_test(drafts_are_shown_to_those_who_ask),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
