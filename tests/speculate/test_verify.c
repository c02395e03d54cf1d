/* test_verify.c - greedy and rejection verification: against the goldens and by hand */
#include <jansson.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "tests/check.h"

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
        assert_int_equal(verify_tokens(best, drafts, k, &next), get_int(item, "accepted"));
        assert_int_equal(next, get_int(item, "next"));
    }
    json_decref(cases);
}

static void greedy_stops_at_the_first_wrong_draft(void **state)
{
    (void)state;
    const int32_t best[] = {10, 11, 12, 13};
    int32_t next = -1;
    assert_int_equal(verify_tokens(best, NULL, 0, &next), 0);
    assert_int_equal(next, 10);
    assert_int_equal(verify_tokens(best, (int32_t[]){10, 11, 12}, 3, &next), 3);
    assert_int_equal(next, 13);
    assert_int_equal(verify_tokens(best, (int32_t[]){9, 11, 12}, 3, &next), 0);
    assert_int_equal(next, 10);
    assert_int_equal(verify_tokens(best, (int32_t[]){10, 12, 12}, 3, &next), 1); /* right again after a wrong one: does not count */
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

/* A whole verification, row by row; returns the accepted drafts. */
static int verify_rows(const struct verify_row *p, const struct verify_row *q, const int32_t *drafts, int k, const double *uniforms,
                       double u_next, int32_t *next)
{
    int32_t tokens[MOST_DRAFTS + 1];
    for (int i = 0; i <= k; i++)
        tokens[i] = verify_sample(&p[i], i < k ? &q[i] : NULL, i < k ? drafts[i] : -1, i < k ? uniforms[i] : 0, u_next);
    return verify_tokens(tokens, drafts, k, next);
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
    assert_int_equal(verify_rows(p.row, q.row, drafts, k, uniforms, u_next, &next), get_int(item, "accepted"));
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
    assert_int_equal(verify_rows(p, q, (int32_t[]){0}, 1, (double[]){1.0}, 0.75, &next), 0);
    assert_int_equal(next, 1);
}

static void drawing_never_gives_an_id_without_weight(void **state)
{
    (void)state;
    const float weight[] = {0, 0.25f, 0, 0.75f, 0};
    const struct verify_row p[] = {{NULL, weight, 5}};
    assert_int_equal(verify_sample(p, NULL, -1, 0, 0.0), 1);
    assert_int_equal(verify_sample(p, NULL, -1, 0, 1.0), 3); /* as if u * total had been rounded up */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(greedy_agrees_with_the_goldens),
        cmocka_unit_test(greedy_stops_at_the_first_wrong_draft),
        cmocka_unit_test(rejection_agrees_with_the_goldens_dense_and_sparse),
        cmocka_unit_test(equal_distributions_that_reject_draw_from_the_target),
        cmocka_unit_test(drawing_never_gives_an_id_without_weight),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
