/* test_placement.c - where a request goes: to the faster group, the emptier one, the one that knows its prompt */
#include "tests/coordinator/stage.h"

#include <stdlib.h>
#include <string.h>

#include "coordinator/placement.h"

enum { PROMPT = 100, PAGES = 400, LEARNED = 20 };

static void nothing(void *call)
{
    (void)call;
}

static const struct link_calls calls = {.drop = nothing};

static struct group *group_of(int pages)
{
    const struct link link = {.calls = &calls};
    struct group *group = group_new(&link, 0);
    group->attached = true;
    group->hello.pages = group->blocks_free = pages;
    group->hello.page_positions = 16;
    group->layout = (struct kv_layout){.page_positions = 16, .block_layers = 1, .blocks = {1, 0}};
    return group;
}

/* Steps of a ms and b more for each row; prompt rows of c. */
static void teach(struct group *group, double a, double b, double c)
{
    for (int i = 0; i < LEARNED; i++)
        for (int rows = 1; rows <= 64; rows *= 2)
            pace_learn(&group->pace, 1, rows, 0, a + b * rows);
    for (int i = 0; i < LEARNED; i++)
        pace_learn(&group->pace, 1, 1, 10, a + b + 10 * c);
    assert_true(placement_knows(&group->pace));
}

static struct request request_of(int draft_tokens)
{
    return (struct request){.prepared = {.prompt = {.n = PROMPT}}, .draft_tokens = draft_tokens};
}

/* Places n requests one after the other; counts those on the first group. */
static int place(struct group *first, struct group *second, const struct pace *known, int n)
{
    int count = 0;
    struct request requests[64] = {{0}}, *all[64];
    for (int i = 0; i < n; i++) {
        requests[i] = request_of(4);
        double a = placement_burden(first, known, all, i, &requests[i]), b = placement_burden(second, known, all, i, &requests[i]);
        requests[i].group = a <= b ? first : second;
        requests[i].computed = PROMPT;
        count += a <= b;
        all[i] = &requests[i];
    }
    return count;
}

static void equal_groups_share_alike(void **state)
{
    (void)state;
    struct group *a = group_of(PAGES), *b = group_of(PAGES);
    assert_int_equal(place(a, b, NULL, 40), 20);
    teach(a, 10, 1, 0.5);
    assert_int_equal(place(a, b, &a->pace, 40), 20); /* b has just come, and is taken for what a is: no herd */
    teach(b, 10, 1, 0.5);
    assert_int_equal(place(a, b, &a->pace, 40), 20);
    group_free(a);
    group_free(b);
}

static void a_slower_group_gets_less(void **state)
{
    (void)state;
    struct group *fast = group_of(PAGES), *slow = group_of(PAGES);
    teach(fast, 10, 1, 0.5);
    teach(slow, 20, 2, 1);
    int most = place(fast, slow, &fast->pace, 30);
    assert_in_range(most, 20, 25); /* equal steps: 10 + 5 x = 20 + 10 (30 - x) at x = 20.7 */
    group_free(fast);
    group_free(slow);
}

static void a_full_cache_puts_off(void **state)
{
    (void)state;
    struct group *full = group_of(PAGES), *empty = group_of(PAGES);
    struct request request = request_of(0);
    teach(full, 10, 1, 0.5);
    teach(empty, 11, 1, 0.5);
    assert_true(placement_burden(full, NULL, NULL, 0, &request) < placement_burden(empty, NULL, NULL, 0, &request));
    full->blocks_free = PAGES / 2;
    assert_true(placement_burden(full, NULL, NULL, 0, &request) > placement_burden(empty, NULL, NULL, 0, &request));
    group_free(full);
    group_free(empty);
}

static void prompts_in_front_count(void **state)
{
    (void)state;
    struct group *group = group_of(PAGES);
    struct request ahead = request_of(0), request = request_of(0), *all[] = {&ahead};
    teach(group, 10, 0, 0.5);
    ahead.group = group;
    ahead.computed = PROMPT;
    double without = placement_burden(group, NULL, all, 1, &request);
    ahead.computed = 20;
    double more = placement_burden(group, NULL, all, 1, &request) - without;
    assert_true(more > 39 && more < 41); /* 80 rows of half a millisecond */
    group_free(group);
}

/* In a group of 10 ms and 1 ms a row whose prompt rows take half of one. */
static void check_burden(const struct group *group, struct request *const *beside, int n, int draft_tokens, int rows)
{
    struct request request = request_of(draft_tokens);
    double wanted = PROMPT * 0.5 + PLACEMENT_ANSWER * (10 + rows);
    double burden = placement_burden(group, NULL, beside, n, &request);
    assert_true(burden > 0.99 * wanted && burden < 1.01 * wanted);
}

static void a_request_costs_its_prompt_and_an_answer_of_drafts(void **state)
{
    (void)state;
    struct group *group = group_of(PAGES);
    struct request other = request_of(8), *all[] = {&other};
    teach(group, 10, 1, 0.5);
    other.group = group;
    other.computed = PROMPT;
    check_burden(group, NULL, 0, 0, 1);
    check_burden(group, NULL, 0, 4, 1 + 4);
    check_burden(group, NULL, 0, DRAFT_TOKENS_AUTO, 1 + DRAFT_TOKENS_DEFAULT);
    check_burden(group, all, 1, 4, 1 + 4 + 1 + 8);
    group_free(group);
}

static void half_a_pace_is_none(void **state)
{
    (void)state;
    struct pace steps = {0};
    for (int i = 0; i < LEARNED; i++)
        pace_learn(&steps, 1, 1, 0, 11);
    assert_false(placement_knows(&steps)); /* nothing about prompt rows */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(equal_groups_share_alike),
        cmocka_unit_test(a_slower_group_gets_less),
        cmocka_unit_test(a_full_cache_puts_off),
        cmocka_unit_test(prompts_in_front_count),
        cmocka_unit_test(a_request_costs_its_prompt_and_an_answer_of_drafts),
        cmocka_unit_test(half_a_pace_is_none),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
