/* test_chat_template.c - the default system text, in the forms in which published checkpoints carry it */
#include "tests/model/folder.h"

#include "model/chat_template.h"
#include "model/config.h"
#include "model/prompt.h"

#define QWEN "You are Qwen, created by Alibaba Cloud. You are a helpful assistant."

/* The beginning of the template of Qwen2.5-Instruct: the text stands in Jinja strings, the first of them without it. */
static const char published[] =
    "{%- if tools %}\\n    {{- '<|im_start|>system\\\\n' }}\\n    {%- if messages[0]['role'] == 'system' %}\\n"
    "        {{- messages[0]['content'] }}\\n    {%- else %}\\n        {{- '" QWEN "' }}\\n    {%- endif %}\\n"
    "    {{- \\\"<|im_end|>\\\\n\\\" }}\\n{%- else %}\\n    {%- if messages[0]['role'] == 'system' %}\\n"
    "        {{- '<|im_start|>system\\\\n' + messages[0]['content'] + '<|im_end|>\\\\n' }}\\n    {%- else %}\\n"
    "        {{- '<|im_start|>system\\\\n" QWEN "<|im_end|>\\\\n' }}\\n    {%- endif %}\\n{%- endif %}\\n";

static void check(const struct folder *folder, const char *file, const char *text, const char *expected)
{
    char found[128] = "before";
    struct error err = {""};
    folder_empty(folder);
    folder_write(folder, file, text, strlen(text));
    assert_int_equal(chat_template_system(found, sizeof found, folder->path, &err), 0);
    assert_string_equal(found, expected);
}

static void the_text_is_found_in_each_form(void **state)
{
    (void)state;
    struct folder folder = folder_make();
    char json[2048];
    snprintf(json, sizeof json, "{\"chat_template\": \"%s\"}", published);
    check(&folder, "tokenizer_config.json", json, QWEN);
    check(&folder, "chat_template.json",
          "{\"chat_template\": \"{% if x %}<|im_start|>system\\nIt's you.<|im_end|>\\n{% endif %}\"}", "It's you.");
    check(&folder, "chat_template.jinja", "{% if x %}<|im_start|>system\nBe brief.<|im_end|>\n{% endif %}", "Be brief.");
    check(&folder, "chat_template.jinja", "{{ bos_token }}{% for m in messages %}{{ m }}{% endfor %}", "");
    check(&folder, "chat_template.jinja", "{{- '<|im_start|>system\\n' + messages[0].content + '<|im_end|>\\n' }}", "");
    check(&folder, "chat_template.jinja", "<|im_start|>system\nand no end", "");
    check(&folder, "tokenizer_config.json", "{\"model_max_length\": 1}", "before");
    folder_remove(&folder);
}

static void a_broken_file_is_named(void **state)
{
    (void)state;
    struct folder folder = folder_make();
    struct error err;
    char found[8] = "", long_text[] = "<|im_start|>system\nmuch too long for eight bytes<|im_end|>";
    folder_write(&folder, "chat_template.json", "{", 1);
    assert_int_equal(chat_template_system(found, sizeof found, folder.path, &err), -1);
    check_words(err.text, "chat_template.json|line 1", "broken JSON");
    folder_empty(&folder);
    folder_write(&folder, "chat_template.jinja", long_text, strlen(long_text));
    assert_int_equal(chat_template_system(found, sizeof found, folder.path, &err), -1);
    check_words(err.text, "29 bytes|at most 7", "too long");
    folder_remove(&folder);
}

static void a_configuration_carries_it(void **state)
{
    (void)state;
    struct error err;
    struct model_config config;
    assert_int_equal(config_read(&config, "tests/golden/qwen2-tiny", &err), 0);
    assert_string_equal(config.default_system, "You are a helpful assistant.");
}

/* The family's own text is for checkpoints without a template, not for those whose template wants none. */
static void a_template_without_a_text_means_no_system_turn(void **state)
{
    (void)state;
    struct folder folder = folder_make();
    struct error err;
    struct model_config config;
    struct prompt_turn turn = {ROLE_USER, &(struct prompt_part){"hi"}, 1};
    const char *chat = "{% for m in messages %}{{ '<|im_start|>' + m.role }}{% endfor %}";
    char link[128], *text, here[512];
    assert_non_null(getcwd(here, sizeof here - 64));
    strcat(here, "/tests/golden/qwen2-tiny/config.json");
    folder_path(&folder, "config.json", link);
    assert_int_equal(symlink(here, link), 0);
    assert_int_equal(config_read(&config, folder.path, &err), 0);
    assert_string_equal(config.default_system, QWEN);
    folder_write(&folder, "chat_template.jinja", chat, strlen(chat));
    assert_int_equal(config_read(&config, folder.path, &err), 0);
    assert_string_equal(config.default_system, "");
    assert_int_equal(prompt_render(&text, &config, &turn, 1, &err), 0);
    assert_string_equal(text, "<|im_start|>user\nhi<|im_end|>\n<|im_start|>assistant\n");
    free(text);
    folder_remove(&folder);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_text_is_found_in_each_form),
        cmocka_unit_test(a_broken_file_is_named),
        cmocka_unit_test(a_configuration_carries_it),
        cmocka_unit_test(a_template_without_a_text_means_no_system_turn),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
