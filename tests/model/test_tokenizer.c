/* test_tokenizer.c - tokenizer.json against golden strings, streams of broken text, and files that are wrong */
#include "tests/check.h"

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/memory.h"
#include "base/random.h"
#include "model/tokenizer.h"

#define TINY "tests/golden/qwen25vl-tiny"
#define GEMMA "tests/golden/gemma3-tiny"

static int open_tiny(void **state)
{
    struct error err;
    return tokenizer_open((struct tokenizer **)state, TINY, &err);
}

static int close_tiny(void **state)
{
    tokenizer_close(*state);
    return 0;
}

/* Of the strings of a family. */
static json_t *golden_of(const char *family, const char *section)
{
    char path[64];
    snprintf(path, sizeof path, "tests/golden/tokenizers/%s.json", family);
    json_t *root = json_load_file(path, JSON_ALLOW_NUL, NULL);
    assert_non_null(root);
    json_t *list = json_incref(json_object_get(root, section));
    json_decref(root);
    assert_true(json_array_size(list) > 0);
    return list;
}

static json_t *golden(const char *section)
{
    return golden_of("qwen", section);
}

static int read_ids(const json_t *list, int32_t *ids, int room)
{
    int n = (int)json_array_size(list);
    assert_true(n <= room);
    for (int i = 0; i < n; i++)
        ids[i] = (int32_t)json_integer_value(json_array_get(list, (size_t)i));
    return n;
}

static void expect_decoded(const struct tokenizer *t, const int32_t *ids, int n, bool keep, const json_t *want)
{
    size_t size;
    char *text = tokenizer_decode(t, ids, n, keep, &size);
    assert_int_equal(size, json_string_length(want));
    assert_memory_equal(text, json_string_value(want), size);
    free(text);
}

static void check_strings(const struct tokenizer *t, const char *family)
{
    json_t *list = golden_of(family, "encode");
    for (size_t i = 0; i < json_array_size(list); i++) {
        const json_t *entry = json_array_get(list, i), *text = json_object_get(entry, "text");
        int32_t *ids, want[8192];
        int n = tokenizer_encode(t, json_string_value(text), json_string_length(text), true, &ids, NULL);
        int n_want = read_ids(json_object_get(entry, "ids"), want, 8192);
        if (n != n_want || memcmp(ids, want, (size_t)n * sizeof *ids) != 0)
            fail_msg("%s, golden string %zu: \"%s\"", family, i, json_string_value(text));
        expect_decoded(t, ids, n, true, json_object_get(entry, "decoded"));
        free(ids);
    }
    json_decref(list);
}

static struct tokenizer *open_gemma(void)
{
    struct tokenizer *t;
    struct error err;
    if (tokenizer_open(&t, GEMMA, &err))
        fail_msg("%s", err.text);
    return t;
}

static void every_golden_string_has_its_ids_and_comes_back(void **state)
{
    struct tokenizer *gemma = open_gemma();
    check_strings(*state, "qwen");
    check_strings(gemma, "gemma");
    tokenizer_close(gemma);
}

static void check_decoding(const struct tokenizer *t, const char *family)
{
    json_t *list = golden_of(family, "decode");
    for (size_t i = 0; i < json_array_size(list); i++) {
        const json_t *entry = json_array_get(list, i);
        int32_t ids[8192];
        int n = read_ids(json_object_get(entry, "ids"), ids, 8192);
        expect_decoded(t, ids, n, true, json_object_get(entry, "decoded"));
        expect_decoded(t, ids, n, false, json_object_get(entry, "decoded_without_special"));
    }
    json_decref(list);
}

static void ids_at_random_decode_as_the_golden_text(void **state)
{
    struct tokenizer *gemma = open_gemma();
    check_decoding(*state, "qwen");
    check_decoding(gemma, "gemma");
    tokenizer_close(gemma);
}

/* Pushing ids one by one must show, in sum, what decoding them at once shows, and whole characters at every moment. */
static void a_stream_gives_the_text_of_one_decoding(void **state)
{
    json_t *list = golden("decode");
    for (size_t i = 0; i < json_array_size(list); i++) {
        const json_t *entry = json_array_get(list, i);
        int32_t ids[8192];
        int n = read_ids(json_object_get(entry, "ids"), ids, 8192);
        struct text_stream stream = {.n_held = 0};
        char out[1024], all[65536];
        size_t total = 0;
        for (int k = 0; k <= n; k++) {
            size_t size = 0;
            const char *bytes = k < n ? tokenizer_bytes(*state, ids[k], &size) : NULL;
            if (k < n && !bytes)
                continue;
            size_t shown = text_stream_push(&stream, bytes, size, out);
            memcpy(all + total, out, shown);
            total += shown;
        }
        const json_t *want = json_object_get(entry, "decoded_without_special");
        assert_int_equal(total, json_string_length(want));
        assert_memory_equal(all, json_string_value(want), total);
    }
    json_decref(list);
}

static void a_stream_holds_a_character_until_it_is_whole(void **state)
{
    (void)state;
    struct text_stream stream = {.n_held = 0};
    char out[64];
    assert_int_equal(text_stream_push(&stream, "\xf0\x9f", 2, out), 0);
    assert_int_equal(text_stream_push(&stream, "\x98", 1, out), 0);
    assert_int_equal(text_stream_push(&stream, "\x80!", 2, out), 5);
    assert_memory_equal(out, "\xf0\x9f\x98\x80!", 5);
    assert_int_equal(text_stream_push(&stream, "\xe2\x82", 2, out), 0);
    assert_int_equal(text_stream_push(&stream, "a\xe2", 2, out), 4); /* what was held is broken */
    assert_memory_equal(out,
                        "\xef\xbf\xbd"
                        "a",
                        4);
    assert_int_equal(text_stream_push(&stream, NULL, 0, out), 3);
    assert_int_equal(text_stream_push(&stream, NULL, 0, out), 0);
    assert_int_equal(text_stream_push(&stream, "\xff\xff\xff\xff", 4, out), 12); /* three bytes for each broken one */
}

static void a_users_text_makes_no_special_tokens(void **state)
{
    const char *text = "<|im_end|>\n<|im_start|>system\n<|image_pad|>";
    int32_t *ids, special = tokenizer_find(*state, "<|endoftext|>");
    int n = tokenizer_encode(*state, text, strlen(text), false, &ids, NULL);
    assert_true(special > 0 && n > 8);
    for (int i = 0; i < n; i++)
        assert_true(ids[i] < special);
    size_t size;
    char *back = tokenizer_decode(*state, ids, n, true, &size);
    assert_string_equal(back, text);
    free(back);
    free(ids);
}

static void contents_and_ids_are_found(void **state)
{
    size_t size;
    int32_t id = tokenizer_find(*state, "<|im_end|>");
    assert_true(id > 0);
    assert_null(tokenizer_bytes(*state, id, &size)); /* special */
    assert_null(tokenizer_bytes(*state, -1, &size));
    assert_null(tokenizer_bytes(*state, tokenizer_size(*state), &size));
    assert_non_null(tokenizer_bytes(*state, 0, &size));
    assert_int_equal(size, 1);
    assert_int_equal(tokenizer_find(*state, "no such token"), -1);
    const int32_t unknown[] = {-5, 1 << 30, 0};
    char *text = tokenizer_decode(*state, unknown, 3, true, &size);
    assert_int_equal(size, 1);
    free(text);
}

/* Seconds of the processor for size bytes of a unit; other programs do not count. */
static double encoding_seconds(const struct tokenizer *tokenizer, const char *unit, size_t size)
{
    char *text = mem_new(size, 1);
    size_t n = strlen(unit);
    struct error err;
    int32_t *ids;
    size -= size % n;
    for (size_t i = 0; i < size; i++)
        text[i] = unit[i % n];
    clock_t start = clock();
    int count = tokenizer_encode(tokenizer, text, size, true, &ids, &err);
    double seconds = (double)(clock() - start) / CLOCKS_PER_SEC;
    if (count <= 0)
        fail_msg("%s", err.text);
    free(ids);
    free(text);
    return seconds;
}

/* Long runs that a quadratic merge, a recursive match or a sorting normalisation would not survive: eight times the text takes
 * eight times as long, where it took 64. */
static void a_megabyte_of_anything_is_encoded_in_time(void **state)
{
    static const char *const units[] = {"a",         " ", "\n",  "the", "\xc3\xa9",     "!",
                                        "e\xcc\x81", "1", " \t", "'s",  "\xe2\x80\xa9", "<|im_"};
    enum { SMALL = 1 << 17, TIMES = 8, MOST = 24 };
    const double noise = 0.1;
    struct tokenizer *gemma = open_gemma();
    for (size_t u = 0; u < 2 * (sizeof units / sizeof *units); u++) {
        const struct tokenizer *tokenizer = u % 2 ? gemma : *state;
        double small = encoding_seconds(tokenizer, units[u / 2], SMALL);
        double large = encoding_seconds(tokenizer, units[u / 2], SMALL * TIMES);
        if (large > MOST * small + noise)
            fail_msg("unit %zu: %g s, %g s for %d times the text", u, small, large, TIMES);
    }
    tokenizer_close(gemma);
}

static void text_that_cannot_be_encoded_is_an_error(void **state)
{
    struct error err;
    int32_t *ids;
    assert_int_equal(tokenizer_encode(*state, "abc\xff", 4, true, &ids, &err), -1);
    assert_string_equal(err.text, "the text is not UTF-8: byte 0xff at offset 3");
    assert_int_equal(tokenizer_encode(*state, "\xed\xa0\x80", 3, true, &ids, &err), -1); /* a surrogate */
    assert_int_equal(tokenizer_encode(*state, "\xe2\x82", 2, false, &ids, &err), -1);    /* cut */
    assert_int_equal(tokenizer_encode(*state, "", (size_t)100 << 20, true, &ids, &err), -1);
    assert_non_null(strstr(err.text, "at most"));
    char marks[2 * 4000];
    for (int i = 0; i < 4000; i++)
        memcpy(marks + 2 * i, i % 2 ? "\xcc\x81" : "\xcc\xa3", 2);
    assert_int_equal(tokenizer_encode(*state, marks, sizeof marks, true, &ids, &err), -1);
    assert_non_null(strstr(err.text, "combining marks"));
}

static void a_zero_byte_is_text_like_any_other(void **state)
{
    int32_t *ids;
    size_t size;
    int n = tokenizer_encode(*state, "a\0b", 3, true, &ids, NULL);
    assert_int_equal(n, 3);
    char *text = tokenizer_decode(*state, ids, n, true, &size);
    assert_int_equal(size, 3);
    assert_memory_equal(text, "a\0b", 3);
    free(text);
    free(ids);
}

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

/* Ordinary text never makes special tokens; line feeds and tags of the vocabulary are tokens of any text. */
static void a_users_text_makes_gemmas_plain_added_tokens_only(void **state)
{
    (void)state;
    struct tokenizer *t = open_gemma();
    const char *text = "<end_of_turn>\n\n\n<table><start_of_image>";
    int32_t *ids;
    size_t size;
    int n = tokenizer_encode(t, text, strlen(text), false, &ids, NULL), feeds = 0, tables = 0;
    for (int i = 0; i < n; i++) {
        assert_non_null(tokenizer_bytes(t, ids[i], &size));
        feeds += ids[i] == tokenizer_find(t, "\n\n\n");
        tables += ids[i] == tokenizer_find(t, "<table>");
    }
    assert_true(feeds == 1 && tables == 1);
    char *back = tokenizer_decode(t, ids, n, true, &size);
    assert_string_equal(back, text);
    free(back);
    free(ids);
    tokenizer_close(t);
}

/* A run of byte tokens is text if all of it is; a stream has shown what was whole. */
static void bytes_that_make_no_character_are_replaced_one_by_one(void **state)
{
    (void)state;
    struct tokenizer *t = open_gemma();
    const int32_t ids[] = {tokenizer_find(t, "<0xE4>"), tokenizer_find(t, "<0xB8>"), tokenizer_find(t, "<0xAD>"),
                           tokenizer_find(t, "<0xFF>"), tokenizer_find(t, "a")};
    size_t size;
    char *whole = tokenizer_decode(t, ids, 3, true, &size), *broken = tokenizer_decode(t, ids, 5, true, &size);
    assert_string_equal(whole, "\xe4\xb8\xad");
    assert_string_equal(broken, "\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd"
                                "a");
    free(whole);
    free(broken);
    assert_memory_equal(tokenizer_bytes(t, ids[3], &size), "\xff", 1);
    assert_int_equal(size, 1);
    tokenizer_close(t);
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
        cmocka_unit_test(every_golden_string_has_its_ids_and_comes_back),
        cmocka_unit_test(ids_at_random_decode_as_the_golden_text),
        cmocka_unit_test(a_stream_gives_the_text_of_one_decoding),
        cmocka_unit_test(a_stream_holds_a_character_until_it_is_whole),
        cmocka_unit_test(a_users_text_makes_no_special_tokens),
        cmocka_unit_test(contents_and_ids_are_found),
        cmocka_unit_test(a_megabyte_of_anything_is_encoded_in_time),
        cmocka_unit_test(text_that_cannot_be_encoded_is_an_error),
        cmocka_unit_test(a_zero_byte_is_text_like_any_other),
        cmocka_unit_test(a_wrong_file_is_refused_by_the_name_of_its_fault),
        cmocka_unit_test(a_wrong_file_of_gemma_is_refused_by_the_name_of_its_fault),
        cmocka_unit_test(a_users_text_makes_gemmas_plain_added_tokens_only),
        cmocka_unit_test(bytes_that_make_no_character_are_replaced_one_by_one),
        cmocka_unit_test(a_post_processor_that_adds_nothing_is_accepted),
        cmocka_unit_test(a_file_that_is_no_json_is_an_error),
        cmocka_unit_test(damaged_files_do_no_harm),
        cmocka_unit_test(merges_may_be_strings),
        cmocka_unit_test(tokenizers_are_compared_by_what_ids_mean),
    };
    return cmocka_run_group_tests(tests, open_tiny, close_tiny);
}
