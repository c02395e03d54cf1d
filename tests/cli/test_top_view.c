/* test_top_view.c - rates between two looks, and lines that fit */
#include "tests/check.h"

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/top_view.h"

/* Two seconds apart: 30 tokens, 6 drafts of 4 of which 15 accepted, 10 steps of group 0 that took 50 ms each, 40 their own. */
static struct top_look before = {
    .at = 10,
    .server = {.version = "1.2",
               .kv_positions = 4096,
               .activity = {.uptime = 3723,
                            .generation_tokens = 100,
                            .prompt_tokens = 7,
                            .draft_rounds = 4,
                            .drafted = 16,
                            .accepted = 1,
                            .n_groups = 1,
                            .groups = {{.host = "h1",
                                        .device = "cpu",
                                        .ranks = 2,
                                        .attached = true,
                                        .steps = 5,
                                        .step_seconds = 1,
                                        .compute_seconds = 1}}}},
    .model = {.model = "m", .drafter = "d", .drafter_kind = "massv"},
    .health = {.state = "READY"},
};

static struct top_look later(void)
{
    struct top_look now = before;
    now.at = 12;
    now.server.running = 3;
    now.server.activity.generation_tokens = 130;
    now.server.activity.draft_rounds = 10;
    now.server.activity.drafted = 40;
    now.server.activity.accepted = 16;
    now.server.activity.kv_usage = 0.125;
    now.server.activity.kv_cached = 0.5;
    now.server.activity.prefix_queries = 200;
    now.server.activity.prefix_hits = 128;
    now.server.activity.groups[0].steps = 15;
    now.server.activity.groups[0].step_seconds = 1.5;
    now.server.activity.groups[0].compute_seconds = 1.4;
    now.server.activity.groups[0].kv_usage = 0.125;
    now.server.activity.groups[1] = (struct group_activity){.group = 1, .host = "evil\033[2J", .device = "gpu", .ranks = 1};
    now.server.activity.n_groups = 2;
    return now;
}

static char *print(const struct top_look *a, const struct top_look *b, const char *trouble, struct top_size size)
{
    char *text = NULL;
    size_t n;
    FILE *out = open_memstream(&text, &n);
    top_print(out, "h:1", a, b, trouble, size, "\n");
    fclose(out);
    return text;
}

static void rates_are_those_of_the_interval(void **state)
{
    (void)state;
    struct top_look now = later();
    char *text = print(&before, &now, NULL, (struct top_size){100, 200});
    assert_string_equal(text,
                        "m on h:1: READY  up 1 h 02 min  massv 1.2\n"
                        "requests   3 running  0 waiting  0 answered  0 failed  0 preempted\n"
                        "tokens     15.0 generated/s  0.0 prompt/s  130 generated  7 of prompts\n"
                        "drafts     3.50 tokens a step  62 % accepted  d (massv)\n"
                        "cache      12.5 % of 4096 positions  50.0 % kept for prompts to come  64 % of prompt tokens found there\n"
                        "\n"
                        "group  state     running  cache  steps/s  step ms  own ms  ranks  host, device\n"
                        "    0  attached        0    12%      5.0    50.00   40.00      2  h1, cpu\n"
                        "    1  lost            0     0%      0.0     0.00    0.00      1  evil?[2J, gpu\n");
    free(text);
}

static void lines_fit_the_screen(void **state)
{
    (void)state;
    struct top_look now = later();
    char *text = print(&before, &now, "no way", (struct top_size){3, 21});
    assert_string_equal(text, "m on h:1: NO ANSWER, \nrequests   3 running \ntokens     15.0 gener\n");
    free(text);
}

/* A restarted service counts from 0 again; the same look twice has no time between. */
static void what_shrinks_or_stands_has_no_rate(void **state)
{
    (void)state;
    struct top_look now = later();
    const struct top_look pairs[2][2] = {{now, before}, {now, now}};
    for (int i = 0; i < 2; i++) {
        char *text = print(&pairs[i][0], &pairs[i][1], NULL, (struct top_size){100, 200});
        assert_non_null(strstr(text, "\ntokens     0.0 generated/s  0.0 prompt/s"));
        assert_non_null(strstr(text, "\ndrafts     none now  d (massv)\n"));
        assert_non_null(strstr(text, "    0.0     0.00    0.00      2  h1"));
        free(text);
    }
}

static void json_has_the_same(void **state)
{
    (void)state;
    struct top_look now = later();
    char *text = NULL;
    size_t n;
    FILE *out = open_memstream(&text, &n);
    top_json(out, &before, &now);
    fclose(out);
    json_t *root = json_loads(text, 0, NULL);
    assert_non_null(root);
    double generated, length, step;
    const char *host;
    assert_int_equal(json_unpack(root, "{s:{s:f}, s:{s:f}, s:[{s:f}, {s:s}]}", "tokens", "generated_per_second", &generated,
                                 "speculation", "mean_acceptance_length", &length, "groups", "step_ms", &step, "host", &host),
                     0);
    assert_true(generated > 14.99 && generated < 15.01 && length > 3.49 && length < 3.51 && step > 49.9 && step < 50.1);
    assert_string_equal(host, "evil\033[2J");
    json_decref(root);
    free(text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(rates_are_those_of_the_interval),
        cmocka_unit_test(lines_fit_the_screen),
        cmocka_unit_test(what_shrinks_or_stands_has_no_rate),
        cmocka_unit_test(json_has_the_same),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
