/* test_metrics.c - counting on the scheduler's stage, and the text, line by line */
#include "tests/coordinator/stage.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "coordinator/metrics_table.h"
#include "coordinator/metrics_text.h"

static const struct metrics_build build = {"1.2", "big \"model\"", "a\\b\nc", "massv"};

static void assert_line(const struct metrics *metrics, const char *line)
{
    size_t size;
    char *text = metrics_text(metrics, &build, true, &size), whole[512];
    assert_int_equal(strlen(text), size);
    snprintf(whole, sizeof whole, "\n%s\n", line);
    if (!strstr(text, whole))
        fail_msg("no line %s in\n%s", line, text);
    free(text);
}

static struct metrics *metrics_new(void)
{
    struct metrics *metrics = malloc(sizeof *metrics);
    metrics_init(metrics);
    return metrics;
}

static void a_value_falls_into_the_bucket_that_it_does_not_exceed(void **state)
{
    (void)state;
    const struct scale scale = {3, {1, 2, 4}};
    struct histogram h = {.scale = &scale};
    const double values[] = {0, 1, 1.5, 2, 4, 4.1, 1000};
    for (int i = 0; i < 7; i++)
        histogram_add(&h, values[i]);
    assert_int_equal(h.counts[0], 2);
    assert_int_equal(h.counts[1], 2);
    assert_int_equal(h.counts[2], 1);
    assert_int_equal(h.counts[3], 2);
    assert_int_equal(histogram_count(&h), 7);
    assert_true(h.sum > 1012.59 && h.sum < 1012.61);
}

static void scales_rise(void **state)
{
    (void)state;
    const struct metric *tables[] = {metric_table, metric_group_table};
    for (int t = 0; t < 2; t++)
        for (const struct metric *metric = tables[t]; metric->name; metric++) {
            assert_int_equal(metric->type == METRIC_HISTOGRAM, metric->scale != NULL);
            for (int i = 1; metric->scale && i < metric->scale->n; i++)
                assert_true(metric->scale->bounds[i - 1] < metric->scale->bounds[i]);
        }
}

static void text_has_escapes_labels_and_cumulative_buckets(void **state)
{
    (void)state;
    struct metrics *m = metrics_new();
    m->failure[RPC_NOT_FOUND] = 3;
    m->acceptance.accepted_per_position[4] = UINT64_MAX;
    m->kv_usage = 0.25;
    histogram_add(&m->first_token, 0.002);
    histogram_add(&m->first_token, 0.03);
    histogram_add(&m->first_token, 1e6);
    assert_line(m, "massv_engine_healthy 1");
    assert_line(m, "massv_build_info{version=\"1.2\",model=\"big \\\"model\\\"\",drafter=\"a\\\\b\\nc\",drafter_kind=\"massv\"} 1");
    assert_line(m, "massv_request_failure_total{status=\"NOT_FOUND\"} 3");
    assert_line(m, "massv_spec_decode_num_accepted_tokens_per_pos_total{position=\"4\"} 18446744073709551615");
    assert_line(m, "massv_kv_cache_usage_perc 0.25");
    assert_line(m, "# TYPE massv_time_to_first_token_seconds histogram");
    assert_line(m, "massv_time_to_first_token_seconds_bucket{le=\"0.001\"} 0");
    assert_line(m, "massv_time_to_first_token_seconds_bucket{le=\"0.0025\"} 1");
    assert_line(m, "massv_time_to_first_token_seconds_bucket{le=\"0.04\"} 2");
    assert_line(m, "massv_time_to_first_token_seconds_bucket{le=\"2560\"} 2");
    assert_line(m, "massv_time_to_first_token_seconds_bucket{le=\"+Inf\"} 3");
    assert_line(m, "massv_time_to_first_token_seconds_sum 1000000.032");
    assert_line(m, "massv_time_to_first_token_seconds_count 3");
    free(m);
}

static void a_place_is_taken_again_and_its_counts_go_on(void **state)
{
    (void)state;
    struct metrics *m = metrics_new();
    struct step_hello hello = {.ranks = 2, .host = "h1", .device = "cpu"};
    assert_int_equal(metrics_attach(m, &hello), 0);
    assert_int_equal(metrics_attach(m, &hello), 1);
    histogram_add(&m->groups[0].rows, 6);
    metrics_detach(m, 0);
    assert_line(m, "massv_group_attached{group=\"0\",ranks=\"2\",host=\"h1\",device=\"cpu\"} 0");
    assert_line(m, "massv_group_attached{group=\"1\",ranks=\"2\",host=\"h1\",device=\"cpu\"} 1");
    snprintf(hello.host, sizeof hello.host, "h9");
    assert_int_equal(metrics_attach(m, &hello), 0);
    assert_line(m, "massv_group_attached{group=\"0\",ranks=\"2\",host=\"h9\",device=\"cpu\"} 1");
    assert_line(m, "massv_group_step_rows_bucket{group=\"0\",le=\"8\"} 1");
    assert_line(m, "massv_group_step_rows_sum{group=\"0\"} 6");
    assert_int_equal(m->groups_lost, 1);
    for (int i = 2; i < METRICS_GROUPS; i++)
        assert_int_equal(metrics_attach(m, &hello), i);
    assert_int_equal(metrics_attach(m, &hello), -1);
    metrics_detach(m, -1);
    assert_int_equal(m->groups_lost, 2);
    free(m);
}

/* ---- on the stage ---- */

static struct metrics *metrics_of(const struct stage *stage)
{
    struct metrics *metrics = malloc(sizeof *metrics);
    scheduler_metrics(stage->scheduler, metrics);
    return metrics;
}

static void counts_are_those_of_the_answers(void **state)
{
    (void)state;
    struct stage stage;
    stage_open(&stage, NULL);
    stage_attach(&stage, 100, 64);
    stage.right = 2;
    struct stage_question question = {.prompt = 9, .max_tokens = 13, .k = 3}, plain = {.prompt = 21, .max_tokens = 5, .k = 0};
    struct stage_client *drafted = stage_ask(&stage, &question), *undrafted = stage_ask(&stage, &plain);
    stage_run(&stage);
    struct metrics *m = metrics_of(&stage);
    assert_int_equal(m->prompt_tokens, drafted->usage.prompt_tokens + undrafted->usage.prompt_tokens);
    assert_int_equal(m->generation_tokens, 13 + 5);
    assert_int_equal(m->success[REASON_LENGTH], 2);
    assert_int_equal(m->success[REASON_STOP], 0);
    assert_int_equal(m->acceptance.steps, drafted->speculation.steps + undrafted->speculation.steps);
    assert_int_equal(m->acceptance.drafted, drafted->speculation.drafted);
    assert_int_equal(m->acceptance.accepted, drafted->speculation.accepted);
    assert_memory_equal(m->acceptance.accepted_per_position, drafted->speculation.accepted_per_position,
                        sizeof m->acceptance.accepted_per_position);
    assert_int_equal(m->draft_rounds, drafted->speculation.steps);
    assert_int_equal(histogram_count(&m->first_token), 2);
    assert_int_equal(histogram_count(&m->inter_token), drafted->deltas + undrafted->deltas - 2);
    assert_int_equal(histogram_count(&m->total), 2);
    assert_int_equal(histogram_count(&m->per_token), 2);
    assert_true(histogram_count(&m->groups[0].step) > 4);
    assert_true(m->kv_usage <= 0 && m->running <= 0);
    free(m);
    stage_close(&stage);
}

static void ends_are_told_apart(void **state)
{
    (void)state;
    struct stage stage;
    stage_open(&stage, &(struct scheduler_options){.max_waiting = 1});
    struct stage_group *group = stage_attach(&stage, 100, 64);
    struct stage_question question = {.id = "one", .prompt = 9, .max_tokens = 400, .k = 3};
    stage_ask(&stage, &question);
    stage_prepare(&stage, "broken picture");
    struct stage_client *client = stage_ask(&stage, &question);
    stage_prepare(&stage, NULL);
    stage_turn(&stage, 0.01);
    stage_ask(&stage, &question); /* its name is taken */
    struct metrics *m = metrics_of(&stage);
    assert_true(m->running > 0 && m->kv_usage > 0 && m->groups[0].running > 0 && m->groups_attached > 0);
    assert_int_equal(m->failure[RPC_INVALID_ARGUMENT], 1);
    assert_int_equal(m->failure[RPC_ALREADY_EXISTS], 1);
    free(m);
    stage_answer(group);
    stage_lose(group);
    stage_turn(&stage, 0.01);
    stage_cancel(&stage, client);
    m = metrics_of(&stage);
    assert_int_equal(m->groups_lost, 1);
    assert_int_equal(m->requests_replayed, 1);
    assert_int_equal(m->failure[RPC_CANCELLED], 1);
    assert_true(m->groups_attached <= 0 && m->groups[0].attached <= 0);
    free(m);
    stage_close(&stage);
}

static void a_call_that_fails_counts_once_and_each_answer_that_came(void **state)
{
    (void)state;
    struct stage stage;
    stage_open(&stage, &(struct scheduler_options){.max_waiting = 3});
    struct stage_question question = {.id = "three", .prompt = 9, .max_tokens = 400, .outputs = 3};
    stage_ask(&stage, &question);
    stage_prepare(&stage, "broken picture");
    stage_turn(&stage, 0.01);
    struct stage_client *client = stage_ask(&stage, &question);
    stage_ask(&stage, &question);                                                            /* its name is taken */
    stage_ask(&stage, &(struct stage_question){.prompt = 9, .max_tokens = 4, .outputs = 2}); /* no room */
    stage_turn(&stage, 0.01);
    stage_cancel(&stage, client);
    stage_attach(&stage, 100, 64);
    stage_ask(&stage, &(struct stage_question){.prompt = 9, .max_tokens = 4, .outputs = 3});
    stage_run(&stage);
    struct metrics *m = metrics_of(&stage);
    assert_int_equal(m->failure[RPC_INVALID_ARGUMENT], 1);
    assert_int_equal(m->failure[RPC_ALREADY_EXISTS], 1);
    assert_int_equal(m->failure[RPC_RESOURCE_EXHAUSTED], 1);
    assert_int_equal(m->failure[RPC_CANCELLED], 1);
    assert_int_equal(m->success[REASON_LENGTH], 3);
    free(m);
    stage_close(&stage);
}

static void drafter_faults_and_refusals_are_counted(void **state)
{
    (void)state;
    struct stage stage;
    stage_open(&stage, NULL);
    stage_attach(&stage, 100, 64);
    struct stage_question question = {.prompt = 9, .max_tokens = 13, .k = 3};
    stage.draft_fails = true;
    stage_ask(&stage, &question);
    stage_run(&stage);
    stage.draft_fails = false;
    stage.draft_refuses = true;
    stage_ask(&stage, &question);
    stage_run(&stage);
    struct metrics *m = metrics_of(&stage);
    assert_int_equal(m->drafter_faults, 1);
    assert_int_equal(m->drafter_refusals, 1);
    assert_int_equal(m->success[REASON_LENGTH], 2);
    assert_int_equal(m->draft_rounds, 0);
    free(m);
    stage_close(&stage);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_value_falls_into_the_bucket_that_it_does_not_exceed),
        cmocka_unit_test(scales_rise),
        cmocka_unit_test(text_has_escapes_labels_and_cumulative_buckets),
        cmocka_unit_test(a_place_is_taken_again_and_its_counts_go_on),
        cmocka_unit_test(counts_are_those_of_the_answers),
        cmocka_unit_test(ends_are_told_apart),
        cmocka_unit_test(a_call_that_fails_counts_once_and_each_answer_that_came),
        cmocka_unit_test(drafter_faults_and_refusals_are_counted),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
