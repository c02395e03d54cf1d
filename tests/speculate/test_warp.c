/* test_warp.c - scores to what a token is chosen from: against the goldens, by hand, and at the borders */
#include <float.h>
#include <jansson.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "tests/check.h"

#include "speculate/coupled.h"
#include "speculate/noise.h"
#include "speculate/sampler.h"

enum { MOST = 64 };

static double number(const json_t *object, const char *name)
{
    return json_number_value(json_object_get(object, name));
}

static void check_golden(const json_t *item)
{
    float scores[MOST], weights[MOST], dense[MOST] = {0};
    const json_t *list = json_object_get(item, "scores"), *wanted = json_object_get(item, "probabilities");
    int n = (int)json_array_size(list);
    assert_true(n > 0 && n <= MOST);
    for (int i = 0; i < n; i++)
        scores[i] = (float)json_number_value(json_array_get(list, (size_t)i));
    const struct sampling s = {.temperature = (float)number(item, "temperature"),
                               .top_k = (int)number(item, "top_k"),
                               .top_p = (float)number(item, "top_p"),
                               .min_p = (float)number(item, "min_p")};
    struct warp_scratch scratch;
    warp_scratch_create(&scratch, n);
    warp_temper(&(struct warp_part){scores, 0, n}, scores[warp_best(scores, n)], s.temperature);
    struct warp_row row = warp_truncate(scores, n, &s, &scratch);
    warp_weights(&row, weights);
    for (int i = 0; i < row.count; i++)
        dense[row.ids ? row.ids[i] : i] = weights[i];
    for (int i = 0; i < n; i++) /* the goldens' sums are f32 */
        assert_float_equal(dense[i], (float)json_number_value(json_array_get(wanted, (size_t)i)), 1e-6f);
    warp_scratch_free(&scratch);
}

static void truncation_agrees_with_the_goldens(void **state)
{
    (void)state;
    json_error_t error;
    json_t *cases = json_load_file("tests/golden/speculation/warp.json", 0, &error), *item;
    size_t index;
    assert_true(json_array_size(cases) > 0);
    json_array_foreach(cases, index, item) check_golden(item);
    json_decref(cases);
}

static int kept(const float *from, int n, struct sampling s, int32_t ids[MOST])
{
    float scores[MOST];
    struct warp_scratch scratch;
    memcpy(scores, from, (size_t)n * sizeof *scores);
    s.temperature = s.temperature > 0 ? s.temperature : 1;
    warp_scratch_create(&scratch, n);
    warp_temper(&(struct warp_part){scores, 0, n}, scores[warp_best(scores, n)], s.temperature);
    struct warp_row row = warp_truncate(scores, n, &s, &scratch);
    for (int i = 0; i < row.count; i++)
        ids[i] = row.ids ? row.ids[i] : i;
    warp_scratch_free(&scratch);
    return row.count;
}

static void truncation_at_the_borders(void **state)
{
    (void)state;
    int32_t ids[MOST];
    const float ties[] = {0, 2, 1, 2, 1, 1}, flat[] = {3, 3, 3, 3}, far[] = {0, -300, -1000, -INFINITY};
    assert_int_equal(kept(ties, 6, (struct sampling){.top_k = 3}, ids), 5); /* ties with the third stay */
    assert_int_equal(ids[0], 1);
    assert_int_equal(kept(ties, 6, (struct sampling){.top_k = 2}, ids), 2);
    assert_int_equal(kept(ties, 6, (struct sampling){.top_k = 99}, ids), 6);
    assert_int_equal(kept(flat, 4, (struct sampling){.top_p = 0.5f}, ids), 2); /* exactly half: the lower ids */
    assert_int_equal(ids[1], 1);
    assert_int_equal(kept(flat, 4, (struct sampling){.top_p = 1e-9f}, ids), 1);
    assert_int_equal(kept(flat, 4, (struct sampling){.min_p = 1}, ids), 4);
    assert_int_equal(kept(far, 4, (struct sampling){.top_k = 3}, ids), 3); /* as far as there are any */
    assert_int_equal(kept(far, 4, (struct sampling){.min_p = 1e-30f}, ids), 1);
    assert_int_equal(kept(far, 4, (struct sampling){.top_p = 0.999999f}, ids), 1);
    assert_int_equal(kept(far, 4, (struct sampling){.temperature = 1e-6f, .top_k = 2}, ids), 2);

    /* Behind a list there may be ties with its last, which would count, too. */
    struct warp_scratch scratch;
    const struct warp_candidate two[] = {{0, 3}, {-1, 1}};
    const struct sampling s = {.top_k = 2, .top_p = 0.5f};
    warp_scratch_create(&scratch, 9);
    assert_int_equal(warp_truncate_sorted(two, 2, false, 9, 0, &s, &scratch).count, 0);
    assert_int_equal(warp_truncate_sorted(two, 2, true, 9, 0, &s, &scratch).count, 1);
    warp_scratch_free(&scratch);
}

static void penalties_count_what_stands_before(void **state)
{
    (void)state;
    const int32_t prompt[] = {1, 2, 2, 900, -1}, answer[] = {2, 3, 3, 3, 900};
    const struct warp_history h = {prompt, answer, 5, 5};
    int32_t counts[5] = {0}, bias_ids[] = {0, 4, 900}, banned[] = {4, 900};
    float bias[] = {1.5f, -2, 3}, scores[] = {1, 1, -1, 4, 7};
    const struct warp_part whole = {scores, 0, 5};
    struct sampling s = {.repetition_penalty = 2,
                         .presence_penalty = 0.5f,
                         .frequency_penalty = 0.25f,
                         .bias_ids = bias_ids,
                         .bias = bias,
                         .n_bias = 3,
                         .banned_ids = banned,
                         .n_banned = 2,
                         .banned_until = 5};
    warp_adjust(&whole, &s, &h, counts);
    const float wanted[] = {2.5f, 0.5f, -2 - 0.75f, 2 - 1.25f, 5};
    assert_memory_equal(scores, wanted, sizeof wanted);
    for (int i = 0; i < 5; i++)
        assert_int_equal(counts[i], 0);
    s.banned_until = 6; /* the sixth token is to come */
    warp_adjust(&whole, &s, &h, counts);
    assert_true(isinf(scores[4]) && scores[4] < 0);

    const struct sampling each[] = {{.repetition_penalty = 2},
                                    {.repetition_penalty = 1, .presence_penalty = 0.5f},
                                    {.repetition_penalty = 1, .frequency_penalty = 0.25f}};
    const float alone[] = {2, 4 - 0.5f, 4 - 0.75f}; /* of the id that the answer has three times */
    for (int i = 0; i < 3; i++) {
        scores[3] = 4;
        warp_adjust(&whole, &each[i], &h, counts);
        assert_true(scores[3] == alone[i]);
    }
}

static int32_t token_of(const float *from, int n, const struct sampling *s)
{
    float scores[MOST];
    const struct warp_history none = {0};
    struct sampler *sampler = sampler_new(n);
    memcpy(scores, from, (size_t)n * sizeof *scores);
    int32_t token = sampler_token(sampler, scores, s, &none, -1, NULL);
    sampler_free(sampler);
    return token;
}

/* Noise is of an id alone; what truncation leaves, and what a draft was drawn from, is of the whole row. */
static void parts_choose_where_the_rest_of_the_row_does_not_matter(void **state)
{
    (void)state;
    const struct {
        struct sampling s;
        bool divides;
    } rows[] = {{{.mode = SAMPLING_COUPLED}, true},
                {{.mode = SAMPLING_REJECTION, .top_k = 5}, true}, /* greedy */
                {{.temperature = 1, .mode = SAMPLING_COUPLED}, true},
                {{.temperature = 1, .mode = SAMPLING_COUPLED, .top_k = 5}, false},
                {{.temperature = 1, .mode = SAMPLING_COUPLED, .top_p = 0.5f}, false},
                {{.temperature = 1, .mode = SAMPLING_COUPLED, .min_p = 0.5f}, false},
                {{.temperature = 1, .mode = SAMPLING_REJECTION}, false}};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        assert_int_equal(sampler_divides(&rows[i].s), rows[i].divides);
}

/* As on ranks that hold unequal parts of a row: the token is that of the whole row, for every way to cut it. */
static void parts_choose_as_the_whole(void **state)
{
    (void)state;
    enum { N = 40 };
    const int32_t prompt[] = {1, 17, 38}, answer[] = {5, 5, 39, 20};
    const struct warp_history h = {prompt, answer, 3, 4};
    const int32_t bias_ids[] = {0, 19, 39};
    const float bias[] = {0.5f, 1, -1};
    for (uint64_t seed = 0; seed < 400; seed++) {
        struct sampling s = {.temperature = seed % 4 ? 1.3f : 0,
                             .repetition_penalty = 1.2f,
                             .frequency_penalty = 0.3f,
                             .bias_ids = bias_ids,
                             .bias = bias,
                             .n_bias = 3,
                             .seed = seed};
        float whole[N], cut[N];
        for (int i = 0; i < N; i++)
            whole[i] = cut[i] = (float)((uint64_t)(i + 7) * (seed + 3) % 11) / 3;
        int first = (int)(seed % (N - 1)) + 1;
        struct sampler *sampler = sampler_new(N);
        const struct warp_part parts[2] = {{cut, 0, first}, {cut + first, first, N - first}};
        assert_true(sampler_divides(&s));
        struct sampler_offer a = sampler_adjust(sampler, &parts[0], &s, &h), b = sampler_adjust(sampler, &parts[1], &s, &h);
        float largest = (float)fmax(a.value, b.value);
        if (s.temperature > 0) {
            a = sampler_offer(&parts[0], &s, h.n_answer, largest);
            b = sampler_offer(&parts[1], &s, h.n_answer, largest);
        }
        assert_int_equal(b.value > a.value ? b.id : a.id, sampler_token(sampler, whole, &s, &h, -1, NULL));
        sampler_free(sampler);
    }
}

/* Lists of three parts, against the whole row; where a list ends too soon, that must be said. */
static void lists_choose_as_the_whole_or_say_that_they_cannot(void **state)
{
    (void)state;
    enum { N = 900, PARTS = 3 };
    const struct warp_history none = {0};
    static float whole[N], cut[N];
    static struct sampler_list lists[PARTS];
    int uncovered = 0;
    struct sampler *sampler = sampler_new(N);
    for (uint64_t seed = 0; seed < 3000; seed++) {
        struct sampling s = {.temperature = 0.5f + (float)(seed % 5) / 4,
                             .repetition_penalty = 1,
                             .seed = seed,
                             .mode = (enum sampling_mode)(seed & 1),
                             .top_k = seed & 2 ? (int)(seed % 200) + 1 : 0,
                             .top_p = seed & 4 ? 0.9f : 0,
                             .min_p = seed & 8 || !(seed & 6) ? 0.02f : 0};
        for (int i = 0; i < N; i++) /* from peaked to nearly flat, with many ties */
            whole[i] = cut[i] = (float)((uint64_t)(i + 3) * (seed + 11) % 97) / (float)(4 + seed % 41);
        float largest = -INFINITY;
        for (int p = 0; p < PARTS; p++) {
            const struct warp_part part = {cut + p * N / PARTS, p * N / PARTS, N / PARTS};
            largest = (float)fmax(largest, sampler_adjust(sampler, &part, &s, &none).value);
        }
        for (int p = 0; p < PARTS; p++) {
            const struct warp_part part = {cut + p * N / PARTS, p * N / PARTS, N / PARTS};
            sampler_list(&lists[p], &part, &s, largest);
        }
        int32_t token = sampler_choose(sampler, lists, PARTS, 1, &s, 0, -1, NULL);
        uncovered += token == SAMPLER_UNCOVERED;
        if (token != SAMPLER_UNCOVERED)
            assert_int_equal(token, sampler_token(sampler, whole, &s, &none, -1, NULL));
    }
    sampler_free(sampler);
    print_message("%d of 3000 rows are not covered\n", uncovered);
    assert_true(uncovered > 100 && uncovered < 2000);
}

static void scores_that_are_no_numbers(void **state)
{
    (void)state;
    const float none[] = {NAN, NAN, -INFINITY}, one[] = {NAN, 3, NAN};
    struct sampling s = {.repetition_penalty = 1};
    for (s.temperature = 0; s.temperature < 2; s.temperature++)
        for (s.mode = SAMPLING_COUPLED; s.mode <= SAMPLING_REJECTION; s.mode++)
            for (s.top_k = 0; s.top_k < 3; s.top_k++) {
                assert_int_equal(token_of(none, 3, &s), -1);
                assert_int_equal(token_of(one, 3, &s), 1);
            }
}

/* Scores of `n` ids, most of them alike, and the best of all last but one. */
static int32_t draft_of(int n, struct sampling s, struct draft_weights *q)
{
    float *scores = malloc((size_t)n * sizeof *scores);
    const struct warp_history none = {0};
    struct sampler *sampler = sampler_new(n);
    for (int i = 0; i < n; i++)
        scores[i] = i == n - 2 ? 3 : i == 5 ? 2 : 1;
    s.repetition_penalty = s.temperature = 1;
    int32_t token = sampler_draft(sampler, scores, &s, &none, q);
    sampler_free(sampler);
    free(scores);
    return token;
}

static double weight_of(const struct draft_weights *q, int32_t id)
{
    for (int i = 0; i < q->n; i++)
        if (q->ids[i] == id)
            return (double)q->weight[i];
    return 0;
}

/* Of ties with the last the higher ids go, and nothing that is likelier. */
static void drafts_are_drawn_from_the_largest(void **state)
{
    (void)state;
    static const struct {
        int n, top_k;
        float top_p;
        int kept;
    } rows[] = {{300, 0, 0, SAMPLING_DRAFT_IDS},
                {300, 200, 0, SAMPLING_DRAFT_IDS},
                {300, 2, 0, 2},
                {40, 0, 0, 40},
                {40, 0, 0.3f, 7},
                {300, 0, 0.3f, 14},
                {64, 0, 0, 64},
                {65, 0, 0, 64}};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct draft_weights q;
        double sum = 0;
        struct sampling s = {.mode = SAMPLING_REJECTION, .top_k = rows[i].top_k, .top_p = rows[i].top_p};
        for (s.seed = 0; s.seed < 50; s.seed++)
            assert_true(weight_of(&q, draft_of(rows[i].n, s, &q)) > 0);
        assert_int_equal(q.n, rows[i].kept);
        assert_float_equal((float)(weight_of(&q, rows[i].n - 2) / weight_of(&q, 5)), 2.71828f, 1e-4f);
        for (int j = 0; j < q.n; j++) {
            sum += (double)q.weight[j];
            assert_true(j == 0 || q.ids[j - 1] < q.ids[j]);
            assert_true(q.ids[j] == rows[i].n - 2 || q.ids[j] < rows[i].kept || q.ids[j] == 5);
        }
        assert_float_equal((float)sum, 1, 1e-5f);
        s.mode = SAMPLING_COUPLED;
        draft_of(rows[i].n, s, &q);
        assert_int_equal(q.n, 0);
    }
}

/* Ids that cannot win are passed over early; that, and where the walk begins, must not show in a single bit. */
static void coupling_is_the_largest_sum_of_score_and_noise(void **state)
{
    (void)state;
    enum { N = 41, FIRST = 7 };
    for (uint64_t seed = 0; seed < 2000; seed++) {
        float scores[N];
        double most = -INFINITY, value;
        int32_t best = -1;
        for (int i = 0; i < N; i++)
            scores[i] = (float)((i * 37 + (int)seed) % 11) * -0.25f * (float)(seed % 5);
        for (int32_t id = FIRST; id < FIRST + N; id++) {
            uint32_t upper[NOISE_GROUP];
            noise_upper(upper, seed, 3, id - id % NOISE_GROUP);
            double sum = (double)scores[id - FIRST] + noise_gumbel(seed, 3, id, upper[id % NOISE_GROUP]);
            if (sum > most) {
                most = sum;
                best = id;
            }
        }
        assert_int_equal(coupled_token(&(struct warp_row){NULL, FIRST, scores, N}, seed, 3, &value), best);
        assert_true(value == most);
    }
}

/* Half of p is on the draft, and half of what it was drawn from: it is kept whatever the noise is, also where its id is 0. */
static void a_draft_that_is_no_likelier_than_it_should_be_is_kept(void **state)
{
    (void)state;
    struct sampler *sampler = sampler_new(2);
    const struct draft_weights q = {.ids = {0, 1}, .weight = {0.5f, 0.5f}, .n = 2};
    const struct warp_history none = {0};
    struct sampling s = {.repetition_penalty = 1, .temperature = 1, .mode = SAMPLING_REJECTION};
    for (s.seed = 0; s.seed < 50; s.seed++)
        for (int32_t draft = 0; draft < 2; draft++) {
            float scores[] = {1, 1};
            assert_int_equal(sampler_token(sampler, scores, &s, &none, draft, &q), draft);
        }
    sampler_free(sampler);
}

/* What no temperature may turn into something else than the best: also where s / T is beyond every float. */
static void a_small_temperature_is_greedy(void **state)
{
    (void)state;
    const float scores[] = {1, 900, -900, 899.5f};
    struct sampling s = {.repetition_penalty = 1, .temperature = 1e-6f};
    for (s.seed = 0; s.seed < 100; s.seed++) {
        s.mode = s.seed & 1 ? SAMPLING_COUPLED : SAMPLING_REJECTION;
        s.temperature = s.seed & 2 ? 1e-6f : 1e-38f;
        assert_int_equal(token_of(scores, 4, &s), 1);
    }
}

/* A row (n), used up, that is cut into parts of `columns`, the last one shorter. */
static struct logprobs logprobs_of(float *scores, int n, int columns, int32_t chosen, int top)
{
    struct sampler_share shares[8];
    struct logprobs l;
    int parts = 0;
    float largest = scores[warp_best(scores, n)];
    for (int first = 0; first < n; first += columns) {
        const struct warp_part part = {scores + first, first, first + columns < n ? columns : n - first};
        sampler_share(&shares[parts++], &part, largest, chosen, top);
    }
    sampler_logprobs(&l, shares, parts, 1, largest, top);
    return l;
}

static void logprobs_are_those_of_the_softmax(void **state)
{
    (void)state;
    float scores[] = {1, 3, NAN, 2, 3, -5};
    double sum = 0;
    for (int i = 0; i < 6; i++)
        sum += isnan(scores[i]) ? 0 : exp((double)scores[i]);
    struct logprobs l = logprobs_of(scores, 6, 6, 3, 3);
    assert_float_equal(l.chosen, (float)(2 - log(sum)), 1e-6f);
    assert_int_equal(l.n_top, 3);
    assert_int_equal(l.top_ids[0], 1); /* ties: the lower id first */
    assert_int_equal(l.top_ids[1], 4);
    assert_int_equal(l.top_ids[2], 3);
    assert_true(l.top[2] == l.chosen && l.top[0] == l.top[1]);
    l = logprobs_of(scores, 6, 6, 0, 1);
    assert_true(l.n_top == 1 && l.top_ids[0] == 1);
    l = logprobs_of(scores, 6, 6, 0, 20);
    assert_int_equal(l.n_top, 5);
    l = logprobs_of(scores, 6, 6, 0, 0);
    assert_int_equal(l.n_top, 0);
}

/* Rows from nearly flat to one whose best leaves the others 1e-9, with ties: what long double says, and the same bits for every
 * cut. */
static void logprobs_are_the_same_however_a_row_is_cut(void **state)
{
    (void)state;
    enum { N = 3001 };
    static float row[N], copy[N];
    for (int sharp = 1; sharp <= 40; sharp++) {
        long double sum = 0;
        for (int i = 0; i < N; i++)
            row[i] = (float)((i * 7919 + sharp) % 1009) / 1009 * (float)sharp / 2 + (i == 1234 ? (float)sharp : 0);
        for (int i = 0; i < N; i++)
            sum += expl((long double)row[i] - (long double)row[1234]);
        for (int32_t chosen = 0; chosen < N; chosen += 617) {
            const struct logprobs whole = logprobs_of(memcpy(copy, row, sizeof row), N, N, chosen, 20);
            float wanted = (float)((long double)row[chosen] - (long double)row[1234] - logl(sum));
            /* near 0 a double's logarithm of a mass near 1 is the limit */
            assert_true(fabsf(whole.chosen - wanted) <= fabsf(wanted) * FLT_EPSILON + 0x1p-52f);
            for (int columns = 376; columns < N; columns += 375) {
                const struct logprobs cut = logprobs_of(memcpy(copy, row, sizeof row), N, columns, chosen, 20);
                assert_memory_equal(&cut, &whole, sizeof cut);
            }
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(truncation_agrees_with_the_goldens),
        cmocka_unit_test(truncation_at_the_borders),
        cmocka_unit_test(penalties_count_what_stands_before),
        cmocka_unit_test(parts_choose_where_the_rest_of_the_row_does_not_matter),
        cmocka_unit_test(parts_choose_as_the_whole),
        cmocka_unit_test(lists_choose_as_the_whole_or_say_that_they_cannot),
        cmocka_unit_test(scores_that_are_no_numbers),
        cmocka_unit_test(drafts_are_drawn_from_the_largest),
        cmocka_unit_test(coupling_is_the_largest_sum_of_score_and_noise),
        cmocka_unit_test(a_draft_that_is_no_likelier_than_it_should_be_is_kept),
        cmocka_unit_test(a_small_temperature_is_greedy),
        cmocka_unit_test(logprobs_are_those_of_the_softmax),
        cmocka_unit_test(logprobs_are_the_same_however_a_row_is_cut),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
