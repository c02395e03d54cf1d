/* test_verify.c - greedy and rejection verification: against the goldens, by hand, and in distribution */
#include <jansson.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "tests/check.h"

#include "base/random.h"
#include "speculate/verify.h"

enum { MOST_DRAFTS = 16 };

static json_t *load(const char *path)
{
    json_error_t error;
    json_t *root = json_load_file(path, 0, &error);
    if (!root)
        print_error("%s:%d: %s\n", path, error.line, error.text);
    assert_non_null(root);
    return root;
}

static int get_int(const json_t *object, const char *name)
{
    const json_t *value = json_object_get(object, name);
    assert_true(json_is_integer(value));
    return (int)json_integer_value(value);
}

static int get_drafts(const json_t *item, int32_t drafts[MOST_DRAFTS])
{
    const json_t *array = json_object_get(item, "drafts");
    size_t k = json_array_size(array);
    assert_true(k <= MOST_DRAFTS);
    for (size_t i = 0; i < k; i++)
        drafts[i] = (int32_t)json_integer_value(json_array_get(array, i));
    return (int)k;
}

/* Ties go to the lowest id. */
static int32_t argmax(const json_t *scores)
{
    size_t best = 0;
    for (size_t i = 1; i < json_array_size(scores); i++)
        if (json_number_value(json_array_get(scores, i)) > json_number_value(json_array_get(scores, best)))
            best = i;
    return (int32_t)best;
}

static void greedy_agrees_with_the_goldens(void **state)
{
    (void)state;
    json_t *cases = load("tests/golden/speculation/greedy.json"), *item;
    size_t index;
    assert_true(json_array_size(cases) > 0);
    json_array_foreach(cases, index, item)
    {
        int32_t drafts[MOST_DRAFTS], best[MOST_DRAFTS + 1], next = -1;
        int k = get_drafts(item, drafts);
        const json_t *scores = json_object_get(item, "scores");
        assert_int_equal(json_array_size(scores), k + 1);
        for (int i = 0; i <= k; i++)
            best[i] = argmax(json_array_get(scores, (size_t)i));
        assert_int_equal(verify_greedy(best, drafts, k, &next), get_int(item, "accepted"));
        assert_int_equal(next, get_int(item, "next"));
    }
    json_decref(cases);
}

static void greedy_stops_at_the_first_wrong_draft(void **state)
{
    (void)state;
    const int32_t best[] = {10, 11, 12, 13};
    int32_t next = -1;
    assert_int_equal(verify_greedy(best, NULL, 0, &next), 0);
    assert_int_equal(next, 10);
    assert_int_equal(verify_greedy(best, (int32_t[]){10, 11, 12}, 3, &next), 3);
    assert_int_equal(next, 13);
    assert_int_equal(verify_greedy(best, (int32_t[]){9, 11, 12}, 3, &next), 0);
    assert_int_equal(next, 10);
    assert_int_equal(verify_greedy(best, (int32_t[]){10, 12, 12}, 3, &next), 1); /* right again after a wrong one: does not count */
    assert_int_equal(next, 11);
}

struct rows {
    struct verify_row row[MOST_DRAFTS + 1];
    float *weight[MOST_DRAFTS + 1];
    int32_t *ids[MOST_DRAFTS + 1];
    size_t count;
};

/* Dense rows as they stand in the file; sparse ones list only the ids with a probability. */
static struct rows get_rows(const json_t *array, bool sparse)
{
    struct rows rows = {.count = json_array_size(array)};
    assert_true(rows.count <= MOST_DRAFTS + 1);
    for (size_t r = 0; r < rows.count; r++) {
        const json_t *values = json_array_get(array, r);
        size_t n = json_array_size(values), used = 0;
        rows.weight[r] = malloc(n * sizeof(float));
        rows.ids[r] = malloc(n * sizeof(int32_t));
        for (size_t i = 0; i < n; i++) {
            float weight = (float)json_number_value(json_array_get(values, i));
            if (sparse && !(weight > 0))
                continue;
            rows.ids[r][used] = (int32_t)i;
            rows.weight[r][used++] = weight;
        }
        rows.row[r] = (struct verify_row){.ids = sparse ? rows.ids[r] : NULL, .weight = rows.weight[r], .count = (int)used};
    }
    return rows;
}

static void free_rows(struct rows *rows)
{
    for (size_t r = 0; r < rows->count; r++) {
        free(rows->weight[r]);
        free(rows->ids[r]);
    }
}

static void check_sampling_case(const json_t *item, bool sparse_p, bool sparse_q)
{
    int32_t drafts[MOST_DRAFTS], next = -1;
    double uniforms[MOST_DRAFTS];
    int k = get_drafts(item, drafts);
    for (int i = 0; i < k; i++)
        uniforms[i] = json_number_value(json_array_get(json_object_get(item, "uniforms"), (size_t)i));
    struct rows p = get_rows(json_object_get(item, "p"), sparse_p), q = get_rows(json_object_get(item, "q"), sparse_q);
    assert_int_equal(p.count, k + 1);
    double u_next = json_number_value(json_object_get(item, "u_next"));
    assert_int_equal(verify_rejection(p.row, q.row, drafts, k, uniforms, u_next, &next), get_int(item, "accepted"));
    assert_int_equal(next, get_int(item, "next"));
    free_rows(&p);
    free_rows(&q);
}

static void rejection_agrees_with_the_goldens_dense_and_sparse(void **state)
{
    (void)state;
    json_t *cases = load("tests/golden/speculation/sampling.json"), *item;
    size_t index;
    assert_true(json_array_size(cases) > 0);
    json_array_foreach(cases, index, item)
    {
        for (int form = 0; form < 4; form++)
            check_sampling_case(item, form & 1, form & 2);
    }
    json_decref(cases);
}

static void equal_distributions_that_reject_draw_from_the_target(void **state)
{
    (void)state;
    /* u = 1 is outside the range of uniforms; it stands for a rounding that rejects although the residual is zero everywhere */
    const float half[] = {0.5f, 0.5f};
    const struct verify_row p[] = {{NULL, half, 2}, {NULL, half, 2}}, q[] = {{NULL, half, 2}};
    int32_t next = -1;
    assert_int_equal(verify_rejection(p, q, (int32_t[]){0}, 1, (double[]){1.0}, 0.75, &next), 0);
    assert_int_equal(next, 1);
}

static void drawing_never_gives_an_id_without_weight(void **state)
{
    (void)state;
    const float weight[] = {0, 0.25f, 0, 0.75f, 0};
    const struct verify_row p[] = {{NULL, weight, 5}};
    int32_t next = -1;
    verify_rejection(p, NULL, NULL, 0, NULL, 0.0, &next);
    assert_int_equal(next, 1);
    verify_rejection(p, NULL, NULL, 0, NULL, 1.0, &next); /* as if u * total had been rounded up */
    assert_int_equal(next, 3);
}

static double unit(uint64_t stream, uint64_t i)
{
    uint32_t bits[4];
    random_bits(bits, 77, stream, i);
    return ((double)(bits[0] >> 5) * 67108864.0 + (double)(bits[1] >> 6)) / 9007199254740992.0;
}

/* Two drafts from q, verified against p: the first two tokens of the text must be distributed as p x p. */
static void tokens_are_distributed_as_the_target_alone(void **state)
{
    (void)state;
    enum { VOCABULARY = 5, TRIALS = 200000 };
    static const float p[3][VOCABULARY] = {
        {0.1f, 0.4f, 0.2f, 0.05f, 0.25f}, {0.5f, 0.1f, 0.1f, 0.2f, 0.1f}, {0.2f, 0.2f, 0.2f, 0.2f, 0.2f}};
    static const float q[2][VOCABULARY] = {{0.5f, 0.3f, 0.2f, 0, 0}, {0, 0.25f, 0.25f, 0.25f, 0.25f}};
    const struct verify_row target[] = {{NULL, p[0], VOCABULARY}, {NULL, p[1], VOCABULARY}, {NULL, p[2], VOCABULARY}};
    const struct verify_row draft[] = {{NULL, q[0], VOCABULARY}, {NULL, q[1], VOCABULARY}};
    static int seen[VOCABULARY][VOCABULARY];
    for (uint64_t t = 0; t < TRIALS; t++) {
        int32_t drafts[2], text[3], next;
        for (int i = 0; i < 2; i++)
            verify_rejection(&draft[i], NULL, NULL, 0, NULL, unit((uint64_t)i, t), &drafts[i]);
        int accepted = verify_rejection(target, draft, drafts, 2, (double[]){unit(2, t), unit(3, t)}, unit(4, t), &next);
        memcpy(text, drafts, sizeof drafts);
        text[accepted] = next;
        if (accepted == 0) /* the second token then comes from the next step */
            verify_rejection(&target[1], NULL, NULL, 0, NULL, unit(5, t), &text[1]);
        seen[text[0]][text[1]]++;
    }
    double chi = 0;
    for (int a = 0; a < VOCABULARY; a++)
        for (int b = 0; b < VOCABULARY; b++) {
            double expected = (double)p[0][a] * (double)p[1][b] * TRIALS, off = seen[a][b] - expected;
            chi += off * off / expected;
        }
    /* 24 degrees of freedom: larger by chance once in a million (the numbers are fixed, so it is the same each time) */
    print_message("chi-square %.1f\n", chi);
    assert_true(chi < 73.7);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(greedy_agrees_with_the_goldens),
        cmocka_unit_test(greedy_stops_at_the_first_wrong_draft),
        cmocka_unit_test(rejection_agrees_with_the_goldens_dense_and_sparse),
        cmocka_unit_test(equal_distributions_that_reject_draw_from_the_target),
        cmocka_unit_test(drawing_never_gives_an_id_without_weight),
        cmocka_unit_test(tokens_are_distributed_as_the_target_alone),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
