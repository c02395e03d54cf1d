/* test_linear.c - y = x @ W^T + b against double precision, and the bits of a row whatever stands beside it */
#include "tests/kernels/kernel_check.h"

enum { MOST_ROWS = 520 };

struct shape {
    int rows, cols;
    enum dtype dtype;
    bool bias;
};

/* 1, primes, widths that are no multiple of a panel or a pair, and shapes of real models. */
static const struct shape shapes[] = {
    {1, 1, DTYPE_BF16, true},      {1, 2, DTYPE_F16, false},     {17, 13, DTYPE_F32, true},     {31, 257, DTYPE_F16, true},
    {67, 129, DTYPE_BF16, false},  {200, 1031, DTYPE_F32, true}, {1536, 896, DTYPE_BF16, true}, {48, 2048, DTYPE_F16, false},
    {100, 4864, DTYPE_BF16, true}, {896, 896, DTYPE_F32, false},
};

static uint16_t f16_random(uint64_t seed, size_t i)
{
    uint32_t bits[4];
    random_bits(bits, seed, 1, i);
    return (uint16_t)((bits[0] & 0x83ff) | (bits[1] % 16) << 10); /* below 2; subnormals too */
}

/* Weights (rows, cols) as stored, and their values. */
static void *weights_make(const struct shape *s, float **values)
{
    size_t count = (size_t)s->rows * (size_t)s->cols;
    uint16_t *half = calloc(count, sizeof(float));
    *values = calloc(count, sizeof **values);
    for (size_t i = 0; i < count; i++)
        if (s->dtype == DTYPE_F32)
            ((float *)(void *)half)[i] = check_number(7, i);
        else
            half[i] = s->dtype == DTYPE_BF16 ? bf16_from_f32(check_number(7, i)) : f16_random(7, i);
    dtype_to_f32(*values, half, s->dtype, count);
    return half;
}

/* Written in blocks of odd sizes, as a loader may. */
static struct matrix *matrix_make(struct device *dev, const struct shape *s, const void *stored)
{
    const struct kernels *cpu = kernels_cpu();
    struct matrix *m = cpu->matrix_create(dev, s->dtype, s->rows, s->cols, NULL);
    assert_non_null(m);
    assert_true(cpu->matrix_bytes(m) >= (size_t)s->rows * (size_t)s->cols * dtype_size(s->dtype));
    for (int row = 0, n; row < s->rows; row += n) {
        n = row % 3 ? 37 : 5;
        n = n < s->rows - row ? n : s->rows - row;
        cpu->matrix_write(dev, m, row, n, (const char *)stored + (size_t)row * (size_t)s->cols * dtype_size(s->dtype));
    }
    return m;
}

static void row_check(const struct shape *s, const float *y, const float *x, const float *w, const float *b)
{
    for (int o = 0; o < s->rows; o++) {
        double sum = b ? (double)b[o] : 0, size = fabs(sum);
        for (int k = 0; k < s->cols; k++) {
            double product = (double)x[k] * (double)w[(size_t)o * (size_t)s->cols + (size_t)k];
            sum += product;
            size += fabs(product);
        }
        /* A chain of k roundings in f32, whose errors mostly cancel: k^(1/2) of them, and some for small k. */
        check_near((double)y[o], sum, size * 0x1p-24 * (4 + sqrt(s->cols)), "linear", (size_t)o);
    }
}

/* rounded: x holds bf16 values, so that a path that rounds activations to bf16 changes none and must give the same sums. */
static void shape_check(struct device *dev, const struct shape *s, bool rounded)
{
    const struct kernels *cpu = kernels_cpu();
    static const int counts[] = {1, 2, 3, 4, 5, 6, 7, 8, 9, 11, 12, 13, 16, 17, 64, 200, MOST_ROWS};
    float *w, *x = check_numbers(dev, 1, (size_t)MOST_ROWS * (size_t)s->cols);
    float *b = s->bias ? check_numbers(dev, 2, (size_t)s->rows) : NULL;
    float *y = check_room(dev, (size_t)MOST_ROWS * (size_t)s->rows), *alone = check_room(dev, (size_t)s->rows);
    void *stored = weights_make(s, &w);
    struct matrix *m = matrix_make(dev, s, stored);
    for (size_t i = 0; rounded && i < (size_t)MOST_ROWS * (size_t)s->cols; i++)
        x[i] = bf16_to_f32(bf16_from_f32(x[i]));
    for (size_t i = 0; i < sizeof counts / sizeof *counts; i++) {
        int n = counts[i], prompt = n % 3 ? 0 : n / 2;
        if ((size_t)n * (size_t)s->rows * (size_t)s->cols > 40000000) /* seconds, also under the sanitizers */
            continue;
        cpu->linear(dev, y, x, (struct rows){prompt, n - prompt}, m, b);
        for (int r = 0; r<n; r += n> 17 ? 37 : 1) {
            const float *row = x + (size_t)r * (size_t)s->cols;
            cpu->linear(dev, alone, row, (struct rows){0, 1}, m, b);
            if (r < 2)
                row_check(s, alone, row, w, b);
            check_same(y + (size_t)r * (size_t)s->rows, alone, (size_t)s->rows, "linear row alone");
        }
    }
    cpu->matrix_destroy(dev, m);
    free(stored);
    free(w);
    float *all[] = {x, b, y, alone};
    for (int i = 0; i < 4; i++)
        cpu->free(dev, all[i]);
}

static void shapes_check(struct device *dev)
{
    for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++)
        shape_check(dev, &shapes[i], false);
}

static void rounded_shapes_check(struct device *dev)
{
    for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++)
        if (shapes[i].dtype == DTYPE_BF16)
            shape_check(dev, &shapes[i], true);
}

/* The only test of the bf16 dot product, on CPUs that have it; on others both settings are one path. */
static void linear_with_bf16_activations_equals_double_precision(void **state)
{
    (void)state;
    check_devices_with(false, rounded_shapes_check);
}

static void linear_equals_double_precision_and_rows_do_not_see_each_other(void **state)
{
    (void)state;
    check_devices(shapes_check);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(linear_equals_double_precision_and_rows_do_not_see_each_other),
        cmocka_unit_test(linear_with_bf16_activations_equals_double_precision),
    };
    return cmocka_run_group_tests_name("linear", tests, NULL, NULL);
}
