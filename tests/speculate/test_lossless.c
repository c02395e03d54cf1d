/* test_lossless.c - both modes of verification leave the target's distribution as it is: a million tokens for each pair of target
 * and drafter through the code that serves, against the target's probabilities (chi-square), and a wrong residual that must show */
#include <math.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>

#include "tests/check.h"

#include "speculate/noise.h"
#include "speculate/sampler.h"

enum { MOST = 12, SAMPLES_WRONG = 100000 };
#if defined __SANITIZE_THREAD__ || defined __SANITIZE_ADDRESS__
enum { SAMPLES = 50000 }; /* what sanitizers see shows early */
#else
enum { SAMPLES = 1000000 };
#endif

/* Scores of target and drafter over n ids, and how both are warped. */
static const struct pair {
    const char *name;
    int n;
    float target[MOST], drafter[MOST];
    struct sampling sampling;
} pairs[] = {
#define T .temperature
    {"equal", 4, {0, 1, 2, 0.5f}, {0, 1, 2, 0.5f}, {T = 1}},
    {"close", 4, {0, 1, 2, 0.5f}, {0.2f, 0.8f, 2.1f, 0.4f}, {T = 1}},
    {"flat", 6, {1, 1, 1, 1, 1, 1}, {1, 1, 1, 1, 1, 1}, {T = 1}},
    {"flat target, peaked drafter", 5, {0, 0, 0, 0, 0}, {6, 0, 0, 0, 0}, {T = 1}},
    {"peaked target, flat drafter", 5, {6, 0, 0, 0, 0}, {0, 0, 0, 0, 0}, {T = 1}},
    {"both peaked, apart", 4, {5, 0, 0, 0}, {0, 5, 0, 0}, {T = 1}},
    {"reversed", 6, {0, 1, 2, 3, 4, 5}, {5, 4, 3, 2, 1, 0}, {T = 1}},
    {"disjoint by top-k", 6, {9, 8, 7, 0, 0, 0}, {0, 0, 0, 9, 8, 7}, {T = 1, .top_k = 3}},
    {"overlapping by top-k", 6, {4, 4, 3, 3, 0, 0}, {0, 0, 3, 3, 4, 4}, {T = 1, .top_k = 4}},
    {"top-k 1 of the target", 5, {3, 2, 1, 0, 0}, {2, 3, 1, 0, 0}, {T = 1, .top_k = 1}},
    {"top-p", 6, {3, 2.5f, 2, 1, 0, -1}, {2, 2.5f, 3, 1, 0, -1}, {T = 1, .top_p = 0.8f}},
    {"narrow top-p", 5, {1, 0.9f, 0.8f, 0, 0}, {0, 0.9f, 1, 0, 2}, {T = 1, .top_p = 0.4f}},
    {"min-p", 6, {3, 2, 1, 0, -1, -2}, {0, 2, 1, 3, -1, -2}, {T = 1, .min_p = 0.1f}},
    {"all three",
     8,
     {3, 2.5f, 2, 1.5f, 1, 0, 0, 0},
     {1, 2.5f, 2, 1.5f, 3, 0, 0, 0},
     {T = 1, .top_k = 6, .top_p = 0.9f, .min_p = 0.1f}},
    {"hot", 5, {4, 2, 0, -2, -4}, {-4, 2, 0, -2, 4}, {T = 3}},
    {"cold", 5, {1, 0.9f, 0.8f, 0.5f, 0}, {0.9f, 1, 0.8f, 0.6f, 0}, {T = 0.2f}},
    {"rare ids", 4, {8, 0, 1, 0}, {0, 0, 1, 8}, {T = 1}},
    {"two ids", 2, {0, 0.1f}, {0.1f, 0}, {T = 1}},
    {"ids that only the target has", 4, {2, 1, 1, 2}, {2, 1, -INFINITY, -INFINITY}, {T = 1}},
    {"ids that only the drafter has", 4, {2, 1, -INFINITY, -INFINITY}, {0, 0, 2, 1}, {T = 1}},
    {"a drafter that is sure", 4, {1, 0, 1, 0}, {-INFINITY, 0, -INFINITY, -INFINITY}, {T = 1}},
    {"many ids", 12, {0, 1, 2, 0, 1, 2, 0, 1, 2, 0, 1, 2}, {2, 1, 0, 2, 1, 0, 2, 1, 0, 2, 1, 0}, {T = 0.8f, .top_k = 9}},
#undef T
};

static const struct warp_history nothing;

/* The target's probabilities in double precision, by the definition: for so few ids sorting is looking. */
static void probabilities(const struct pair *pair, double p[MOST])
{
    double most = -INFINITY, mass = 0, before = 0;
    int order[MOST], n = pair->n;
    const struct sampling *s = &pair->sampling;
    for (int i = 0; i < n; i++) {
        order[i] = i;
        p[i] = (double)pair->target[i] / (double)s->temperature;
        most = fmax(most, p[i]);
    }
    for (int i = 0; i < n; i++)
        p[i] = exp(p[i] - most);
    for (int i = 0; i < n; i++)
        for (int j = i + 1; j < n; j++)
            if (p[order[j]] > p[order[i]]) {
                int id = order[i];
                order[i] = order[j];
                order[j] = id;
            }
    for (int i = s->top_k ? s->top_k : n; i < n; i++)
        if (p[order[i]] < p[order[s->top_k - 1]])
            p[order[i]] = 0;
    for (int i = 0; i < n; i++)
        mass += p[i];
    for (int i = 0; i < n; i++) {
        double own = p[order[i]];
        if ((s->top_p > 0 && before >= (double)s->top_p * mass) || own < (double)s->min_p)
            p[order[i]] = 0;
        before += own;
    }
    mass = 0;
    for (int i = 0; i < n; i++)
        mass += p[i];
    for (int i = 0; i < n; i++)
        p[i] /= mass;
}

/* How a token comes to be: sampler_token, or something wrong. */
static int32_t served(struct sampler *sampler, const struct pair *pair, const struct sampling *s, int32_t draft,
                      const struct draft_weights *q)
{
    float scores[MOST];
    memcpy(scores, pair->target, sizeof scores);
    return sampler_token(sampler, scores, s, &nothing, draft, q);
}

/* The mutant: a refused draft is replaced by a token from p, not from what p has more than q. */
static int32_t without_residual(struct sampler *sampler, const struct pair *pair, const struct sampling *s, int32_t draft,
                                const struct draft_weights *q)
{
    int32_t token = served(sampler, pair, s, draft, q);
    return token == draft ? token : served(sampler, pair, s, -1, NULL);
}

/* Upper tail of chi-square with f degrees of freedom (Wilson, Hilferty 1931): the standard normal's that it is like. */
static double tail(double chi, int f)
{
    double v = 2.0 / (9.0 * f), z = (cbrt(chi / f) - (1 - v)) / sqrt(v);
    return 0.5 * erfc(z / sqrt(2));
}

struct trial { /* so many tokens of one pair */
    const struct pair *pair;
    enum sampling_mode mode;
    uint64_t samples;
    int32_t (*rule)(struct sampler *, const struct pair *, const struct sampling *, int32_t, const struct draft_weights *);
    double p, kept; /* p-value, share of the drafts that stayed */
};

static void trial_judge(struct trial *t, const int *seen)
{
    double p[MOST], chi = 0, samples = (double)t->samples;
    int freedom = -1;
    probabilities(t->pair, p);
    t->p = 0;
    for (int i = 0; i < t->pair->n; i++) {
        double wanted = p[i] * samples;
        if (p[i] == 0 && seen[i])
            return; /* what truncation leaves out may never come */
        chi += p[i] > 0 ? (seen[i] - wanted) * (seen[i] - wanted) / wanted : 0;
        freedom += p[i] > 0;
    }
    t->p = freedom ? tail(chi, freedom) : 1;
}

static void trial_run(struct trial *t)
{
    int seen[MOST] = {0}, accepted = 0;
    struct sampling s = t->pair->sampling;
    struct sampler *sampler = sampler_new(t->pair->n);
    s.mode = t->mode;
    s.repetition_penalty = 1;
    for (s.seed = 0; s.seed < t->samples; s.seed++) {
        float scores[MOST];
        struct draft_weights q;
        memcpy(scores, t->pair->drafter, sizeof scores);
        int32_t draft = sampler_draft(sampler, scores, &s, &nothing, &q), token = t->rule(sampler, t->pair, &s, draft, &q);
        seen[token]++;
        accepted += token == draft;
    }
    sampler_free(sampler);
    trial_judge(t, seen);
    t->kept = (double)accepted / (double)t->samples;
}

static void *trials_run(void *arg)
{
    for (struct trial *t = arg; t->pair; t++)
        trial_run(t);
    return NULL;
}

/* A thread for each mode. */
static void both_modes_leave_the_distribution_as_it_is(void **state)
{
    (void)state;
    enum { N = sizeof pairs / sizeof *pairs };
    _Static_assert(N >= 20, "so many pairs are promised");
    static struct trial trials[2][N + 1];
    pthread_t threads[2];
    for (int mode = 0; mode < 2; mode++) {
        for (int i = 0; i < N; i++)
            trials[mode][i] =
                (struct trial){.pair = &pairs[i], .mode = (enum sampling_mode)mode, .samples = SAMPLES, .rule = served};
        assert_int_equal(pthread_create(&threads[mode], NULL, trials_run, trials[mode]), 0);
    }
    for (int mode = 0; mode < 2; mode++)
        pthread_join(threads[mode], NULL);
    print_message("%-32s coupled: p, kept   rejection: p, kept\n", "");
    for (int i = 0; i < N; i++) {
        const struct trial *c = &trials[SAMPLING_COUPLED][i], *r = &trials[SAMPLING_REJECTION][i];
        print_message("%-32s   %.3f %5.1f %%        %.3f %5.1f %%\n", pairs[i].name, c->p, 100 * c->kept, r->p, 100 * r->kept);
        assert_true(c->p > 0.001 && r->p > 0.001); /* the numbers are fixed, so it is the same each time */
    }
}

static void a_wrong_residual_shows(void **state)
{
    (void)state;
    for (size_t i = 3; i < 7; i++) { /* where p and q differ */
        struct trial t = {.pair = &pairs[i], .mode = SAMPLING_REJECTION, .samples = SAMPLES_WRONG, .rule = without_residual};
        trial_run(&t);
        assert_true(t.p < 1e-6);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(both_modes_leave_the_distribution_as_it_is),
        cmocka_unit_test(a_wrong_residual_shows),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
