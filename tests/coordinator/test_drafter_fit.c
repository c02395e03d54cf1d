/* test_drafter_fit.c - which checkpoints may draft for a target, and what is said of those that may not */
#include "tests/coordinator/target.h"

#include <unistd.h>

static void check_refused(const char *target, const char *drafter, const char *says)
{
    struct target t;
    struct drafter *d;
    struct error err;
    target_open(&t, target, NULL, 0);
    const struct drafter_options options = target_drafter_options(&t, 512);
    assert_int_equal(drafter_open(&d, drafter, &options, &err), -1);
    if (!strstr(err.text, says))
        fail_msg("says \"%s\", should say \"%s\"", err.text, says);
    target_close(&t);
}

static void a_drafter_with_another_tokenizer_is_refused(void **state)
{
    (void)state;
    check_refused("models/scenes-large", "tests/golden/qwen2-tiny", "its tokenizer is not the target's");
    check_refused("tests/golden/qwen25vl-tiny", "models/scenes-massv", "its tokenizer is not the target's");
}

static void a_folder_that_is_no_drafter_is_refused(void **state)
{
    (void)state;
    check_refused("tests/golden/qwen25vl-tiny", "tests/golden/images", "config.json");
}

/* massv-tiny with one word of a file changed; the other files are links. */
static void changed_copy(const char *dir, const char *file, const char *from, const char *to)
{
    static const char *const files[] = {"config.json", "generation_config.json", "model.safetensors", "preprocessor_config.json",
                                        "tokenizer.json"};
    char here[512], path[1024], source[1024];
    assert_non_null(getcwd(here, sizeof here));
    for (size_t i = 0; i < sizeof files / sizeof *files; i++) {
        snprintf(path, sizeof path, "%s/%s", dir, files[i]);
        snprintf(source, sizeof source, "%s/tests/golden/massv-tiny/%s", here, files[i]);
        if (strcmp(files[i], file) != 0) {
            assert_int_equal(symlink(source, path), 0);
            continue;
        }
        size_t size;
        char *text = (char *)case_file(source, &size);
        text[size] = 0;
        char *at = strstr(text, from);
        assert_non_null(at);
        FILE *out = fopen(path, "w");
        assert_non_null(out);
        fprintf(out, "%.*s%s%s", (int)(at - text), text, to, at + strlen(from));
        fclose(out);
        free(text);
    }
}

static void remove_copy(const char *dir)
{
    static const char *const files[] = {"config.json", "generation_config.json", "model.safetensors", "preprocessor_config.json",
                                        "tokenizer.json"};
    char path[1024];
    for (size_t i = 0; i < sizeof files / sizeof *files; i++) {
        snprintf(path, sizeof path, "%s/%s", dir, files[i]);
        unlink(path);
    }
    rmdir(dir);
}

static void a_drafter_that_reads_pictures_differently_is_refused(void **state)
{
    (void)state;
    static const struct {
        const char *file, *from, *to, *says;
    } changes[] = {
        {"preprocessor_config.json", "0.48145466", "0.5",
         "image_mean and image_std of preprocessor_config.json are not the target's"},
        {"config.json", "\"image_token_id\": 652", "\"image_token_id\": 651", "image_token_id 651, the target's is 652"},
    };
    for (size_t i = 0; i < sizeof changes / sizeof *changes; i++) {
        char dir[] = "/tmp/massv-drafter-XXXXXX";
        assert_non_null(mkdtemp(dir));
        changed_copy(dir, changes[i].file, changes[i].from, changes[i].to);
        check_refused("tests/golden/qwen25vl-tiny", dir, changes[i].says);
        remove_copy(dir);
    }
}

/* The same tensors with other windows compute something else: it needs a tower of its own. */
static void equal_tensors_with_another_window_are_another_tower(void **state)
{
    (void)state;
    char dir[] = "/tmp/massv-drafter-XXXXXX";
    struct target t;
    assert_non_null(mkdtemp(dir));
    changed_copy(dir, "config.json", "\"window_size\": 112", "\"window_size\": 56");
    target_open(&t, "tests/golden/qwen25vl-tiny", dir, 0);
    assert_int_equal(drafter_kind(t.drafter), DRAFTER_VISION);
    target_close(&t);
    remove_copy(dir);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_drafter_with_another_tokenizer_is_refused),
        cmocka_unit_test(a_folder_that_is_no_drafter_is_refused),
        cmocka_unit_test(a_drafter_that_reads_pictures_differently_is_refused),
        cmocka_unit_test(equal_tensors_with_another_window_are_another_tower),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
