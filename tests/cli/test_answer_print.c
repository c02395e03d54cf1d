/* test_answer_print.c - a streamed answer is put together, marked and printed as cli.md says */
#include "tests/check.h"

#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "cli/answer_print.h"

/* What shown writes, malloc'ed. */
static char *shown(const struct generate_response *r, enum answer_marks marks)
{
    char *text = NULL;
    size_t size;
    FILE *out = open_memstream(&text, &size);
    answer_show(out, r, marks);
    fclose(out);
    return text;
}

static const int32_t four_ids[] = {5, 6, 7, 8};
static const bool step_accepted[] = {true, true, false, true};
static const char *const step_texts[] = {"The", " cat", " sat", "!"};
static const struct generate_response step = {.request_id = "r",
                                              .event = GENERATE_TOKEN,
                                              .ids = four_ids,
                                              .n_ids = 4,
                                              .text = "The cat sat!",
                                              .accepted = step_accepted,
                                              .token_texts = step_texts,
                                              .rejected_text = " on"};

static void shows(enum answer_marks marks, const char *expected)
{
    char *text = shown(&step, marks);
    assert_string_equal(text, expected);
    free(text);
}

static void test_marks(void **state)
{
    (void)state;
    shows(MARKS_NONE, "The cat sat!");
    shows(MARKS_BRACKETS, "[The cat] sat[!]{ on}");
    shows(MARKS_COLOURS, "\033[32mThe cat\033[0m sat\033[32m!\033[0m\033[2;9m on\033[0m");
}

static void test_unmarked_without_details(void **state)
{
    (void)state;
    const struct generate_response plain = {.request_id = "r", .event = GENERATE_TOKEN, .ids = four_ids, .n_ids = 1, .text = "Hi"};
    char *text = shown(&plain, MARKS_BRACKETS);
    assert_string_equal(text, "Hi");
    free(text);
}

static json_t *printed(const struct answer *answer)
{
    char *text = NULL;
    size_t size;
    FILE *out = open_memstream(&text, &size);
    answers_json(out, answer, 1);
    fclose(out);
    assert_int_equal(text[size - 1], '\n');
    assert_ptr_equal(strchr(text, '\n'), text + size - 1);
    json_t *all = json_loads(text, 0, NULL);
    assert_non_null(all);
    free(text);
    return all;
}

static double real(const json_t *all, const char *object, const char *field)
{
    return json_number_value(json_object_get(json_object_get(all, object), field));
}

static void test_json(void **state)
{
    (void)state;
    const struct generate_response last = {
        .request_id = "r",
        .event = GENERATE_FINISHED,
        .reason = "stop",
        .usage = {20, 9, 8},
        .speculation = {.draft_tokens_per_step = 3, .steps = 2, .drafted = 6, .accepted = 5, .accepted_per_position = {2, 2, 1}},
        .timing = {1, 2, 3, 4, 5, 6}};
    struct answer answer = {0};
    answer_add(&answer, &step);
    answer_add(&answer, &step);
    answer_add(&answer, &last);
    json_t *all = printed(&answer);
    assert_string_equal(json_string_value(json_object_get(all, "text")), "The cat sat!The cat sat!");
    assert_int_equal(json_array_size(json_object_get(all, "token_ids")), 8);
    assert_string_equal(json_string_value(json_object_get(all, "finish_reason")), "stop");
    assert_true(real(all, "speculation", "mean_acceptance_length") == 3.5);
    assert_true(real(all, "speculation", "acceptance_rate") > 0.8333 && real(all, "speculation", "acceptance_rate") < 0.8334);
    assert_int_equal(json_array_size(json_object_get(json_object_get(all, "speculation"), "accepted_per_position")), 3);
    assert_true(real(all, "timing_ms", "total") == 6 && real(all, "usage", "image_tokens") == 9);
    json_decref(all);
    answer_free(&answer);
}

static void test_json_of_an_answer_without_a_step(void **state)
{
    (void)state;
    const struct generate_response last = {.request_id = "r", .event = GENERATE_FINISHED, .reason = "length"};
    struct answer answer = {0};
    answer_add(&answer, &last);
    json_t *all = printed(&answer);
    assert_true(real(all, "speculation", "mean_acceptance_length") == 1 && real(all, "speculation", "acceptance_rate") == 0);
    assert_string_equal(json_string_value(json_object_get(all, "text")), "");
    json_decref(all);
    answer_free(&answer);
}

static void test_json_of_an_interrupted_answer(void **state)
{
    (void)state;
    const struct generate_response prompt = {.request_id = "r", .event = GENERATE_PROMPT, .usage = {20, 9, 0}};
    struct answer answer = {0};
    answer_add(&answer, &prompt);
    answer_add(&answer, &step);
    json_t *all = printed(&answer);
    assert_string_equal(json_string_value(json_object_get(all, "finish_reason")), "cancelled");
    assert_string_equal(json_string_value(json_object_get(all, "text")), "The cat sat!");
    assert_true(real(all, "usage", "prompt_tokens") == 20 && real(all, "usage", "image_tokens") == 9);
    assert_true(real(all, "usage", "completion_tokens") == 4);
    json_decref(all);
    answer_free(&answer);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        {"accepted drafts, the target's own tokens and rejected drafts are told apart", test_marks, 0, 0, 0},
        {"a message without details is shown as plain text", test_unmarked_without_details, 0, 0, 0},
        {"the JSON object has the contract's fields, its ratios and one line", test_json, 0, 0, 0},
        {"an answer without its last message was cancelled; what came of it is told", test_json_of_an_interrupted_answer, 0, 0, 0},
        {"an answer of one token divides by no step", test_json_of_an_answer_without_a_step, 0, 0, 0},
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
