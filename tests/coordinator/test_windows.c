/* test_windows.c - groups whose local layers forget: what is counted for them, what prompts still share, and that no text changes
 */
#include "tests/coordinator/stage.h"

#include <stdlib.h>
#include <string.h>

enum { WINDOW = 40, ROWS = 48, BLOCKS = 4 };
static const struct scheduler_options on = {.prefix_cache = true,
                                            .identity.layout = {.block_layers = 1, .blocks = {1, 3}, .window = WINDOW}},
                                      off = {.identity.layout = {.block_layers = 1, .blocks = {1, 3}, .window = WINDOW}};

/* Blocks that are kept and nobody's. */
static int blocks_kept(const struct stage_group *group)
{
    int blocks = 0;
    for (int i = 0; i < group->n_kept; i++)
        blocks += step_key_local(group->kept[i].key) ? 3 : 1;
    return blocks;
}

static void check_idle(const struct stage *stage, const struct stage_group *group)
{
    struct load_info load;
    scheduler_load(stage->scheduler, &load);
    assert_int_equal(load.kv_positions, group->pages * STAGE_PAGE);
    assert_int_equal(load.kv_positions_reserved, 0);
    assert_int_equal(load.kv_positions_cached, blocks_kept(group) * STAGE_PAGE / BLOCKS);
}

/* 400 positions where 192 have place in all layers: 25 global pages, and 6 local ones of 3 blocks. */
static void a_long_request_takes_little_more_than_its_global_pages(void **state)
{
    (void)state;
    struct stage stage;
    struct stage_question question = {.prompt = 330, .max_tokens = 70, .k = 3}, larger = question;
    struct load_info load;
    larger.max_tokens = 150;
    stage_open(&stage, &off);
    struct stage_group *group = stage_attach(&stage, 12, ROWS);
    stage_run(&stage);
    struct stage_client *client = stage_ask(&stage, &question), *refused = stage_ask(&stage, &larger);
    stage_prepare(&stage, NULL);
    int local = kv_layout_local_most(&stage.layout, ROWS), most = 0;
    assert_int_equal(local, 7);
    while (!client->ended) {
        stage_answer(group);
        scheduler_load(stage.scheduler, &load);
        most = load.kv_positions_reserved > most ? (int)load.kv_positions_reserved : most;
    }
    stage_check_answer(client, &question, 70);
    assert_int_equal(most, (25 + 3 * local) * STAGE_PAGE / BLOCKS);
    assert_in_range(group->most_blocks, 25 + 3 * 3, 25 + 3 * local);
    assert_int_equal(refused->status, RPC_RESOURCE_EXHAUSTED); /* 30 + 21 blocks of 48 */
    assert_non_null(strstr(refused->message, "the largest worker group holds 432"));
    check_idle(&stage, group);
    stage_close(&stage);
}

/* Local pages that the window has left are the first to be given up, and what is left of a prompt is still of use. */
static void a_prompt_is_taken_over_as_far_as_its_window_is_there(void **state)
{
    (void)state;
    struct stage stage;
    struct stage_question first = {.prompt = 330, .seed = 1, .max_tokens = 6, .k = 2}, longer = first, half = first;
    longer.prompt = 360;
    half.prompt = 200;
    stage_open(&stage, &on);
    struct stage_group *group = stage_attach(&stage, 40, ROWS);
    stage_run(&stage);
    const struct {
        const struct stage_question *question;
        int cached;
    } rows[] = {{&first, 0}, {&first, 320}, {&longer, 320}, {&longer, 352}, {&half, 192}};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        int before = group->prompt_rows;
        struct stage_client *client = stage_ask(&stage, rows[i].question);
        stage_run(&stage);
        stage_check_answer(client, rows[i].question, 6);
        assert_int_equal(client->usage.cached_tokens, rows[i].cached);
        assert_int_equal(group->prompt_rows - before, rows[i].question->prompt - rows[i].cached);
        check_idle(&stage, group);
    }
    /* Others want room: 160 blocks, of which the prompt's 22 + 66 are kept. */
    struct stage_question other = {.prompt = 200, .seed = 2, .max_tokens = 6};
    for (int i = 0; i < 2; i++, other.seed++) {
        struct stage_client *client = stage_ask(&stage, &other);
        stage_run(&stage);
        stage_check_answer(client, &other, 6);
        check_idle(&stage, group);
    }
    assert_true(group->forgotten > 4);
    struct stage_client *a = stage_ask(&stage, &half), *b = NULL; /* its window is not there, but for one that lies behind */
    stage_run(&stage);
    stage_check_answer(a, &half, 6);
    assert_true(a->usage.cached_tokens == 0 || a->usage.cached_tokens == 192);
    b = stage_ask(&stage, &half); /* it has been computed, and its local pages are there again */
    stage_run(&stage);
    stage_check_answer(b, &half, 6);
    assert_int_equal(b->usage.cached_tokens, 192);
    stage_close(&stage);
}

/* What a request has taken over it holds itself from its first step on: the table may give it up. */
static void pages_that_were_taken_over_are_counted_once(void **state)
{
    (void)state;
    struct stage stage;
    struct stage_question question = {.prompt = 330, .max_tokens = 40};
    struct load_info load;
    stage_open(&stage, &on);
    struct stage_group *group = stage_attach(&stage, 60, ROWS);
    stage_run(&stage);
    stage_ask(&stage, &question);
    stage_run(&stage);
    struct stage_client *again = stage_ask(&stage, &question);
    stage_prepare(&stage, NULL);
    for (int step = 0; !again->ended; step++) {
        int known = 330 + again->n;
        scheduler_load(stage.scheduler, &load);
        int own = (known + 15) / 16 + 3 * 7, pinned = step ? 0 : 3 * (20 - (321 - WINDOW) / 16);
        if (group->step.id)
            assert_in_range(load.kv_positions_reserved, (own - 1 + pinned) * STAGE_PAGE / BLOCKS,
                            (own + pinned) * STAGE_PAGE / BLOCKS);
        stage_answer(group);
    }
    stage_check_answer(again, &question, 40);
    assert_int_equal(again->usage.cached_tokens, 320);
    check_idle(&stage, group);
    stage_close(&stage);
}

/* A cache that one request fills to the last block has no room for kept local pages beside its own: it begins without them. */
static void a_request_that_fills_the_cache_begins_without_the_table(void **state)
{
    (void)state;
    for (int pages = 9; pages < 13; pages++) {
        struct stage stage;
        /* All blocks but the 21 of local pages are global pages. */
        struct stage_question large = {.prompt = 16 * (4 * pages - 21) - 3, .max_tokens = 3},
                              small = {.prompt = 100, .max_tokens = 3};
        stage_open(&stage, &on);
        struct stage_group *group = stage_attach(&stage, pages, ROWS);
        stage_run(&stage);
        for (int i = 0; i < 6; i++) {
            const struct stage_question *question = i % 2 ? &large : &small;
            struct stage_client *client = stage_ask(&stage, question);
            stage_run(&stage);
            stage_check_answer(client, question, 3);
            assert_true(i % 2 == 0 || client->usage.cached_tokens == 0);
            check_idle(&stage, group);
        }
        stage_close(&stage);
    }
}

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
    assert_int_equal(group->prompt_rows - before, 200 + 3 * 8 + 38);
    check_idle(&stage, group);
    stage_close(&stage);
}

/* Many requests of many windows that share much on a group that is much too small, some cancelled, with refused steps and lost
 * groups between. The group checks that nothing is missing and nothing too much. */
static void no_text_changes_whatever_happens(void **state)
{
    (void)state;
    int preempted = 0, adopted = 0, forgotten = 0;
    for (int walk = 0; walk < 16; walk++) {
        struct stage stage;
        struct stage_client *clients[16];
        struct stage_question questions[16];
        int steps = 0, pages = 15 + walk % 5 + (walk < 12 ? 0 : 25);
        stage_open(&stage, walk < 4 ? &off : &on);
        struct stage_group *group = stage_attach(&stage, pages, 20 + walk);
        stage_run(&stage);
        for (int i = 0; i < 16; i++) {
            questions[i] = (struct stage_question){.prompt = 30 + 41 * (i % 4),
                                                   .seed = i / 2 % 3,
                                                   .max_tokens = 20 + 13 * (i % 5),
                                                   .k = walk % 4,
                                                   .picture = i % 3 ? 0 : 8};
            clients[i] = stage_ask(&stage, &questions[i]);
        }
        stage_prepare(&stage, NULL);
        for (; group->step.id; steps++) {
            if (walk % 4 == 1 && steps == 9)
                stage_cancel(&stage, clients[3]);
            if (walk % 4 == 2 && steps % 90 == 50) {
                stage_lose(group);
                group = stage_attach(&stage, pages, 20 + walk);
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
            else
                assert_true(walk % 4 == 1 || walk % 4 == 3);
        }
        struct server_info info = {0};
        scheduler_server_info(stage.scheduler, &info);
        preempted += (int)info.preemptions;
        adopted += group->adopted;
        forgotten += group->forgotten;
        check_idle(&stage, group);
        stage_close(&stage);
    }
    print_message("%d preempted, %d adopted, %d forgotten\n", preempted, adopted, forgotten);
    assert_true(preempted > 10 && adopted > 100 && forgotten > 50);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_long_request_takes_little_more_than_its_global_pages),
        cmocka_unit_test(a_prompt_is_taken_over_as_far_as_its_window_is_there),
        cmocka_unit_test(pages_that_were_taken_over_are_counted_once),
        cmocka_unit_test(a_request_that_fills_the_cache_begins_without_the_table),
        cmocka_unit_test(prompts_that_enter_together_are_computed_once),
        cmocka_unit_test(no_text_changes_whatever_happens),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
