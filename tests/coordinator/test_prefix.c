/* test_prefix.c - prompts that begin alike: what they share, who computes it, and that no text changes whatever happens to it */
#include "tests/coordinator/stage.h"

#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "coordinator/page_cache.h"
#include "coordinator/page_key.h"

static const struct scheduler_options on = {.prefix_cache = true};

/* ---- the table ---- */

static void key_of(uint64_t key[2], int i)
{
    key[0] = (uint64_t)i * 64; /* the same slot for all */
    key[1] = (uint64_t)i;
}

static void add(struct page_cache *cache, int i)
{
    uint64_t key[2];
    key_of(key, i);
    page_cache_add(cache, key, 1, 1);
}

static enum page_state state_of(const struct page_cache *cache, int i)
{
    uint64_t key[2];
    key_of(key, i);
    return page_cache_state(cache, key);
}

static void leave(struct page_cache *cache, int i)
{
    uint64_t key[2];
    key_of(key, i);
    page_cache_leave(cache, key);
}

static void use(struct page_cache *cache, int i)
{
    uint64_t key[2];
    key_of(key, i);
    page_cache_use(cache, key);
}

static int evict(struct page_cache *cache)
{
    uint64_t key[2];
    return page_cache_evict(cache, key) ? (int)key[1] : -1;
}

static void the_page_whose_last_user_left_first_is_given_up_first(void **state)
{
    (void)state;
    struct page_cache *cache = page_cache_new();
    for (int i = 0; i < 5; i++)
        add(cache, i);
    assert_int_equal(state_of(cache, 3), PAGE_COMPUTING);
    leave(cache, 4);
    assert_int_equal(page_cache_idle(cache), 0); /* it is not there yet */
    assert_int_equal(evict(cache), -1);
    assert_int_equal(page_cache_land(cache, true), 0);
    assert_true(state_of(cache, 3) == PAGE_USED && state_of(cache, 4) == PAGE_IDLE);
    for (int i = 3; i >= 0; i--)
        leave(cache, i);
    use(cache, 3); /* used again, so the last to go */
    use(cache, 3);
    leave(cache, 3);
    assert_int_equal(page_cache_idle(cache), 4);
    leave(cache, 3);
    const int order[] = {4, 2, 1, 0, 3, -1};
    for (int i = 0; i < 6; i++)
        assert_int_equal(evict(cache), order[i]);
    assert_int_equal(state_of(cache, 2), PAGE_UNKNOWN);
    add(cache, 2); /* and back */
    page_cache_land(cache, true);
    leave(cache, 2);
    assert_int_equal(evict(cache), 2);
    page_cache_free(cache);
}

static void pages_of_a_refused_step_are_unknown_again(void **state)
{
    (void)state;
    struct page_cache *cache = page_cache_new();
    add(cache, 1);
    page_cache_land(cache, true);
    add(cache, 2);
    add(cache, 3);
    leave(cache, 2);
    leave(cache, 3);
    assert_int_equal(page_cache_land(cache, false), 2);
    assert_true(state_of(cache, 1) == PAGE_USED && state_of(cache, 2) == PAGE_UNKNOWN && state_of(cache, 3) == PAGE_UNKNOWN);
    page_cache_free(cache);
}

/* ---- keys ---- */

enum { PROMPT = 70, PAGE = 16, PAGES = PROMPT / PAGE };

struct paper { /* a prompt, with a picture of 20 rows from row 24 on */
    struct prepared prepared;
    int32_t ids[PROMPT], positions[PROMPT][3];
    struct prompt_picture picture;
    struct prepared_picture features;
};

static void paper_make(struct paper *paper)
{
    *paper = (struct paper){.picture = {.first = 24, .count = 20}, .features = {.hash = {1, 2}}};
    for (int i = 0; i < PROMPT; i++) {
        paper->ids[i] = i;
        for (int axis = 0; axis < 3; axis++)
            paper->positions[i][axis] = i + axis;
    }
    paper->prepared.prompt.ids = paper->ids;
    paper->prepared.prompt.positions = paper->positions;
    paper->prepared.prompt.n = PROMPT;
    paper->prepared.prompt.pictures = &paper->picture;
    paper->prepared.pictures = &paper->features;
    paper->prepared.prompt.n_pictures = paper->prepared.n_pictures = 1;
}

/* Pages whose keys are those of the plain paper. */
static int same_pages(const struct paper *paper, const struct page_secret *secret)
{
    static struct paper plain;
    uint64_t a[PAGES][2], b[PAGES][2];
    int n = 0;
    paper_make(&plain);
    page_keys_make(a, PAGES, PAGE, &plain.prepared, secret);
    page_keys_make(b, PAGES, PAGE, &paper->prepared, secret);
    while (n < PAGES && memcmp(a[n], b[n], sizeof a[n]) == 0)
        n++;
    for (int i = n; i < PAGES; i++)
        assert_memory_not_equal(a[i], b[i], sizeof a[i]); /* a difference goes on to the end */
    return n;
}

static void a_key_depends_on_all_that_its_rows_depend_on(void **state)
{
    (void)state;
    struct page_secret secret, other;
    static struct paper paper;
    page_secret_draw(&secret);
    page_secret_draw(&other);
    paper_make(&paper);
    assert_int_equal(same_pages(&paper, &secret), PAGES);
    for (int i = 0; i < PROMPT; i += 3) {
        paper_make(&paper);
        paper.ids[i]++;
        assert_int_equal(same_pages(&paper, &secret), i / PAGE < PAGES ? i / PAGE : PAGES);
        for (int axis = 0; axis < 3; axis++) {
            paper_make(&paper);
            paper.positions[i][axis]++;
            assert_int_equal(same_pages(&paper, &secret), i / PAGE < PAGES ? i / PAGE : PAGES);
        }
    }
    for (int word = 0; word < 2; word++) {
        paper_make(&paper);
        paper.features.hash[word]++;
        assert_int_equal(same_pages(&paper, &secret), 1);
    }
    paper_make(&paper);
    paper.picture.first++;
    assert_int_equal(same_pages(&paper, &secret), 1);
    paper_make(&paper);
    paper.picture.count--;
    assert_int_equal(same_pages(&paper, &secret), 2);
    paper_make(&paper);
    uint64_t a[PAGES][2], b[PAGES][2];
    page_keys_make(a, PAGES, PAGE, &paper.prepared, &secret);
    page_keys_make(b, PAGES, PAGE, &paper.prepared, &other);
    for (int i = 0; i < PAGES; i++)
        assert_memory_not_equal(a[i], b[i], sizeof a[i]);
}

/* ---- requests ---- */

static void metrics_of(const struct stage *stage, struct metrics *metrics)
{
    scheduler_metrics(stage->scheduler, metrics);
}

static void a_prompt_that_was_there_before_is_not_computed_again(void **state)
{
    (void)state;
    static struct metrics metrics;
    struct stage stage;
    struct stage_question first = {.prompt = 70, .seed = 1, .max_tokens = 20, .k = 3}, longer = first, other = first, half = first;
    longer.prompt = 90;
    other.seed = 2;
    half.prompt = 64; /* four whole pages, but the last row must be computed */
    const struct {
        const struct stage_question *question;
        int cached;
    } rows[] = {{&first, 0}, {&first, 64}, {&longer, 64}, {&longer, 80}, {&other, 0}, {&half, 48}, {&half, 48}};
    stage_open(&stage, &on);
    struct stage_group *group = stage_attach(&stage, 100, 64);
    stage_run(&stage);
    int queries = 0, hits = 0;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        int before = group->prompt_rows;
        struct stage_client *client = stage_ask(&stage, rows[i].question);
        stage_run(&stage);
        stage_check_answer(client, rows[i].question, 20);
        assert_int_equal(client->usage.cached_tokens, rows[i].cached);
        assert_int_equal(group->prompt_rows - before, rows[i].question->prompt - rows[i].cached);
        queries += rows[i].question->prompt;
        hits += rows[i].cached;
    }
    metrics_of(&stage, &metrics);
    assert_int_equal(metrics.prefix_queries, queries);
    assert_int_equal(metrics.prefix_hits, hits);
    assert_true(metrics.kv_usage == 0 && metrics.kv_cached == (double)group->n_kept / 100);
    assert_int_equal(group->n_kept, 5 + 4);
    stage_close(&stage);
}

static void without_the_cache_everything_is_computed(void **state)
{
    (void)state;
    static struct metrics metrics;
    struct stage stage;
    struct stage_question question = {.prompt = 70, .max_tokens = 4};
    stage_open(&stage, NULL);
    struct stage_group *group = stage_attach(&stage, 100, 64);
    for (int i = 0; i < 2; i++) {
        struct stage_client *client = stage_ask(&stage, &question);
        stage_run(&stage);
        stage_check_answer(client, &question, 4);
        assert_int_equal(client->usage.cached_tokens, 0);
    }
    metrics_of(&stage, &metrics);
    assert_true(group->n_kept == 0 && metrics.prefix_queries == 0 && metrics.kv_cached == 0);
    stage_close(&stage);
}

static void a_repeated_picture_is_not_even_sent_again(void **state)
{
    (void)state;
    struct stage stage;
    struct stage_question question = {.prompt = 70, .seed = 5, .max_tokens = 6, .k = 2, .picture = 12}, other = question;
    other.picture = 14;
    stage_open(&stage, &on);
    struct stage_group *group = stage_attach(&stage, 100, 20);
    stage_run(&stage);
    struct stage_client *a = stage_ask(&stage, &question);
    stage_run(&stage);
    int pieces = group->pieces;
    struct stage_client *b = stage_ask(&stage, &question);
    stage_run(&stage);
    assert_int_equal(group->pieces, pieces);
    struct stage_client *c = stage_ask(&stage, &other); /* its picture begins in the second page */
    stage_run(&stage);
    assert_true(group->pieces > pieces);
    stage_check_answer(a, &question, 6);
    stage_check_answer(b, &question, 6);
    stage_check_answer(c, &other, 6);
    assert_int_equal(b->usage.cached_tokens, 64);
    assert_int_equal(c->usage.cached_tokens, 16);
    stage_close(&stage);
}

/* The younger ones wait for the pages that the oldest computes, and the rows of all are its. */
static void prompts_that_enter_together_are_computed_once(void **state)
{
    (void)state;
    struct stage stage;
    struct stage_question question = {.prompt = 200, .max_tokens = 8, .outputs = 4}, longer = {.prompt = 230, .max_tokens = 8};
    stage_open(&stage, &on);
    struct stage_group *group = stage_attach(&stage, 200, 64);
    stage_run(&stage);
    int before = group->prompt_rows;
    struct stage_client *clients = stage_ask(&stage, &question), *last = stage_ask(&stage, &longer);
    stage_run(&stage);
    for (int i = 0; i < 4; i++) {
        stage_check_answer(&clients[i], &question, 8);
        assert_int_equal(clients[i].usage.cached_tokens, i ? 192 : 0);
    }
    stage_check_answer(last, &longer, 8);
    assert_int_equal(last->usage.cached_tokens, 192);
    assert_int_equal(group->prompt_rows - before, 200 + 3 * 8 + 38);
    stage_close(&stage);
}

static void when_the_older_one_goes_the_next_takes_over(void **state)
{
    (void)state;
    struct stage stage;
    struct stage_question question = {.prompt = 200, .max_tokens = 8};
    stage_open(&stage, &on);
    struct stage_group *group = stage_attach(&stage, 200, 40);
    stage_run(&stage);
    struct stage_client *a = stage_ask(&stage, &question), *b = stage_ask(&stage, &question);
    stage_prepare(&stage, NULL);
    stage_answer(group);
    stage_answer(group);
    stage_cancel(&stage, a); /* 80 rows are computed, 40 are on the way */
    stage_run(&stage);
    assert_int_equal(a->status, RPC_CANCELLED);
    stage_check_answer(b, &question, 8);
    assert_int_equal(b->usage.cached_tokens, 112);
    stage_close(&stage);
}

/* ---- room ---- */

static void cached_pages_are_given_up_for_requests(void **state)
{
    (void)state;
    struct stage stage;
    struct load_info load;
    stage_open(&stage, &on);
    struct stage_group *group = stage_attach(&stage, 12, 64);
    stage_run(&stage);
    for (int i = 0; i < 6; i++) {
        struct stage_question question = {.prompt = 70, .seed = i, .max_tokens = 20};
        struct stage_client *client = stage_ask(&stage, &question);
        stage_run(&stage);
        stage_check_answer(client, &question, 20);
        scheduler_load(stage.scheduler, &load);
        assert_int_equal(load.kv_positions_reserved, 0);
        assert_int_equal(load.kv_positions_cached, 16 * group->n_kept);
    }
    assert_true(group->forgotten > 8);
    struct stage_question last = {.prompt = 70, .seed = 5, .max_tokens = 20}, large = {.prompt = 150, .seed = 7, .max_tokens = 40};
    struct stage_client *again = stage_ask(&stage, &last);
    stage_run(&stage);
    assert_int_equal(again->usage.cached_tokens, 64);
    struct stage_client *all = stage_ask(&stage, &large); /* all twelve pages */
    stage_run(&stage);
    stage_check_answer(all, &large, 40);
    stage_close(&stage);
}

/* Many requests that share much on a group that is much too small, some cancelled, with refused steps and lost groups between. */
static void no_text_changes_whatever_happens(void **state)
{
    (void)state;
    int preempted = 0, adopted = 0, forgotten = 0;
    for (int walk = 0; walk < 12; walk++) {
        struct stage stage;
        struct stage_client *clients[16];
        struct stage_question questions[16];
        int steps = 0;
        stage_open(&stage, &on);
        struct stage_group *group = stage_attach(&stage, 14 + walk % 3, 40);
        stage_run(&stage);
        for (int i = 0; i < 16; i++) {
            questions[i] = (struct stage_question){.prompt = 30 + 17 * (i % 4),
                                                   .seed = i / 2 % 3,
                                                   .max_tokens = 20 + 5 * (i % 5),
                                                   .k = walk % 4,
                                                   .picture = i % 3 ? 0 : 8};
            clients[i] = stage_ask(&stage, &questions[i]);
        }
        stage_prepare(&stage, NULL);
        for (; group->step.id; steps++) {
            if (walk % 4 == 1 && steps == 9)
                stage_cancel(&stage, clients[3]);
            if (walk % 4 == 2 && steps % 15 == 14) {
                stage_lose(group);
                group = stage_attach(&stage, 14, 40);
            } else if (walk % 4 == 3 && steps == 12) {
                stage_refuse(group);
            } else {
                stage_answer(group);
            }
        }
        for (int i = 0; i < 16; i++) {
            assert_true(clients[i]->ended);
            if (clients[i]->status == RPC_OK)
                stage_check_answer(clients[i], &questions[i], questions[i].max_tokens);
        }
        struct server_info info = {0};
        struct load_info load;
        scheduler_server_info(stage.scheduler, &info);
        scheduler_load(stage.scheduler, &load);
        preempted += (int)info.preemptions;
        adopted += group->adopted;
        forgotten += group->forgotten;
        assert_true(load.kv_positions_reserved == 0 && load.kv_positions_cached == 16 * group->n_kept);
        stage_close(&stage);
    }
    assert_true(preempted > 10 && adopted > 100 && forgotten > 50);
}

static void a_lost_group_takes_its_pages_along(void **state)
{
    (void)state;
    struct stage stage;
    struct stage_question question = {.prompt = 70, .max_tokens = 8};
    stage_open(&stage, &on);
    struct stage_group *group = stage_attach(&stage, 40, 64);
    stage_run(&stage);
    struct stage_client *a = stage_ask(&stage, &question);
    stage_run(&stage);
    stage_lose(group);
    group = stage_attach(&stage, 40, 64);
    struct stage_client *b = stage_ask(&stage, &question);
    stage_run(&stage);
    stage_check_answer(a, &question, 8);
    stage_check_answer(b, &question, 8);
    assert_true(b->usage.cached_tokens == 0 && group->adopted == 0);
    stage_close(&stage);
}

/* A request goes where its prompt is, unless much more goes on there. */
static void groups_attract_what_they_know(void **state)
{
    (void)state;
    struct stage stage;
    struct stage_client *clients[10];
    struct stage_question first = {.prompt = 70, .seed = 1, .max_tokens = 60}, second = first;
    second.seed = 2;
    stage_open(&stage, &on);
    struct stage_group *a = stage_attach(&stage, 120, 64), *b = stage_attach(&stage, 120, 64);
    stage_run(&stage);
    stage_ask(&stage, &first);
    stage_ask(&stage, &second);
    stage_run(&stage);
    assert_true(a->n_kept == 4 && b->n_kept == 4);
    for (int i = 0; i < 3; i++) { /* all is quiet on both */
        clients[0] = stage_ask(&stage, &second);
        stage_run(&stage);
        assert_int_equal(clients[0]->usage.cached_tokens, 64);
    }
    assert_true(a->n_kept == 4 && b->n_kept == 4);
    for (int i = 0; i < 10; i++)
        clients[i] = stage_ask(&stage, &second);
    stage_prepare(&stage, NULL);
    assert_true(b->step.n_spans > a->step.n_spans && a->step.n_spans > 0);
    stage_run(&stage);
    for (int i = 0; i < 10; i++)
        stage_check_answer(clients[i], &second, 60);
    stage_close(&stage);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_page_whose_last_user_left_first_is_given_up_first),
        cmocka_unit_test(pages_of_a_refused_step_are_unknown_again),
        cmocka_unit_test(a_key_depends_on_all_that_its_rows_depend_on),
        cmocka_unit_test(a_prompt_that_was_there_before_is_not_computed_again),
        cmocka_unit_test(without_the_cache_everything_is_computed),
        cmocka_unit_test(a_repeated_picture_is_not_even_sent_again),
        cmocka_unit_test(prompts_that_enter_together_are_computed_once),
        cmocka_unit_test(when_the_older_one_goes_the_next_takes_over),
        cmocka_unit_test(cached_pages_are_given_up_for_requests),
        cmocka_unit_test(no_text_changes_whatever_happens),
        cmocka_unit_test(a_lost_group_takes_its_pages_along),
        cmocka_unit_test(groups_attract_what_they_know),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
