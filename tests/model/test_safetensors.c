/* test_safetensors.c - checkpoint files: what is read, what is written, and what is refused with which words */
#include "tests/model/folder.h"

#include <sys/stat.h>

#include "base/memory.h"
#include "base/random.h"
#include "model/safetensors.h"

/* A file: the header's size as stated (-1: as it is), the header, and zeros. */
static void file_write(const struct folder *folder, const char *name, int64_t stated, const char *header, size_t data)
{
    size_t length = strlen(header), size = 8 + length + data;
    char *bytes = mem_new(size, 1);
    uint64_t n = stated < 0 ? length : (uint64_t)stated;
    for (int i = 0; i < 8; i++)
        bytes[i] = (char)(n >> 8 * i);
    memcpy(bytes + 8, header, length);
    folder_write(folder, name, bytes, size);
    free(bytes);
}

static void check_refused(const struct folder *folder, const char *words, const char *what)
{
    struct error err = {""};
    struct safetensors *st = NULL;
    if (!safetensors_open(&st, folder->path, &err)) {
        safetensors_close(st);
        fail_msg("%s: was opened", what);
    }
    assert_null(st);
    check_words(err.text, words, what);
}

#define T(name, dtype, shape, offsets) "\"" name "\":{\"dtype\":\"" dtype "\",\"shape\":" shape ",\"data_offsets\":" offsets "}"
#define ONE(shape, offsets) "{" T("w", "F32", shape, offsets) "}"

static const struct {
    const char *what;
    int64_t stated;
    const char *header;
    size_t data;
    const char *words;
} bad_files[] = {
    {"size beyond the file", 1000, "{}", 4, "1000 bytes does not fit|model.safetensors"},
    {"size of 2^40", (int64_t)1 << 40, "{}", 4, "does not fit"},
    {"size with the sign bit", INT64_MAX, "{}", 4, "does not fit"},
    {"header cut short", 20, ONE("[1]", "[0,4]"), 4, "header"},
    {"no JSON", -1, "hello there", 4, "header"},
    {"an empty header", -1, "", 4, "header"},
    {"a list", -1, "[]", 4, "must be a JSON object"},
    {"a number in place of a tensor", -1, "{\"w\":5}", 4, "tensor w|dtype must be a string"},
    {"dtype a number", -1, "{\"w\":{\"dtype\":5,\"shape\":[1],\"data_offsets\":[0,4]}}", 4, "tensor w|dtype"},
    {"no shape", -1, "{\"w\":{\"dtype\":\"F32\",\"data_offsets\":[0,4]}}", 4, "tensor w|shape must be a list"},
    {"negative size", -1, ONE("[-1]", "[0,4]"), 4, "tensor w|shape[0]|at least 0"},
    {"fractional size", -1, ONE("[2,0.5]", "[0,4]"), 4, "tensor w|shape[1]"},
    {"a size too big for JSON", -1, ONE("[99999999999999999999]", "[0,4]"), 4, "header"},
    {"nine dimensions", -1, ONE("[1,1,1,1,1,1,1,1,1]", "[0,4]"), 4, "tensor w|9 dimensions|at most 8"},
    {"product overflows", -1, ONE("[4294967296,4294967296]", "[0,4]"), 4, "tensor w|overflows"},
    {"overflow behind a zero", -1, ONE("[0,4611686018427387904,16]", "[0,0]"), 4, "tensor w|overflows"},
    {"no offsets", -1, "{\"w\":{\"dtype\":\"F32\",\"shape\":[1]}}", 4, "tensor w|data_offsets must be two integers"},
    {"three offsets", -1, ONE("[1]", "[0,4,8]"), 4, "tensor w|two integers"},
    {"offsets as text", -1, ONE("[1]", "[\"0\",\"4\"]"), 4, "tensor w|two integers"},
    {"negative offset", -1, ONE("[1]", "[-4,0]"), 4, "tensor w|not within the data"},
    {"end before begin", -1, ONE("[1]", "[4,0]"), 4, "tensor w|not within the data"},
    {"end beyond the data", -1, ONE("[2]", "[0,8]"), 4, "tensor w|not within the data of 4 bytes"},
    {"offset of 2^62", -1, ONE("[1]", "[4611686018427387904,4611686018427387908]"), 4, "tensor w|not within"},
    {"shape and bytes differ", -1, ONE("[3]", "[0,8]"), 8, "tensor w|take 12 bytes|8"},
    {"bytes of an empty shape", -1, ONE("[0]", "[0,4]"), 4, "tensor w|take 0 bytes"},
    {"two share bytes", -1, "{" T("a", "F32", "[2]", "[0,8]") "," T("b", "F32", "[1]", "[4,8]") "}", 8,
     "tensor b overlaps tensor a"},
    {"a name twice", -1, "{" T("a", "F32", "[1]", "[0,4]") "," T("a", "F32", "[1]", "[4,8]") "}", 8, "header|duplicate"},
    {"unknown dtype, bad offsets", -1, "{" T("a", "F8", "[1]", "[0,40]") "}", 8, "tensor a|not within"},
    {"a name that is not UTF-8", -1, "{\"\xff\":{}}", 8, "header"},
};

static void a_damaged_file_is_refused_by_name(void **state)
{
    (void)state;
    struct folder folder = folder_make();
    for (size_t i = 0; i < sizeof bad_files / sizeof *bad_files; i++) {
        file_write(&folder, "model.safetensors", bad_files[i].stated, bad_files[i].header, bad_files[i].data);
        check_refused(&folder, bad_files[i].words, bad_files[i].what);
    }
    folder_write(&folder, "model.safetensors", "abc", 3);
    check_refused(&folder, "3 bytes are too few", "three bytes");
    folder_remove(&folder);
}

static const struct {
    const char *what, *index, *words;
} bad_indices[] = {
    {"missing shard", "{\"weight_map\":{\"a\":\"no.safetensors\"}}", "weight_map: tensor a|no.safetensors|No such file"},
    {"a tensor that the shard lacks", "{\"weight_map\":{\"a\":\"one.safetensors\",\"c\":\"one.safetensors\"}}",
     "tensor c is not in one.safetensors"},
    {"a tensor of the other shard",
     "{\"weight_map\":{\"a\":\"one.safetensors\",\"b\":\"one.safetensors\",\"d\":\"two.safetensors\"}}",
     "tensor b is not in one.safetensors but in|two.safetensors"},
    {"the same tensor in both", "{\"weight_map\":{\"a\":\"one.safetensors\",\"d\":\"three.safetensors\"}}", "tensor a is also in"},
    {"a damaged shard", "{\"weight_map\":{\"a\":\"bad.safetensors\"}}", "tensor a|bad.safetensors|does not fit"},
    {"no map", "{\"metadata\":{}}", "weight_map is missing"},
    {"a path out of the folder", "{\"weight_map\":{\"a\":\"../one.safetensors\"}}", "tensor a|in the same folder"},
    {"a number as file", "{\"weight_map\":{\"a\":1}}", "tensor a|name of a file"},
    {"no JSON", "{\"weight_map\":", "line 1"},
};

static void a_damaged_index_is_refused_by_name(void **state)
{
    (void)state;
    struct folder folder = folder_make();
    check_refused(&folder, "neither model.safetensors nor", "an empty folder");
    file_write(&folder, "one.safetensors", -1, "{" T("a", "F32", "[1]", "[0,4]") "}", 4);
    file_write(&folder, "two.safetensors", -1, "{" T("b", "F32", "[1]", "[0,4]") "," T("d", "F32", "[1]", "[4,8]") "}", 8);
    file_write(&folder, "three.safetensors", -1, "{" T("a", "F32", "[1]", "[0,4]") "," T("d", "F32", "[1]", "[4,8]") "}", 8);
    file_write(&folder, "bad.safetensors", 1000, "{}", 4);
    for (size_t i = 0; i < sizeof bad_indices / sizeof *bad_indices; i++) {
        folder_write(&folder, "model.safetensors.index.json", bad_indices[i].index, strlen(bad_indices[i].index));
        check_refused(&folder, bad_indices[i].words, bad_indices[i].what);
    }
    folder_remove(&folder);
    check_refused(&folder, "No such file", "a folder that is not there");
}

static void an_unused_tensor_of_unknown_dtype_is_tolerated(void **state)
{
    (void)state;
    struct folder folder = folder_make();
    struct error err;
    struct safetensors *st;
    file_write(&folder, "model.safetensors", -1,
               "{\"__metadata__\":{\"format\":\"pt\"}," T("z", "F8_E4M3", "[3]", "[0,3]") "," T("n", "I64", "[1]", "[8,16]") "," T(
                   "w", "F32", "[2,1]", "[16,24]") "," T("e", "F32", "[4,0]", "[16,16]") "}   ",
               24);
    assert_int_equal(safetensors_open(&st, folder.path, &err), 0);
    assert_int_equal(safetensors_count(st), 3);
    assert_string_equal(safetensors_at(st, 0)->name, "e");
    assert_null(safetensors_find(st, "z"));
    assert_non_null(safetensors_need(st, "w", 2, 1, &err));
    assert_null(safetensors_need(st, "z", 1, 3, &err));
    check_words(err.text, "tensor z|F8_E4M3 is not supported", "unknown dtype");
    assert_null(safetensors_need(st, "n", 1, 1, &err));
    check_words(err.text, "tensor n|I64 is not supported", "integers as weights");
    assert_null(safetensors_need(st, "w", 1, 2, &err));
    check_words(err.text, "tensor w is (2, 1)|wants (1, 2)", "another shape");
    assert_null(safetensors_need(st, "y", 1, 2, &err));
    check_words(err.text, "tensor y is missing", "a missing tensor");
    safetensors_close(st);
    folder_remove(&folder);
}

/* ---- reading and writing ---- */

enum { ROWS = 37, COLS = 53 };

static void matrix_write(const struct folder *folder, const char *name, const uint16_t *data)
{
    struct error err;
    char path[128];
    const struct tensor t[] = {
        {.name = "b", .dtype = DTYPE_F32, .dims = 1, .shape = {3}, .bytes = 12},
        {.name = "part.w", .dtype = DTYPE_BF16, .dims = 3, .shape = {ROWS, COLS, 1}, .bytes = ROWS * COLS * 2},
    };
    const float b[3] = {1, 2, 3};
    const void *const parts[] = {b, data};
    folder_path(folder, name, path);
    if (safetensors_write(path, t, parts, 2, &err))
        fail_msg("%s", err.text);
}

static void slices_are_what_was_written(void **state)
{
    (void)state;
    struct folder folder = folder_make();
    struct error err;
    struct safetensors *st;
    uint16_t data[ROWS * COLS], slice[ROWS * COLS];
    for (int i = 0; i < ROWS * COLS; i++)
        data[i] = (uint16_t)(i * 31);
    matrix_write(&folder, "model.safetensors", data);
    assert_int_equal(safetensors_open(&st, folder.path, &err), 0);
    const struct tensor *t = safetensors_find(st, "part.w");
    const int cuts[][4] = {{0, ROWS, 0, COLS}, {5, 1, 0, COLS}, {5, 20, 7, 11}, {36, 1, 52, 1}, {0, 37, 52, 1}, {3, 0, 2, 0}};
    for (size_t k = 0; k < sizeof cuts / sizeof *cuts; k++) {
        const int row = cuts[k][0], rows = cuts[k][1], col = cuts[k][2], cols = cuts[k][3];
        assert_int_equal(safetensors_read(st, t, row, rows, col, cols, slice, &err), 0);
        for (int i = 0; i < rows; i++)
            for (int j = 0; j < cols; j++)
                assert_int_equal(slice[i * cols + j], data[(row + i) * COLS + col + j]);
    }
    const int beyond[][4] = {{-1, 1, 0, 1}, {0, 38, 0, 1}, {37, 1, 0, 1}, {0, 1, 50, 4}, {0, 1, 0, -1}};
    for (size_t k = 0; k < sizeof beyond / sizeof *beyond; k++) {
        assert_int_equal(safetensors_read(st, t, beyond[k][0], beyond[k][1], beyond[k][2], beyond[k][3], slice, &err), -1);
        check_words(err.text, "tensor part.w|not within (37, 53)", "a slice beyond");
    }
    char path[128];
    folder_path(&folder, "model.safetensors", path);
    assert_int_equal(truncate(path, 1000), 0); /* the disk's fault while it is read */
    assert_int_equal(safetensors_read(st, t, 0, ROWS, 0, COLS, slice, &err), -1);
    check_words(err.text, "the file ends at byte 1000", "a file cut short while open");
    safetensors_close(st);
    folder_remove(&folder);
}

static void one_file_opens_by_its_own_name(void **state)
{
    (void)state;
    struct folder folder = folder_make();
    struct error err;
    struct safetensors *st;
    char path[128];
    uint16_t data[ROWS * COLS] = {0};
    matrix_write(&folder, "x.safetensors", data);
    folder_path(&folder, "x.safetensors", path);
    assert_int_equal(safetensors_open(&st, path, &err), 0);
    assert_int_equal(safetensors_count(st), 2);
    safetensors_close(st);
    folder_remove(&folder);
}

static void a_file_is_written_whole_or_not_at_all(void **state)
{
    (void)state;
    struct folder folder = folder_make();
    struct error err;
    const struct tensor twice[] = {{.name = "b", .dims = 1, .shape = {1}, .bytes = 4},
                                   {.name = "b", .dims = 1, .shape = {1}, .bytes = 4}};
    const float one = 1;
    const void *const data[] = {&one, &one};
    char path[128];
    folder_path(&folder, "a.safetensors", path);
    assert_int_equal(safetensors_write(path, twice, data, 2, &err), -1);
    assert_int_equal(folder_empty(&folder), 0); /* no temporary file either */
    folder_path(&folder, "none/a.safetensors", path);
    assert_int_equal(safetensors_write(path, twice, data, 1, &err), -1);
    check_words(err.text, "none/a.safetensors|No such file", "a folder that is not there");
    folder_remove(&folder);
}

struct one_by_one {
    const void *const *parts;
    const struct tensor *tensors;
    int next;
};

static void part_fill(void *user, int i, void *data)
{
    struct one_by_one *all = user;
    assert_true(i >= all->next && all->tensors[i].bytes);
    all->next = i + 1;
    memcpy(data, all->parts[i], all->tensors[i].bytes);
}

static void data_made_one_by_one_make_the_same_file(void **state)
{
    (void)state;
    struct folder folder = folder_make();
    struct error err;
    uint64_t hash[2][2];
    uint16_t wide[ROWS * COLS];
    const float b[3] = {1, 2, 3};
    const struct tensor t[] = {
        {.name = "b", .dtype = DTYPE_F32, .dims = 1, .shape = {3}, .bytes = 12},
        {.name = "none", .dtype = DTYPE_F32, .dims = 1, .shape = {0}, .bytes = 0},
        {.name = "w", .dtype = DTYPE_BF16, .dims = 2, .shape = {ROWS, COLS}, .bytes = sizeof wide},
        {.name = "c", .dtype = DTYPE_F32, .dims = 1, .shape = {2}, .bytes = 8},
    };
    const void *const parts[] = {b, b, wide, b + 1};
    for (int i = 0; i < ROWS * COLS; i++)
        wide[i] = (uint16_t)(i * 31);
    for (int way = 0; way < 2; way++) {
        char path[128];
        struct safetensors *st;
        struct one_by_one all = {parts, t, 0};
        folder_path(&folder, "model.safetensors", path);
        assert_int_equal(
            way ? safetensors_write_each(path, t, 4, part_fill, &all, &err) : safetensors_write(path, t, parts, 4, &err), 0);
        assert_int_equal(safetensors_open(&st, path, &err), 0);
        assert_int_equal(safetensors_hash(st, "", 1, hash[way], &err), 0);
        safetensors_close(st);
    }
    assert_memory_equal(hash[0], hash[1], sizeof hash[0]);
    folder_remove(&folder);
}

static void only_a_regular_file_is_replaced(void **state)
{
    (void)state;
    struct folder folder = folder_make();
    struct error err;
    struct stat made;
    const uint16_t data[ROWS * COLS] = {0};
    char path[128], other[128];
    folder_path(&folder, "pipe", path);
    assert_int_equal(mkfifo(path, 0600), 0);
    assert_int_equal(safetensors_write(path, NULL, NULL, 0, &err), -1);
    check_words(err.text, "pipe|only a regular file", "a pipe");
    assert_true(!lstat(path, &made) && S_ISFIFO(made.st_mode));
    folder_path(&folder, "real", other);
    matrix_write(&folder, "real", data);
    folder_path(&folder, "link", path);
    assert_int_equal(symlink(other, path), 0);
    assert_int_equal(truncate(other, 1), 0);
    matrix_write(&folder, "link", data);
    assert_true(!lstat(path, &made) && S_ISLNK(made.st_mode));
    assert_true(!lstat(other, &made) && made.st_size > 1);
    folder_remove(&folder);
}

static void hash_of(const struct folder *folder, const char *name, const char *prefix, int with_data, uint64_t hash[2])
{
    struct error err;
    struct safetensors *st;
    char path[128];
    folder_path(folder, name, path);
    assert_int_equal(safetensors_open(&st, path, &err), 0);
    assert_int_equal(safetensors_hash(st, prefix, with_data, hash, &err), 0);
    safetensors_close(st);
}

static void hashes_see_what_they_should_and_nothing_else(void **state)
{
    (void)state;
    struct folder folder = folder_make();
    uint64_t a[2], b[2];
    file_write(&folder, "a", -1,
               "{" T("v.x", "F32", "[1]", "[0,4]") "," T("v.y", "F32", "[2,3]", "[4,28]") "," T("o", "F32", "[1]", "[28,32]") "}",
               32);
    file_write(&folder, "b", -1, "{" T("m.v.y", "F32", "[2,3]", "[0,24]") "," T("m.v.x", "F32", "[1]", "[24,28]") "}", 28);
    file_write(&folder, "c", -1, "{" T("v.x", "F32", "[1]", "[0,4]") "," T("v.y", "F32", "[3,2]", "[4,28]") "}", 28);
    for (int with_data = 0; with_data < 2; with_data++) {
        hash_of(&folder, "a", "v.", with_data, a);
        hash_of(&folder, "b", "m.v.", with_data, b); /* another prefix, another order */
        assert_memory_equal(a, b, sizeof a);
        hash_of(&folder, "c", "v.", with_data, b); /* another shape */
        assert_memory_not_equal(a, b, sizeof a);
        hash_of(&folder, "a", "", with_data, b);
        assert_memory_not_equal(a, b, sizeof a);
    }
    char path[128];
    folder_path(&folder, "a", path);
    FILE *f = fopen(path, "r+b");
    assert_non_null(f);
    assert_int_equal(fseek(f, -5, SEEK_END), 0); /* the last byte of v.y */
    fputc(1, f);
    fclose(f);
    hash_of(&folder, "a", "v.", 0, b);
    hash_of(&folder, "b", "m.v.", 0, a);
    assert_memory_equal(a, b, sizeof a);
    hash_of(&folder, "a", "v.", 1, b);
    hash_of(&folder, "b", "m.v.", 1, a);
    assert_memory_not_equal(a, b, sizeof a);
    folder_remove(&folder);
}

/* A header with bytes changed at random: it opens or is refused, and what opens can be read. */
static void random_damage_never_crashes(void **state)
{
    (void)state;
    struct folder folder = folder_make();
    const char header[] = "{" T("v.x", "F32", "[1]", "[0,4]") "," T("v.y", "BF16", "[2,3]", "[4,16]") "}";
    const char alphabet[] = "0123456789-.,:[]{}\"eEFx\\ ";
    for (uint64_t seed = 0; seed < 1000; seed++) {
        char damaged[sizeof header], buffer[64];
        uint32_t bits[4];
        struct error err;
        struct safetensors *st;
        memcpy(damaged, header, sizeof header);
        random_bits(bits, seed, 0, 0);
        for (int i = 0; i < 1 + (int)(seed % 3); i++)
            damaged[bits[i] % (sizeof header - 1)] = alphabet[(bits[i] >> 16) % (sizeof alphabet - 1)];
        file_write(&folder, "model.safetensors", seed % 7 ? -1 : (int64_t)(bits[3] % 200), damaged, 16);
        if (safetensors_open(&st, folder.path, &err))
            continue;
        for (int i = 0; i < safetensors_count(st); i++) {
            int64_t rows, cols;
            const struct tensor *t = safetensors_at(st, i);
            tensor_matrix(t, &rows, &cols);
            assert_int_equal(safetensors_read(st, t, 0, rows, 0, cols, buffer, &err), 0);
        }
        safetensors_close(st);
    }
    folder_remove(&folder);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_damaged_file_is_refused_by_name),
        cmocka_unit_test(a_damaged_index_is_refused_by_name),
        cmocka_unit_test(an_unused_tensor_of_unknown_dtype_is_tolerated),
        cmocka_unit_test(slices_are_what_was_written),
        cmocka_unit_test(one_file_opens_by_its_own_name),
        cmocka_unit_test(a_file_is_written_whole_or_not_at_all),
        cmocka_unit_test(data_made_one_by_one_make_the_same_file),
        cmocka_unit_test(only_a_regular_file_is_replaced),
        cmocka_unit_test(hashes_see_what_they_should_and_nothing_else),
        cmocka_unit_test(random_damage_never_crashes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
