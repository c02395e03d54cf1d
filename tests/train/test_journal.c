/* test_journal.c - the loss curve: lines that a resumed run drops, and a picture of long runs that stays small and hides nothing */
#include "tests/check.h"

#include <math.h>
#include <string.h>

#include "base/memory.h"
#include "tests/model/folder.h"
#include "train/journal.h"

enum { SVG_MOST = 300 << 10 /* what a page still shows at once */ };

static void check_ok(int status, const struct error *err)
{
    if (status)
        fail_msg("%s", err->text);
}

/* The whole file, with a 0 behind it. */
static char *file_read(const struct folder *folder, const char *name)
{
    char path[128], *text = mem_new(64 << 20, 1);
    folder_path(folder, name, path);
    FILE *f = fopen(path, "rb");
    assert_non_null(f);
    text[fread(text, 1, (64 << 20) - 1, f)] = 0;
    fclose(f);
    return text;
}

static int lines_of(const char *text)
{
    int n = 0;
    for (; (text = strchr(text, '\n')); text++)
        n++;
    return n;
}

/* Steps [first, end) whose loss falls to 1; step `spike` has 37. */
static void steps_add(const struct folder *folder, int first, int end, int spike)
{
    struct error err;
    struct journal *journal;
    check_ok(journal_open(&journal, folder->path, first - 1, &err), &err);
    for (int i = first; i < end; i++) {
        struct journal_step step = {
            .step = i, .loss = i == spike ? 37 : 1 + exp(-i / 1000.0) + 0.1 * sin(i * 1.7), .held_out_loss = i % 1000 ? NAN : 1.1};
        check_ok(journal_add(journal, &step, &err), &err);
    }
    journal_close(journal);
}

static void test_steps_done_again_stand_there_once(void **state)
{
    struct folder folder = folder_make();
    (void)state;
    steps_add(&folder, 1, 10, 0);
    steps_add(&folder, 6, 8, 0); /* goes on from a state of 5 steps */
    char *text = file_read(&folder, "loss.jsonl");
    assert_int_equal(lines_of(text), 7);
    assert_null(strstr(text, "\"step\":8"));
    free(text);
    folder_remove(&folder);
}

static void test_a_long_run_has_a_small_picture_with_every_spike(void **state)
{
    const int spikes[] = {1, 777, 5003, 9999};
    (void)state;
    for (size_t i = 0; i < sizeof spikes / sizeof *spikes; i++) {
        struct folder folder = folder_make();
        struct error err;
        steps_add(&folder, 1, 10000, spikes[i]);
        check_ok(journal_plot(folder.path, "long", &err), &err);
        char *svg = file_read(&folder, "loss.svg"), *png = file_read(&folder, "loss.png");
        assert_true(strlen(svg) < SVG_MOST);
        assert_memory_equal(png, "\x89PNG", 4);
        assert_non_null(strstr(svg, "> 40</tspan>")); /* the axis reaches above the spike of 37 */
        free(svg);
        free(png);
        folder_remove(&folder);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_steps_done_again_stand_there_once),
        cmocka_unit_test(test_a_long_run_has_a_small_picture_with_every_spike),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
