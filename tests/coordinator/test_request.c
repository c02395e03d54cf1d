/* test_request.c - a request's states and sizes, and the text that its client reads */
#include "tests/check.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
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
    char text[256], rejected[64];
    int deltas;
};

struct talk { /* a request whose target says what the test wants */
    struct request request;
    struct reader reader;
    int32_t tokens[256];
    const char *reason; /* once it has ended */
    char match[64];
};

static void reader_send(void *call, const struct generate_response *response)
{
    struct reader *reader = call;
    strcat(reader->text, response->text);
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

static struct talk *talk_new(int max_tokens)
{
    struct talk *talk = mem_new(1, sizeof *talk);
    talk->request.client = (struct client){.calls = &reader_calls, .call = &talk->reader};
    talk->request.max_tokens = max_tokens;
    talk->request.tokens = talk->tokens;
    return talk;
}

static void talk_free(struct talk *talk)
{
    answer_text_free(&talk->request.text);
    free(talk);
}

/* The target says ids[0, n), one in each step. */
static void ids_say(struct talk *talk, const struct tokenizer *tokenizer, const int32_t *ids, int n)
{
    struct error err;
    const struct flight_span span = {.request = &talk->request, .kind = SPAN_VERIFY, .want_token = true};
    for (int i = 0; i < n && !talk->reason; i++) {
        struct progress progress;
        const struct step_answer answer = {.next = ids[i]};
        assert_int_equal(progress_take(&progress, &span, &answer, tokenizer, &err), 0);
        stream_delta(&talk->request, tokenizer, &progress);
        talk->reason = progress.reason;
        snprintf(talk->match, sizeof talk->match, "%s", progress.match ? progress.match : "");
        progress_free(&progress);
    }
}

/* The same with the ids of a text; returns how many there are. */
static int text_say(struct talk *talk, const struct tokenizer *tokenizer, const char *text)
{
    struct error err;
    int32_t *ids;
    int n = tokenizer_encode(tokenizer, text, strlen(text), false, &ids, &err);
    ids_say(talk, tokenizer, ids, n);
    free(ids);
    return n;
}

static void a_character_of_several_tokens_comes_whole(void **state)
{
    const struct tokenizer *tokenizer = *state;
    struct talk *talk = talk_new(256);
    const char text[] = "ab \xf0\x9f\xa6\x94 c"; /* a hedgehog: four bytes */
    int n = text_say(talk, tokenizer, text);
    assert_true(n > 5); /* or the hedgehog is one token and nothing is tested */
    assert_string_equal(talk->reader.text, text);
    assert_int_equal(talk->reader.deltas, n);
    talk_free(talk);
}

static void what_stays_incomplete_ends_as_a_replacement_character(void **state)
{
    const struct tokenizer *tokenizer = *state;
    struct talk *talk = talk_new(2);
    assert_true(text_say(talk, tokenizer, "\xf0\x9f\xa6\x94") > 2);
    assert_string_equal(talk->reason, "length");
    assert_string_equal(talk->reader.text, "\xef\xbf\xbd");
    talk_free(talk);
}

static void special_tokens_have_no_text_but_say_what_stopped_the_answer(void **state)
{
    const struct tokenizer *tokenizer = *state;
    struct talk *talk = talk_new(256);
    int32_t id = tokenizer_find(tokenizer, "<|im_end|>");
    assert_true(id >= 0);
    talk->request.stop_ids = &id;
    talk->request.n_stop_ids = 1;
    ids_say(talk, tokenizer, &id, 1);
    assert_string_equal(talk->reader.text, "");
    assert_int_equal(talk->reader.deltas, 1);
    assert_string_equal(talk->reason, "stop");
    assert_string_equal(talk->match, "<|im_end|>");
    talk_free(talk);
}

static struct talk *talk_with_stops(int max_tokens, char *one, char *two)
{
    struct talk *talk = talk_new(max_tokens);
    talk->request.text.stops = stop_strings_new((char *[]){one, two}, 2);
    return talk;
}

static void a_stop_string_ends_the_answer_in_the_middle_of_a_token(void **state)
{
    const struct tokenizer *tokenizer = *state;
    char one[] = "xyz", two[] = "c d";
    struct talk *talk = talk_with_stops(256, one, two);
    int n = text_say(talk, tokenizer, "ab c defg");
    assert_string_equal(talk->reason, "stop");
    assert_string_equal(talk->match, "c d");
    assert_string_equal(talk->reader.text, "ab ");
    assert_true(talk->request.n_tokens <= n);
    size_t size;
    char *whole = tokenizer_decode(tokenizer, talk->tokens, talk->request.n_tokens, false, &size);
    assert_true(strncmp(whole, "ab c d", 6) == 0); /* the ids reach up to the token that completes it, no further */
    char *before = tokenizer_decode(tokenizer, talk->tokens, talk->request.n_tokens - 1, false, &size);
    assert_null(strstr(before, "c d"));
    free(before);
    free(whole);
    talk_free(talk);
}

static void what_may_begin_a_stop_string_is_held_back_until_it_is_decided(void **state)
{
    const struct tokenizer *tokenizer = *state;
    char one[] = "!!!", two[] = "\xf0\x9f\xa6\x94";
    struct talk *talk = talk_with_stops(6, one, two);
    text_say(talk, tokenizer, "a!");
    assert_string_equal(talk->reader.text, "a");
    text_say(talk, tokenizer, "?!");
    assert_string_equal(talk->reader.text, "a!?");
    text_say(talk, tokenizer, "b!");
    assert_string_equal(talk->reason, "length"); /* what was held back comes with the end */
    assert_string_equal(talk->reader.text, "a!?!b!");
    talk_free(talk);
    talk = talk_with_stops(256, one, two);
    text_say(talk, tokenizer, "a\xf0\x9f\xa6\x94 b"); /* a character of several tokens */
    assert_string_equal(talk->match, two);
    assert_string_equal(talk->reader.text, "a");
    talk_free(talk);
}

static void nothing_ends_the_answer_before_min_tokens(void **state)
{
    const struct tokenizer *tokenizer = *state;
    char one[] = "!", two[] = "??";
    struct talk *talk = talk_with_stops(256, one, two);
    talk->request.min_tokens = 4;
    int32_t b = tokenizer_find(tokenizer, "b");
    talk->request.stop_ids = &b;
    talk->request.n_stop_ids = b >= 0;
    text_say(talk, tokenizer, "a!b");
    assert_null(talk->reason);
    text_say(talk, tokenizer, "!");
    assert_string_equal(talk->match, "!");
    assert_int_equal(talk->request.n_tokens, 4);
    assert_string_equal(talk->reader.text, "a!b");
    talk_free(talk);
}

static void drafts_are_shown_to_those_who_ask(void **state)
{
    const struct tokenizer *tokenizer = *state;
    struct error err;
    struct talk *talk = talk_new(256);
    int32_t *ids;
    int n = tokenizer_encode(tokenizer, "no", 2, false, &ids, &err);
    struct progress progress = {.n_rejected = n};
    memcpy(progress.rejected, ids, (size_t)n * sizeof *ids);
    stream_delta(&talk->request, tokenizer, &progress);
    assert_string_equal(talk->reader.rejected, "");
    talk->request.show_drafts = true;
    stream_delta(&talk->request, tokenizer, &progress);
    assert_string_equal(talk->reader.rejected, "no");
    free(ids);
    talk_free(talk);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_request_reaches_its_end_from_every_state),
        cmocka_unit_test(sizes_follow_from_prompt_and_tokens),
        cmocka_unit_test(a_character_of_several_tokens_comes_whole),
        cmocka_unit_test(what_stays_incomplete_ends_as_a_replacement_character),
        cmocka_unit_test(special_tokens_have_no_text_but_say_what_stopped_the_answer),
        cmocka_unit_test(a_stop_string_ends_the_answer_in_the_middle_of_a_token),
        cmocka_unit_test(what_may_begin_a_stop_string_is_held_back_until_it_is_decided),
        cmocka_unit_test(nothing_ends_the_answer_before_min_tokens),
        cmocka_unit_test(drafts_are_shown_to_those_who_ask),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
