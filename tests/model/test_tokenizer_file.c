/* test_tokenizer_file.c - tokenizer.json in its forms, and files that are wrong */
#include "tests/model/tokenizer_fixture.h"

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/memory.h"
#include "base/random.h"

/* A folder of its own for one tokenizer.json. */
static void write_folder(char dir[64], const char *text)
{
    strcpy(dir, "/tmp/massv-tokenizer-XXXXXX");
    assert_non_null(mkdtemp(dir));
    char path[96];
    snprintf(path, sizeof path, "%s/tokenizer.json", dir);
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    assert_int_equal(fwrite(text, 1, strlen(text), file), strlen(text));
    fclose(file);
}

static void remove_folder(const char *dir)
{
    char path[96];
    snprintf(path, sizeof path, "%s/tokenizer.json", dir);
    unlink(path);
    rmdir(dir);
}

/* A tiny tokenizer.json with the value at `where` ("model.merges.0": names and list indices) replaced by `value`; NULL removes
 * it. */
static char *changed_file_of(const char *folder, const char *where, const char *value)
{
    char *path = mem_format("%s/tokenizer.json", folder);
    json_t *root = json_load_file(path, 0, NULL), *at = root;
    free(path);
    assert_non_null(root);
    char *steps = mem_string(where), *rest = NULL, *step = strtok_r(steps, ".", &rest);
    for (char *next; (next = strtok_r(NULL, ".", &rest)); step = next)
        at = json_is_array(at) ? json_array_get(at, (size_t)atoi(step)) : json_object_get(at, step);
    json_t *new = value ? json_loads(value, JSON_DECODE_ANY, NULL) : NULL;
    assert_true(at && (new || !value));
    if (json_is_array(at))
        assert_int_equal(json_array_set_new(at, (size_t)atoi(step), new), 0);
    else
        assert_int_equal(new ? json_object_set_new(at, step, new) : json_object_del(at, step), 0);
    char *text = json_dumps(root, 0);
    free(steps);
    json_decref(root);
    return text;
}

static char *changed_file(const char *where, const char *value)
{
    return changed_file_of(TINY, where, value);
}

static int open_text(const char *text, struct tokenizer **t, struct error *err)
{
    char dir[64];
    write_folder(dir, text);
    int rc = tokenizer_open(t, dir, err);
    remove_folder(dir);
    return rc;
}

static void a_wrong_file_is_refused_by_the_name_of_its_fault(void **state)
{
    (void)state;
    static const struct {
        const char *where, *value, *text;
    } bad[] = {
        {"model", "null", "model.type is missing"},
        {"model.type", "\"Unigram\"", "model.type is Unigram; supported is \"BPE\""},
        {"model.byte_fallback", "true", "model.byte_fallback is set"},
        {"model.ignore_merges", "true", "model.ignore_merges is set"},
        {"model.continuing_subword_prefix", "\"##\"", "continuing_subword_prefix is set"},
        {"model.vocab", NULL, "model.vocab is missing"},
        {"model.vocab", "[1, 2]", "model.vocab is missing"},
        {"model.vocab", "{\"a\": 0}", "has no token for byte 0x00"},
        {"model.vocab.!", NULL, "has no token for byte 0x21"},
        {"model.vocab.!", "-1", "id -1 is outside"},
        {"model.vocab.!", "99999999999", "id 99999999999 is outside"},
        {"model.vocab.!", "1", "two tokens have the id 1"},
        {"model.vocab.!", "\"zero\"", "is no whole number"},
        {"model.vocab.new", "5000000000000000000", "is outside"},
        {"model.vocab.a b", "700", "not written in the byte-level alphabet"},
        {"model.vocab.\xe4\xb8\xad", "700", "not written in the byte-level alphabet"},
        {"model.merges", "{}", "model.merges is missing, or no list"},
        {"model.merges.3", "\"nospace\"", "model.merges[3] is neither"},
        {"model.merges.3", "[\"a\"]", "model.merges[3] is neither"},
        {"model.merges.3", "[\"a\", 5]", "model.merges[3] is neither"},
        {"model.merges.3", "[\"qq\", \"zz\"]", "model.merges[3]: \"qq\" + \"zz\""},
        {"model.merges.3", "\" b\"", "model.merges[3]:"},
        {"added_tokens", "5", "added_tokens is no list"},
        {"added_tokens.2", "{\"id\": 3}", "added_tokens[2] has no content or no id"},
        {"added_tokens.2.content", "\"\"", "added_tokens[2] has no content"},
        {"added_tokens.2.id", "3", "two tokens have the id 3"},
        {"added_tokens.2.lstrip", "true", "lstrip is not supported"},
        {"added_tokens.2.content", "\"<|im_start|>\"", "has the content of another token"},
        {"normalizer.type", "\"NFKC\"", "normalizer.type is NFKC"},
        {"pre_tokenizer", "null", "pre_tokenizer.type is missing"},
        {"pre_tokenizer.type", "\"Metaspace\"", "pre_tokenizer.type is Metaspace"},
        {"pre_tokenizer.pretokenizers", "[]", "has 0 parts"},
        {"pre_tokenizer.pretokenizers.0.behavior", "\"Removed\"", "behavior is Removed"},
        {"pre_tokenizer.pretokenizers.0.pattern", "{\"String\": \" \"}", "has no Regex"},
        {"pre_tokenizer.pretokenizers.0.pattern.Regex", "\"(unclosed\"", "the Split pattern is wrong"},
        {"pre_tokenizer.pretokenizers.1.add_prefix_space", "true", "add_prefix_space is set"},
        {"post_processor", "{\"type\": \"BertProcessing\"}", "post_processor.type is BertProcessing"},
        {"post_processor", "{\"type\": \"TemplateProcessing\"}", "post_processor.special_tokens must be {}"},
        {"post_processor", "{\"type\": \"TemplateProcessing\", \"special_tokens\": {\"<s>\": {}}}", "special_tokens must be {}"},
        {"decoder", "null", "decoder.type is missing"},
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        struct error err = {""};
        struct tokenizer *t = NULL;
        char *text = changed_file(bad[i].where, bad[i].value);
        int rc = open_text(text, &t, &err);
        free(text);
        if (rc != -1 || !strstr(err.text, bad[i].text) || !strstr(err.text, "tokenizer.json"))
            fail_msg("case %zu, %s: \"%s\"", i, bad[i].where, err.text);
    }
}

/* The same for BPE with byte fallback. */
static void a_wrong_file_of_gemma_is_refused_by_the_name_of_its_fault(void **state)
{
    (void)state;
    static const struct {
        const char *where, *value, *text;
    } bad[] = {
        {"model.type", "\"Unigram\"", "model.type is Unigram; supported is \"BPE\""},
        {"model.byte_fallback", "false", "model.byte_fallback must be true"},
        {"model.dropout", "0.1", "model.dropout is set"},
        {"model.vocab.<0x41>", NULL, "has no token for byte 0x41"},
        {"model.vocab.new", "5", "two tokens have the id 5"},
        {"model.merges.3", "[\"qqq\", \"zzz\"]", "model.merges[3]: \"qqq\" + \"zzz\""},
        {"added_tokens.2.normalized", "true", "normalized is not supported"},
        {"normalizer", "null", "normalizer.type is missing; supported is \"Replace\""},
        {"normalizer.content", "\"_\"", "normalizer.content is _"},
        {"normalizer.pattern", "{\"Regex\": \" \"}", "normalizer.String is missing"},
        {"pre_tokenizer.behavior", "\"Isolated\"", "pre_tokenizer.behavior is Isolated"},
        {"pre_tokenizer.pattern.String", "\"a\"", "pre_tokenizer.pattern.String is a"},
        {"post_processor.type", "\"BertProcessing\"", "post_processor.type is BertProcessing"},
        {"decoder.decoders", "[]", "decoder.decoders has 0 parts"},
        {"decoder.decoders.0.content", "\"\"", "decoder.decoders[0].content is"},
        {"decoder.decoders.1.type", "\"Strip\"", "decoder.decoders[1].type is Strip"},
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        struct error err = {""};
        struct tokenizer *t = NULL;
        char *text = changed_file_of(GEMMA, bad[i].where, bad[i].value);
        int rc = open_text(text, &t, &err);
        free(text);
        if (rc != -1 || !strstr(err.text, bad[i].text) || !strstr(err.text, "tokenizer.json"))
            fail_msg("case %zu, %s: \"%s\"", i, bad[i].where, err.text);
    }
    char *text = changed_file_of(GEMMA, "pre_tokenizer", "null"); /* it splits nothing anyway */
    struct tokenizer *t = NULL;
    assert_int_equal(open_text(text, &t, NULL), 0);
    tokenizer_close(t);
    free(text);
}

static void a_post_processor_that_adds_nothing_is_accepted(void **state)
{
    (void)state;
    static const char *const values[] = {"null", "{\"type\": \"ByteLevel\", \"add_prefix_space\": false, \"trim_offsets\": false}",
                                         "{\"type\": \"TemplateProcessing\", \"single\": [{\"Sequence\": {\"id\": \"A\", "
                                         "\"type_id\": 0}}], \"special_tokens\": {}}"};
    for (size_t i = 0; i < sizeof values / sizeof *values; i++) {
        struct error err;
        struct tokenizer *t = NULL;
        char *text = changed_file("post_processor", values[i]);
        if (open_text(text, &t, &err))
            fail_msg("%s: %s", values[i], err.text);
        tokenizer_close(t);
        free(text);
    }
}

static void a_file_that_is_no_json_is_an_error(void **state)
{
    (void)state;
    struct tokenizer *t;
    struct error err;
    static const char *const texts[] = {
        "", "{", "[]", "5", "{\"model\": {\"type\": \"BPE\"", "\x00\xff\xfe", "{\"a\": 1, \"a\": 2}"};
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++)
        assert_int_equal(open_text(texts[i], &t, &err), -1);
    char *whole = changed_file("version", "\"1.0\"");
    for (size_t size = strlen(whole) - 1; size > 64; size /= 3) {
        whole[size] = 0;
        assert_int_equal(open_text(whole, &t, &err), -1);
    }
    free(whole);
    assert_int_equal(tokenizer_open(&t, "tests/golden/no-such-folder", &err), -1);
    assert_non_null(strstr(err.text, "tests/golden/no-such-folder/tokenizer.json"));
}

/* Whatever the damage: a tokenizer or an error. The sanitizers watch. */
static void damaged_files_do_no_harm(void **state)
{
    (void)state;
    char *whole = changed_file("version", "\"1.0\"");
    size_t size = strlen(whole);
    for (uint64_t round = 0; round < 100; round++) {
        char *text = mem_string(whole);
        for (uint64_t hit = 0; hit <= round % 4; hit++) {
            uint32_t bits[4];
            random_bits(bits, 20261122, round, hit);
            text[bits[0] % size] = "0123456789{}[]\",:\\ a-e"[bits[1] % 23];
        }
        struct tokenizer *t = NULL;
        struct error err = {""};
        if (open_text(text, &t, &err)) {
            assert_true(err.text[0] && !t);
        } else {
            int32_t *ids;
            assert_true(tokenizer_encode(t, "The lazy dog.", 13, true, &ids, &err) > 0);
            free(ids);
            tokenizer_close(t);
        }
        free(text);
    }
    free(whole);
}

static void merges_may_be_strings(void **state)
{
    struct error err;
    json_t *root = json_load_file(TINY "/tokenizer.json", 0, NULL);
    json_t *merges = json_object_get(json_object_get(root, "model"), "merges");
    for (size_t i = 0; i < json_array_size(merges); i++) {
        const json_t *pair = json_array_get(merges, i);
        const char *a = json_string_value(json_array_get(pair, 0)), *b = json_string_value(json_array_get(pair, 1));
        json_array_set_new(merges, i, json_sprintf("%s %s", a, b));
    }
    char *text = json_dumps(root, 0);
    struct tokenizer *t;
    assert_int_equal(open_text(text, &t, &err), 0);
    int32_t *x, *y;
    const char *sentence = "The quick brown fox jumps over the lazy dog.";
    int n = tokenizer_encode(t, sentence, strlen(sentence), true, &x, NULL);
    assert_int_equal(n, tokenizer_encode(*state, sentence, strlen(sentence), true, &y, NULL));
    assert_memory_equal(x, y, (size_t)n * sizeof *x);
    free(x);
    free(y);
    free(text);
    tokenizer_close(t);
    json_decref(root);
}

static void tokenizers_are_compared_by_what_ids_mean(void **state)
{
    struct tokenizer *other;
    struct error err;
    assert_int_equal(tokenizer_open(&other, "tests/golden/massv-tiny", &err), 0);
    assert_int_equal(tokenizer_compare(*state, other, &err), 0);
    tokenizer_close(other);
    assert_int_equal(tokenizer_open(&other, "models/scenes-small", &err), 0);
    assert_int_equal(tokenizer_compare(*state, other, &err), -1);
    assert_non_null(strstr(err.text, "the tokenizers differ: id "));
    tokenizer_close(other);
    char *text = changed_file("added_tokens.0.special", "false");
    assert_int_equal(open_text(text, &other, &err), 0);
    assert_int_equal(tokenizer_compare(*state, other, &err), -1);
    tokenizer_close(other);
    free(text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_wrong_file_is_refused_by_the_name_of_its_fault),
        cmocka_unit_test(a_wrong_file_of_gemma_is_refused_by_the_name_of_its_fault),
        cmocka_unit_test(a_post_processor_that_adds_nothing_is_accepted),
        cmocka_unit_test(a_file_that_is_no_json_is_an_error),
        cmocka_unit_test(damaged_files_do_no_harm),
        cmocka_unit_test(merges_may_be_strings),
        cmocka_unit_test(tokenizers_are_compared_by_what_ids_mean),
    };
    return cmocka_run_group_tests(tests, open_tiny, close_tiny);
}
