/* test_distill.c - the plan of a distillation, and the file that its answers are added to */
#include "tests/check.h"

#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "train/distill_file.h"
#include "train/distill_plan.h"

static const struct distill_settings settings = {.temperatures = {0, 0.3, 0.7, 1},
                                                 .n_temperatures = 4,
                                                 .top_p = 0.95,
                                                 .samples = 8,
                                                 .max_tokens = 64,
                                                 .logprobs = -1,
                                                 .seed = 11};

static void samples_go_through_all_temperatures_in_an_order_of_their_question(void **state)
{
    (void)state;
    int first[4] = {0};
    for (int line = 1; line <= 4000; line++) {
        int seen[2][4] = {{0}};
        for (int s = 0; s < 8; s++) {
            struct distill_draw draw = distill_draw(&settings, line, s);
            for (int t = 0; t < 4; t++)
                if (draw.temperature == settings.temperatures[t]) {
                    seen[s / 4][t]++;
                    first[t] += s == 0;
                }
        }
        for (int t = 0; t < 4; t++)
            assert_true(seen[0][t] == 1 && seen[1][t] == 1);
    }
    for (int t = 0; t < 4; t++) /* 1000 expected; the deviation of a binomial count is 27 */
        assert_in_range(first[t], 1000 - 140, 1000 + 140);
}

static void seeds_differ_and_follow_from_the_seed(void **state)
{
    (void)state;
    struct distill_settings other = settings;
    other.seed = 12;
    enum { LINES = 200 };
    uint64_t seeds[LINES * 8];
    for (int i = 0; i < LINES * 8; i++) {
        seeds[i] = distill_draw(&settings, 1 + i / 8, i % 8).seed;
        assert_true(seeds[i] >> 63 == 0);
        assert_true(seeds[i] == distill_draw(&settings, 1 + i / 8, i % 8).seed);
        assert_true(seeds[i] != distill_draw(&other, 1 + i / 8, i % 8).seed);
        for (int j = 0; j < i; j++)
            assert_true(seeds[i] != seeds[j]);
    }
}

/* What these settings give for the sample of a question. */
static struct record record_like(const struct question *q, int sample)
{
    static int32_t ids[] = {1, 642};
    static char answer[] = "a", finish[] = "stop", target[] = "m", fingerprint[] = "f";
    struct distill_draw draw = distill_draw(&settings, q->line, sample);
    return (struct record){.question = *q,
                           .answer = answer,
                           .ids = ids,
                           .n = 2,
                           .finish = finish,
                           .target = target,
                           .fingerprint = fingerprint,
                           .line = q->line,
                           .sample = sample,
                           .max_tokens = settings.max_tokens,
                           .temperature = draw.temperature,
                           .top_p = settings.top_p,
                           .seed = draw.seed};
}

static void differs(const struct record *r, const struct question *q, const struct distill_settings *s, const char *fingerprint,
                    const char *words)
{
    struct error err = {""};
    assert_int_equal(distill_matches(r, q, "p.png", s, fingerprint, &err), -1);
    if (!strstr(err.text, words))
        fail_msg("\"%s\" does not say \"%s\"", err.text, words);
}

static void a_line_of_another_run_is_told_by_what_differs(void **state)
{
    (void)state;
    char image[] = "p.png", prompt[] = "What?", other[] = "Who?", *earlier[] = {other, prompt};
    struct question q = {.line = 7, .image = image, .prompt = prompt};
    struct record r = record_like(&q, 3);
    struct distill_settings s = settings;
    assert_int_equal(distill_matches(&r, &q, "p.png", &settings, "f", NULL), 0);
    differs(&r, &q, &settings, "g", "another target (m, fingerprint f)");
    q.prompt = other;
    differs(&r, &q, &settings, "f", "another question than line 7");
    q.prompt = prompt;
    q.earlier = earlier;
    q.n_earlier = 2;
    differs(&r, &q, &settings, "f", "another question than line 7");
    q.n_earlier = 0;
    q.reference = other;
    differs(&r, &q, &settings, "f", "its reference is not that on line 7");
    q.reference = NULL;
    s.top_p = 0.9;
    differs(&r, &q, &s, "f", "--top-p 0.95");
    s = settings;
    s.samples = 3;
    differs(&r, &q, &s, "f", "sample 3");
    s = settings;
    s.max_tokens = 65;
    differs(&r, &q, &s, "f", "--max-tokens 64");
    s = settings;
    s.logprobs = 5;
    differs(&r, &q, &s, "f", "without --logprobs");
    s = settings;
    s.seed = 12;
    differs(&r, &q, &s, "f", "another --seed");
    s = settings;
    for (int i = 0; i < 4; i++)
        s.temperatures[i] += 0.1;
    differs(&r, &q, &s, "f", "other --temperatures");
    r.answer = NULL;
    differs(&r, &q, &settings, "f", "no file that distill wrote");
}

static int count(void *user, const struct record *record, struct error *err)
{
    int *n = user;
    return record->line == 13 ? fail(err, "unlucky") : (++*n, 0);
}

static struct distill_file *opened(const char *path, long cut)
{
    struct distill_file *file;
    struct error err;
    long was;
    if (distill_file_open(&file, path, &was, &err))
        fail_msg("%s", err.text);
    assert_int_equal(was, cut);
    return file;
}

static void a_torn_line_is_cut_off_and_whole_ones_stay(void **state)
{
    (void)state;
    char path[] = "/tmp/massv-distill-XXXXXX", prompt[] = "What?";
    struct question q = {.line = 1, .prompt = prompt};
    struct error err;
    struct distill_file *file, *second;
    long cut;
    int n = 0;
    close(mkstemp(path));
    file = opened(path, 0);
    for (int i = 0; i < 5; i++) {
        struct record r = record_like(&q, i);
        assert_int_equal(distill_file_add(file, &r, &err), 0);
    }
    assert_int_equal(distill_file_open(&second, path, &cut, &err), -1);
    assert_non_null(strstr(err.text, "another process adds to it"));
    assert_int_equal(distill_file_sync(file, &err), 0);
    distill_file_close(file);
    int fd = open(path, O_WRONLY | O_APPEND);
    for (int i = 0; i < 20000; i++) /* longer than a block of the search */
        assert_int_equal(write(fd, "{\"prompt", 8), 8);
    close(fd);
    file = opened(path, 160000);
    assert_int_equal(distill_file_each(file, count, &n, &err), 0);
    assert_int_equal(n, 5);
    q.line = 13;
    struct record r = record_like(&q, 0);
    assert_int_equal(distill_file_add(file, &r, &err), 0);
    assert_int_equal(distill_file_each(file, count, &n, &err), -1);
    assert_non_null(strstr(err.text, ": line 6: unlucky"));
    distill_file_close(file);
    unlink(path);
}

static void what_is_no_file_of_answers_is_not_cut(void **state)
{
    (void)state;
    static const char data[] = "[{\"conversations\": []}]"; /* without an end of line, so that all of it is a torn line */
    char path[] = "/tmp/massv-distill-XXXXXX", there[64] = "";
    struct distill_file *file;
    struct error err;
    long cut;
    int fd = mkstemp(path);
    assert_int_equal(write(fd, data, strlen(data)), strlen(data));
    assert_int_equal(distill_file_open(&file, path, &cut, &err), -1);
    assert_non_null(strstr(err.text, "is no file of answers"));
    assert_int_equal(pread(fd, there, sizeof there - 1, 0), strlen(data));
    assert_string_equal(there, data);
    close(fd);
    unlink(path);
}

/* As on a full disk: the file may not grow beyond a limit, in the middle of a line. */
static void a_line_that_does_not_fit_is_taken_back(void **state)
{
    (void)state;
    char path[] = "/tmp/massv-distill-XXXXXX", prompt[] = "What?";
    struct question q = {.line = 1, .prompt = prompt};
    struct record r = record_like(&q, 0);
    struct rlimit before, limit;
    struct error err;
    int n = 0;
    close(mkstemp(path));
    struct distill_file *file = opened(path, 0);
    char *text = record_text(&r);
    getrlimit(RLIMIT_FSIZE, &before);
    limit = (struct rlimit){5 * strlen(text) / 2, before.rlim_max};
    signal(SIGXFSZ, SIG_IGN);
    setrlimit(RLIMIT_FSIZE, &limit);
    assert_int_equal(distill_file_add(file, &r, &err), 0);
    assert_int_equal(distill_file_add(file, &r, &err), 0);
    assert_int_equal(distill_file_add(file, &r, &err), -1);
    setrlimit(RLIMIT_FSIZE, &before);
    assert_non_null(strstr(err.text, path));
    assert_int_equal(distill_file_each(file, count, &n, &err), 0);
    assert_int_equal(n, 2);
    assert_int_equal(distill_file_add(file, &r, &err), 0); /* there is room again */
    distill_file_close(file);
    distill_file_close(opened(path, 0));
    free(text);
    unlink(path);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(samples_go_through_all_temperatures_in_an_order_of_their_question),
        cmocka_unit_test(seeds_differ_and_follow_from_the_seed),
        cmocka_unit_test(a_line_of_another_run_is_told_by_what_differs),
        cmocka_unit_test(a_torn_line_is_cut_off_and_whole_ones_stay),
        cmocka_unit_test(what_is_no_file_of_answers_is_not_cut),
        cmocka_unit_test(a_line_that_does_not_fit_is_taken_back),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
