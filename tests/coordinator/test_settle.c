/* test_settle.c - what a request says of its sampling, what the model says where it does not, and each output's own copy */
#include "tests/check.h"

#include <string.h>

#include "coordinator/settle.h"

enum { VOCABULARY = 100, DRAWN = 64 };

static const struct generation_config defaults = {
    .temperature = 0.5f, .top_k = 7, .top_p = 0.9f, .min_p = 0.1f, .repetition_penalty = 1.5f};

static struct sampling settled(unsigned given, const struct sampling *said)
{
    struct error err;
    const struct model_config config = {.vocabulary = VOCABULARY, .generation = defaults};
    struct generate_request asked = {.sampling = *said, .given = given};
    assert_int_equal(settle_sampling(&asked, &config, &err), 0);
    return asked.sampling;
}

static void what_is_said_stays_and_the_rest_is_the_models(void **state)
{
    (void)state;
    const struct sampling said = {
        .temperature = 2, .top_k = 3, .top_p = 0.25f, .min_p = 0.75f, .repetition_penalty = 4, .presence_penalty = 5, .seed = 6};
    const unsigned flags[] = {GIVEN_TEMPERATURE, GIVEN_TOP_K, GIVEN_TOP_P, GIVEN_MIN_P, GIVEN_REPETITION_PENALTY, GIVEN_SEED, 0};
    for (int i = 0; i < 7; i++) {
        const struct sampling s = settled(flags[i], &said);
        assert_true(s.temperature == (i == 0 ? said.temperature : defaults.temperature));
        assert_int_equal(s.top_k, i == 1 ? said.top_k : defaults.top_k);
        assert_true(s.top_p == (i == 2 ? said.top_p : defaults.top_p));
        assert_true(s.min_p == (i == 3 ? said.min_p : defaults.min_p));
        assert_true(s.repetition_penalty == (i == 4 ? said.repetition_penalty : defaults.repetition_penalty));
        assert_int_equal(s.seed == said.seed, i == 5);
        assert_true(s.presence_penalty == said.presence_penalty); /* no model has a default for it */
    }
}

static void seeds_that_are_drawn_differ_and_are_whole_in_json(void **state)
{
    (void)state;
    uint64_t seeds[DRAWN];
    for (int i = 0; i < DRAWN; i++) {
        seeds[i] = settled(0, &(struct sampling){0}).seed;
        assert_true(seeds[i] < (uint64_t)1 << 52);
        for (int j = 0; j < i; j++)
            assert_true(seeds[i] != seeds[j]);
    }
}

static void a_bias_is_of_ids_of_the_vocabulary(void **state)
{
    (void)state;
    const struct model_config config = {.vocabulary = VOCABULARY};
    const int32_t ids[] = {0, VOCABULARY - 1, VOCABULARY};
    for (int i = 0; i < 3; i++) {
        struct error err = {{0}};
        struct generate_request asked = {.sampling = {.bias_ids = &ids[i], .bias = (const float[]){1}, .n_bias = 1}};
        assert_int_equal(settle_sampling(&asked, &config, &err), i < 2 ? 0 : -1);
        assert_int_equal(strstr(err.text, "token_id 100") != NULL, i == 2);
    }
}

static void every_output_has_its_own_copy_and_seed(void **state)
{
    (void)state;
    int32_t ids[] = {3, 5};
    float bias[] = {-1, 2};
    const struct generate_request asked = {.sampling = {.top_k = 9, .bias_ids = ids, .bias = bias, .n_bias = 2, .seed = 40}};
    struct sampling outputs[2];
    for (int i = 0; i < 2; i++)
        settle_output(&outputs[i], &asked, i);
    ids[0] = 0;
    bias[1] = 0;
    for (int i = 0; i < 2; i++) {
        const struct sampling *s = &outputs[i];
        assert_true(s->seed == 40 + (uint64_t)i && s->top_k == 9 && s->n_bias == 2);
        assert_true(s->bias_ids[0] == 3 && s->bias_ids[1] == 5 && s->bias[0] == -1 && s->bias[1] == 2);
        settle_free(&outputs[i]);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_said_stays_and_the_rest_is_the_models),
        cmocka_unit_test(seeds_that_are_drawn_differ_and_are_whole_in_json),
        cmocka_unit_test(a_bias_is_of_ids_of_the_vocabulary),
        cmocka_unit_test(every_output_has_its_own_copy_and_seed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
