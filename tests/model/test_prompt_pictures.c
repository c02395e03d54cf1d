/* test_prompt_pictures.c - prompts with crops of pictures against the reference, and prompts as a text-only drafter reads them */
#include "tests/check.h"

#include "model/prompt.h"
#include "tests/model/pan_and_scan.h"

#define TINY "tests/golden/qwen25vl-tiny"
#define GEMMA "tests/golden/gemma3-tiny"

enum { PICTURES = 8, PARTS = 8 };

struct fixture {
    struct model_config config;
    struct tokenizer *tokenizer;
};

static struct fixture fixture_of(const char *folder)
{
    struct fixture f;
    struct error err;
    if (tokenizer_open(&f.tokenizer, folder, &err) || config_read(&f.config, folder, &err))
        fail_msg("%s", err.text);
    return f;
}

/* What a text-only drafter reads of `p` is the prompt `want`, which never had pictures. Frees both. */
static void expect_words(struct prompt *p, struct prompt *want)
{
    struct prompt copy, q;
    prompt_copy(&copy, p);
    prompt_free(p);
    prompt_without_pictures(&q, &copy);
    assert_int_equal(q.n, want->n);
    assert_memory_equal(q.ids, want->ids, (size_t)q.n * sizeof *q.ids);
    assert_memory_equal(q.positions, want->positions, (size_t)q.n * sizeof *q.positions);
    assert_int_equal(q.next_position, q.n);
    assert_int_equal(q.n_pictures, 0);
    prompt_free(&copy);
    prompt_free(&q);
    prompt_free(want);
}

/* Shapes of the case's pictures, from their sizes. */
static int read_views(const struct model_config *config, const json_t *test, struct picture_shape *shapes)
{
    const json_t *names = json_object_get(test, "images");
    int n = (int)json_array_size(names);
    assert_true(n <= PICTURES);
    for (int i = 0; i < n; i++) {
        char path[100];
        size_t size;
        struct image image;
        struct views views;
        snprintf(path, sizeof path, "tests/golden/images/%s", json_string_value(json_array_get(names, (size_t)i)));
        unsigned char *bytes = case_file(path, &size);
        assert_int_equal(image_decode(&image, bytes, size, 1 << 22, NULL), 0);
        assert_int_equal(views_make(&views, &image, config, NULL), 0);
        shapes[i] = views_shape(&views, config);
        views_free(&views);
        image_free(&image);
        free(bytes);
    }
    return n;
}

/* The user's turn of a rendered prompt, as parts; "says" is cut. */
static int parts_of(char *says, struct prompt_part *parts)
{
    static const char mark[] = "<start_of_image>";
    int n = 0;
    for (char *at; (at = strstr(says, mark)); says = at + strlen(mark)) {
        *at = 0;
        parts[n++].text = says;
        parts[n++].text = NULL;
        assert_true(n < PARTS);
    }
    parts[n++].text = says;
    return n;
}

static void expect_pan_and_scan(struct fixture *f, const json_t *test)
{
    static const char begin[] = "<bos><start_of_turn>user\n", end[] = "<end_of_turn>\n<start_of_turn>model\n";
    const json_t *want = json_object_get(test, "ids");
    const char *text = json_string_value(json_object_get(test, "prompt"));
    char *says = strndup(text + strlen(begin), strlen(text) - strlen(begin) - strlen(end));
    struct picture_shape shapes[PICTURES];
    struct prompt_part parts[PARTS], bare[PARTS];
    int n_shapes = read_views(&f->config, test, shapes), n_bare = 0;
    const struct prompt_turn turn = {ROLE_USER, parts, parts_of(says, parts)};
    struct prompt p[2], words;
    struct error err = {""};
    if (prompt_make(&p[0], &f->config, f->tokenizer, text, shapes, n_shapes, &err) ||
        prompt_make_turns(&p[1], &f->config, f->tokenizer, &turn, 1, shapes, n_shapes, &err))
        fail_msg("%s", err.text);
    for (int i = 0; i < turn.n_parts; i++)
        if (parts[i].text)
            bare[n_bare++] = parts[i];
    for (int way = 0; way < 2; way++) {
        int crops = 0;
        assert_int_equal(p[way].n, json_array_size(want));
        for (int i = 0; i < p[way].n; i++)
            assert_int_equal(p[way].ids[i], json_integer_value(json_array_get(want, (size_t)i)));
        for (int i = 0; i < n_shapes; i++)
            crops += shapes[i].crops;
        assert_true(crops > 0);
        assert_int_equal(p[way].n_pictures, n_shapes + crops);
        for (int i = 0; i < p[way].n_pictures; i++)
            assert_true(p[way].pictures[i].count == 16 && p[way].ids[p[way].pictures[i].first] == f->config.image_id);
    }
    prompt_free(&p[0]);
    assert_int_equal(
        prompt_make_turns(&words, &f->config, f->tokenizer, &(struct prompt_turn){ROLE_USER, bare, n_bare}, 1, NULL, 0, &err), 0);
    expect_words(&p[1], &words);
    free(says);
}

static void crops_stand_in_the_prompt_as_the_reference_has_them(void **state)
{
    (void)state;
    struct fixture f = fixture_of(GEMMA);
    json_t *cases = pan_and_scan_cases("prompts");
    pan_and_scan_settings(&f.config);
    for (size_t i = 0; i < json_array_size(cases); i++)
        expect_pan_and_scan(&f, json_array_get(cases, i));
    json_decref(cases);
    tokenizer_close(f.tokenizer);
}

/* Ids come with the words around crops: one placeholder for each. */
static void ids_have_a_placeholder_for_each_crop(void **state)
{
    (void)state;
    struct fixture f = fixture_of(GEMMA);
    const int32_t image = f.config.image_id, ids[] = {5, image, 6, image, image, 7, image};
    const struct picture_shape shapes[] = {{2, 2, 2}, {1, 3, 0}};
    static const int firsts[] = {1, 6, 10, 15};
    struct prompt p;
    struct error err = {""};
    assert_int_equal(prompt_make_ids(&p, &f.config, ids, 7, shapes, 2, &err), 0);
    assert_int_equal(p.n, 3 + 3 * 4 + 3);
    assert_int_equal(p.n_pictures, 4);
    for (int i = 0; i < 4; i++) {
        assert_int_equal(p.pictures[i].first, firsts[i]);
        assert_int_equal(p.pictures[i].count, i < 3 ? 4 : 3);
    }
    prompt_free(&p);
    assert_int_equal(prompt_make_ids(&p, &f.config, ids, 4, shapes, 2, &err), -1);
    assert_string_equal(err.text,
                        "the prompt has 2 picture placeholders, the request 2 pictures and 2 crops; there must be one for each");
    assert_int_equal(prompt_make_ids(&p, &f.config, ids + 1, 4, &(struct picture_shape){1 << 14, 1 << 13, 2}, 1, &err), -1);
    assert_non_null(strstr(err.text, "more than"));
    assert_int_equal(prompt_make(&p, &f.config, f.tokenizer, "<start_of_image> and <start_of_image>", shapes, 1, &err), -1);
    assert_string_equal(err.text, "the prompt shows 2 pictures, the request brings 1");
    assert_int_equal(prompt_make(&p, &f.config, f.tokenizer, "<start_of_image>", shapes, 2, &err), -1);
    assert_string_equal(err.text, "the prompt shows 1 picture, the request brings 2");
    tokenizer_close(f.tokenizer);
}

/* Pictures in front of, between and behind texts, and a turn of nothing else: line feeds and words close over them. */
static void a_text_drafter_reads_the_prompt_of_the_text_alone(void **state)
{
    static const char *const folders[] = {TINY, GEMMA};
    (void)state;
    for (size_t i = 0; i < 2; i++) {
        struct fixture f = fixture_of(folders[i]);
        const struct prompt_part parts[] = {{NULL}, {"What is th"}, {NULL}, {"is, and where?"}, {NULL}}, more[] = {{NULL}};
        const struct prompt_part bare[] = {{"What is th"}, {"is, and where?"}}, answer = {"A chair."};
        const struct prompt_turn with[] = {{ROLE_USER, parts, 5}, {ROLE_ASSISTANT, &answer, 1}, {ROLE_USER, more, 1}};
        const struct prompt_turn without[] = {{ROLE_USER, bare, 2}, {ROLE_ASSISTANT, &answer, 1}, {ROLE_USER, NULL, 0}};
        const struct picture_shape shapes[] = {{2, 3, 0}, {4, 1, 0}, {1, 1, 0}, {2, 2, 0}};
        struct prompt p, want;
        char *text, *words;
        assert_int_equal(prompt_make_turns(&p, &f.config, f.tokenizer, with, 3, shapes, 4, NULL), 0);
        assert_int_equal(prompt_make_turns(&want, &f.config, f.tokenizer, without, 3, NULL, 0, NULL), 0);
        assert_true(want.n < p.n - 2 * 3 - 4 - 1 - 2 * 2);
        expect_words(&p, &want);
        assert_int_equal(prompt_render(&text, &f.config, with, 3, NULL), 0);
        assert_int_equal(prompt_render(&words, &f.config, without, 3, NULL), 0);
        assert_int_equal(prompt_make(&p, &f.config, f.tokenizer, text, shapes, 4, NULL), 0);
        assert_int_equal(prompt_make(&want, &f.config, f.tokenizer, words, NULL, 0, NULL), 0);
        expect_words(&p, &want);
        free(text);
        free(words);
        tokenizer_close(f.tokenizer);
    }
}

/* Ids cannot be read again as text: what stands beside a picture stays as it is. */
static void a_text_drafter_reads_ids_but_for_those_of_pictures(void **state)
{
    (void)state;
    struct fixture f = fixture_of(TINY);
    const int32_t start = f.config.vision_start_id, picture = f.config.image_id, end = f.config.vision_end_id;
    const int32_t ids[] = {5, start, picture, end, 6, picture}, bare[] = {5, 6};
    const struct picture_shape shapes[] = {{2, 3, 0}, {4, 1, 0}};
    struct prompt p, want;
    assert_int_equal(prompt_make_ids(&p, &f.config, ids, 6, shapes, 2, NULL), 0);
    assert_int_equal(prompt_make_ids(&want, &f.config, bare, 2, NULL, 0, NULL), 0);
    expect_words(&p, &want);
    assert_int_equal(prompt_make_ids(&p, &f.config, &picture, 1, shapes, 1, NULL), 0);
    prompt_without_pictures(&want, &p);
    assert_int_equal(want.n, 0);
    prompt_free(&p);
    prompt_free(&want);
    tokenizer_close(f.tokenizer);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(crops_stand_in_the_prompt_as_the_reference_has_them),
        cmocka_unit_test(ids_have_a_placeholder_for_each_crop),
        cmocka_unit_test(a_text_drafter_reads_the_prompt_of_the_text_alone),
        cmocka_unit_test(a_text_drafter_reads_ids_but_for_those_of_pictures),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
