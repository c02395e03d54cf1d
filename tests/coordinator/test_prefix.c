/* test_prefix.c - prompts that begin alike: what they share, who computes it, and that no text changes whatever happens to it */
#include "tests/coordinator/stage.h"

#include "coordinator/prefix.h"

static const struct scheduler_options on = {.prefix_cache = true};

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

static void prompts_that_differ_do_not_wait_for_each_other(void **state)
{
    (void)state;
    struct stage stage;
    struct stage_question first = {.prompt = 70, .seed = 1, .max_tokens = 8}, second = {.prompt = 70, .seed = 2, .max_tokens = 8};
    stage_open(&stage, &on);
    struct stage_group *group = stage_attach(&stage, 100, 40);
    stage_run(&stage);
    stage_ask(&stage, &first);
    stage_ask(&stage, &second);
    stage_prepare(&stage, NULL);
    assert_int_equal(group->step.n_spans, 2);
    stage_run(&stage);
    stage_close(&stage);
}

static void nothing(void *call)
{
    (void)call;
}

/* To wait is worth it for a page that an older one has yet to compute, and for a request that can still take it over. */
static void a_request_waits_only_for_what_it_can_take_over(void **state)
{
    (void)state;
    static const struct link_calls calls = {.drop = nothing};
    struct group *group = group_new(&(struct link){.calls = &calls}, 0);
    group->layout.page_positions = STAGE_PAGE;
    uint64_t keys[4][2] = {{1, 1}, {2, 2}, {3, 3}, {4, 4}}, others[4][2] = {{1, 2}, {2, 2}, {3, 3}, {4, 4}};
    struct request older = {.page_keys = keys, .n_page_keys = 4, .page_positions = STAGE_PAGE, .prepared.prompt.n = 70};
    struct request request = older, *before[] = {&older};
    older.computed = STAGE_PAGE - 1;
    assert_true(prefix_waits(group, &request, before, 1));
    assert_false(prefix_waits(group, &request, before, 0));
    older.computed = STAGE_PAGE;
    assert_false(prefix_waits(group, &request, before, 1));
    older.computed = 0;
    older.page_keys = others;
    assert_false(prefix_waits(group, &request, before, 1));
    older.page_keys = keys;
    request.begun = true;
    assert_false(prefix_waits(group, &request, before, 1));
    group_free(group);
}

/* The step that computes its pages is away: they are not there yet, and not to be computed twice. */
static void a_prompt_that_comes_while_its_pages_are_computed_waits_for_them(void **state)
{
    (void)state;
    struct stage stage;
    struct stage_question question = {.prompt = 70, .seed = 1, .max_tokens = 8};
    stage_open(&stage, &on);
    struct stage_group *group = stage_attach(&stage, 100, 128);
    stage_run(&stage);
    struct stage_client *a = stage_ask(&stage, &question);
    stage_prepare(&stage, NULL);
    assert_true(group->step.n_spans == 1 && group->step.spans[0].n_keep == 4);
    struct stage_client *b = stage_ask(&stage, &question);
    stage_run(&stage);
    stage_check_answer(a, &question, 8);
    stage_check_answer(b, &question, 8);
    assert_int_equal(b->usage.cached_tokens, 64);
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

/* The smaller group, which cannot take the request, is asked last. */
static void pages_are_those_of_the_group_that_takes_the_request(void **state)
{
    (void)state;
    struct stage stage;
    struct stage_question question = {.prompt = 70, .max_tokens = 8};
    stage_open(&stage, &on);
    struct stage_group *large = stage_attach(&stage, 100, 64), *small = stage_dial(&stage, 1, 64);
    stage_run(&stage);
    small->page_positions = 2 * STAGE_PAGE;
    struct step_hello hello = stage_hello_of(small);
    stage_hello(small, &hello);
    for (int i = 0; i < 2; i++) {
        struct stage_client *client = stage_ask(&stage, &question);
        stage_run(&stage);
        stage_check_answer(client, &question, 8);
        assert_int_equal(client->usage.cached_tokens, i * 64);
    }
    assert_int_equal(large->n_kept, 4);
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

/* Pages in use are no room, but they are not wanted either: an answer that shares them needs one page of its own. */
static void pages_that_are_shared_are_not_counted_twice(void **state)
{
    (void)state;
    struct stage stage;
    struct stage_question first = {.prompt = 70, .seed = 1, .max_tokens = 20}, second = first;
    struct server_info info = {0};
    second.max_tokens = 8;
    stage_open(&stage, &on);
    struct stage_group *group = stage_attach(&stage, 7, 128); /* 6 for the first, 1 for the second */
    stage_run(&stage);
    struct stage_client *a = stage_ask(&stage, &first);
    stage_prepare(&stage, NULL);
    stage_answer(group);
    struct stage_client *b = stage_ask(&stage, &second);
    stage_prepare(&stage, NULL);
    scheduler_server_info(stage.scheduler, &info);
    assert_int_equal(info.running, 2);
    stage_run(&stage);
    stage_check_answer(a, &first, 20);
    stage_check_answer(b, &second, 8);
    scheduler_server_info(stage.scheduler, &info);
    assert_int_equal(info.preemptions, 0);
    stage_close(&stage);
}

/* What a preempted request finds again is its own work: it was no hit. */
static void a_request_that_comes_back_was_not_cached(void **state)
{
    (void)state;
    struct stage stage;
    struct stage_question first = {.prompt = 40, .seed = 1, .max_tokens = 60}, second = {.prompt = 40, .seed = 2, .max_tokens = 60};
    struct server_info info = {0};
    stage_open(&stage, &on);
    struct stage_group *group = stage_attach(&stage, 9, 128);
    stage_run(&stage);
    struct stage_client *clients[] = {stage_ask(&stage, &first), stage_ask(&stage, &second)};
    stage_run(&stage);
    scheduler_server_info(stage.scheduler, &info);
    assert_true(info.preemptions > 0 && group->adopted > 0);
    for (int i = 0; i < 2; i++)
        assert_int_equal(clients[i]->usage.cached_tokens, 0);
    stage_check_answer(clients[0], &first, 60);
    stage_check_answer(clients[1], &second, 60);
    stage_close(&stage);
}

/* The last pages are given up, and what is left ends within a picture that must be whole, at its beginning, or at its end. */
static void rows_behind_adopted_pages_do_not_begin_within_a_picture(void **state)
{
    (void)state;
    const struct {
        int prompt, picture, cached;
    } rows[] = {{70, 12, 16} /* rows 29 to 40 */, {70, 6, 32} /* from row 32 on */, {52, 12, 32} /* up to row 31 */};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct stage stage;
        struct stage_question question = {.prompt = rows[i].prompt, .seed = 1, .max_tokens = 4, .picture = rows[i].picture};
        struct stage_question other = {.prompt = 148, .seed = 2, .max_tokens = 8}; /* ten of the twelve pages: two stay */
        stage_open(&stage, &on);
        stage.whole = rows[i].picture;
        struct stage_group *group = stage_attach(&stage, 12, 64);
        stage_run(&stage);
        stage_ask(&stage, &question);
        stage_run(&stage);
        stage_ask(&stage, &other);
        stage_run(&stage);
        assert_int_equal(group->forgotten, question.prompt / STAGE_PAGE - 2);
        struct stage_client *again = stage_ask(&stage, &question);
        stage_run(&stage);
        stage_check_answer(again, &question, 4);
        assert_int_equal(again->usage.cached_tokens, rows[i].cached);
        stage_close(&stage);
    }
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
        cmocka_unit_test(a_prompt_that_was_there_before_is_not_computed_again),
        cmocka_unit_test(without_the_cache_everything_is_computed),
        cmocka_unit_test(a_repeated_picture_is_not_even_sent_again),
        cmocka_unit_test(prompts_that_enter_together_are_computed_once),
        cmocka_unit_test(prompts_that_differ_do_not_wait_for_each_other),
        cmocka_unit_test(a_request_waits_only_for_what_it_can_take_over),
        cmocka_unit_test(a_prompt_that_comes_while_its_pages_are_computed_waits_for_them),
        cmocka_unit_test(when_the_older_one_goes_the_next_takes_over),
        cmocka_unit_test(pages_are_those_of_the_group_that_takes_the_request),
        cmocka_unit_test(cached_pages_are_given_up_for_requests),
        cmocka_unit_test(pages_that_are_shared_are_not_counted_twice),
        cmocka_unit_test(a_request_that_comes_back_was_not_cached),
        cmocka_unit_test(rows_behind_adopted_pages_do_not_begin_within_a_picture),
        cmocka_unit_test(no_text_changes_whatever_happens),
        cmocka_unit_test(a_lost_group_takes_its_pages_along),
        cmocka_unit_test(groups_attract_what_they_know),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
