/* test_page_key.c - the keys of pages: they depend on all that rows depend on, and on the service's secret */
#include "tests/check.h"

#include <string.h>

#include "coordinator/page_key.h"

enum { PROMPT = 70, PAGE = 16, PAGES = PROMPT / PAGE };

struct paper { /* a prompt, with a picture of 20 rows from row 24 on and one of 6 within page 3 */
    struct prepared prepared;
    int32_t ids[PROMPT], positions[PROMPT][3];
    struct prompt_picture pictures[2];
    struct prepared_picture features[2];
};

static void paper_make(struct paper *paper)
{
    *paper = (struct paper){.pictures = {{.first = 24, .count = 20}, {.first = 50, .count = 6}},
                            .features = {{.hash = {1, 2}}, {.hash = {3, 4}}}};
    for (int i = 0; i < PROMPT; i++) {
        paper->ids[i] = i;
        for (int axis = 0; axis < 3; axis++)
            paper->positions[i][axis] = i + axis;
    }
    paper->prepared.prompt.ids = paper->ids;
    paper->prepared.prompt.positions = paper->positions;
    paper->prepared.prompt.n = PROMPT;
    paper->prepared.prompt.pictures = paper->pictures;
    paper->prepared.pictures = paper->features;
    paper->prepared.prompt.n_pictures = paper->prepared.n_pictures = 2;
}

/* Pages whose keys are those of the plain paper. */
static int same_pages(const struct paper *paper, const struct page_secret *secret)
{
    static struct paper plain;
    uint64_t a[PAGES][2], b[PAGES][2];
    int n = 0;
    paper_make(&plain);
    page_keys_make(a, PAGES, PAGE, &plain.prepared.prompt, plain.features, secret);
    page_keys_make(b, PAGES, PAGE, &paper->prepared.prompt, paper->features, secret);
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
    static const int pages[] = {1, 3}, last[] = {2, 3}; /* where each picture begins and ends */
    for (int i = 0; i < 2; i++) {
        for (int word = 0; word < 2; word++) {
            paper_make(&paper);
            paper.features[i].hash[word]++;
            assert_int_equal(same_pages(&paper, &secret), pages[i]);
        }
        paper_make(&paper);
        paper.pictures[i].first++;
        assert_int_equal(same_pages(&paper, &secret), pages[i]);
        paper_make(&paper);
        paper.pictures[i].count--;
        assert_int_equal(same_pages(&paper, &secret), last[i]);
    }
    paper_make(&paper);
    uint64_t a[PAGES][2], b[PAGES][2];
    page_keys_make(a, PAGES, PAGE, &paper.prepared.prompt, paper.features, &secret);
    page_keys_make(b, PAGES, PAGE, &paper.prepared.prompt, paper.features, &other);
    for (int i = 0; i < PAGES; i++) {
        assert_memory_not_equal(a[i], b[i], sizeof a[i]);
        assert_true(a[i][0] != a[i][1]); /* 128 bits, not twice 64 */
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_key_depends_on_all_that_its_rows_depend_on),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
