/* test_rows.c - norms, rotations, gates, sums, moves of rows, scores: against double precision, and the bits of a row whatever
 * stands beside it */
#include "tests/kernels/kernel_check.h"

enum { N = 17, MOST_ROWS = 200 };

static const int widths[] = {1, 13, 64, 128, 257, 896, 1536, 5120, 6001};

enum { WIDTHS = sizeof widths / sizeof *widths };

/* Every d: rows of x, of a result, and of a result alone. */
struct rows_data {
    struct device *dev;
    int d, n;
    float *x, *weight, *bias, *y, *alone;
};

static struct rows_data data_make(struct device *dev, int d, int n, int in_per_out)
{
    size_t count = (size_t)(n * d);
    struct rows_data t = {.dev = dev, .d = d, .n = n, .x = check_numbers(dev, 11, count * (size_t)in_per_out)};
    t.weight = check_numbers(dev, 12, (size_t)d);
    t.bias = check_numbers(dev, 13, (size_t)d);
    t.y = check_room(dev, count);
    t.alone = check_room(dev, count);
    return t;
}

static void data_free(struct rows_data *t)
{
    float *all[] = {t->x, t->weight, t->bias, t->y, t->alone};
    for (int i = 0; i < 5; i++)
        kernels_cpu()->free(t->dev, all[i]);
}

static void rms_check(struct device *dev, int d, int n, int stride)
{
    const struct kernels *cpu = kernels_cpu();
    struct rows_data t = data_make(dev, stride, n, 1);
    float offset = d % 2 ? 1.0f : 0.0f, eps = 1e-6f;
    cpu->rms_norm(dev, t.y, t.x, n, d, stride, t.weight, offset, eps);
    for (int r = 0; r < n; r++) {
        const float *x = t.x + r * stride;
        cpu->rms_norm(dev, t.alone, x, 1, d, stride, t.weight, offset, eps);
        check_same(t.y + r * d, t.alone, (size_t)d, "rms_norm row alone");
        double squares = 0;
        for (int i = 0; i < d; i++)
            squares += (double)x[i] * (double)x[i];
        for (int i = 0; i < d && r < 2; i++) {
            double expected = (double)x[i] / sqrt(squares / d + (double)eps) * ((double)t.weight[i] + (double)offset);
            check_near((double)t.y[r * d + i], expected, 1e-6 * (1 + fabs(expected)), "rms_norm", (size_t)i); /* some roundings */
        }
    }
    cpu->rms_norm(dev, t.x, t.x, n, d, stride, t.weight, offset, eps);
    check_same(t.x, t.y, (size_t)(n * d), "rms_norm in place");
    data_free(&t);
}

/* Heads in place, at the start of rows that go on behind them. */
static void heads_check(struct device *dev, int heads, int c)
{
    const struct kernels *cpu = kernels_cpu();
    int stride = heads * c + 5;
    float *x = check_numbers(dev, 14, (size_t)(N * stride)), *old = check_numbers(dev, 14, (size_t)(N * stride));
    float *weight = check_numbers(dev, 15, (size_t)c), *want = check_room(dev, (size_t)c);
    cpu->rms_norm_heads(dev, x, N, heads, c, stride, weight, 1.0f, 1e-6f);
    for (int r = 0; r < N; r++) {
        for (int h = 0; h < heads; h++) {
            cpu->rms_norm(dev, want, old + r * stride + h * c, 1, c, c, weight, 1.0f, 1e-6f);
            check_same(x + r * stride + h * c, want, (size_t)c, "rms_norm_heads");
        }
        check_same(x + r * stride + heads * c, old + r * stride + heads * c, 5, "behind the heads");
    }
    float *all[] = {x, old, weight, want};
    for (int i = 0; i < 4; i++)
        cpu->free(dev, all[i]);
}

static void layer_check(struct device *dev, int d, int n)
{
    const struct kernels *cpu = kernels_cpu();
    struct rows_data t = data_make(dev, d, n, 1);
    for (int i = 0; i < n * d; i++)
        t.x[i] += 3.0f; /* a mean that would cancel if squares were summed around zero */
    cpu->layer_norm(dev, t.y, t.x, n, d, t.weight, t.bias, 1e-5f);
    for (int r = 0; r < n; r++) {
        const float *x = t.x + r * d;
        cpu->layer_norm(dev, t.alone, x, 1, d, t.weight, t.bias, 1e-5f);
        check_same(t.y + r * d, t.alone, (size_t)d, "layer_norm row alone");
        double mean = 0, var = 0;
        for (int i = 0; i < d; i++)
            mean += (double)x[i] / d;
        for (int i = 0; i < d; i++)
            var += ((double)x[i] - mean) * ((double)x[i] - mean) / d;
        for (int i = 0; i < d && r < 2; i++) {
            double expected = ((double)x[i] - mean) / sqrt(var + 1e-5) * (double)t.weight[i] + (double)t.bias[i];
            check_near((double)t.y[r * d + i], expected, 1e-5, "layer_norm", (size_t)i); /* the mean's error times 1/deviation */
        }
    }
    cpu->layer_norm(dev, t.x, t.x, n, d, t.weight, t.bias, 1e-5f);
    check_same(t.x, t.y, (size_t)(n * d), "layer_norm in place");
    data_free(&t);
}

static void norms_check(struct device *dev)
{
    for (int i = 0; i < WIDTHS; i++) {
        rms_check(dev, widths[i], i % 2 ? N : MOST_ROWS / 4, widths[i]);
        rms_check(dev, widths[i], N, widths[i] + 3);
        layer_check(dev, widths[i], i % 2 ? N : MOST_ROWS / 4);
        heads_check(dev, i % 3 + 1, widths[i]);
    }
}

static void norms_equal_double_precision(void **state)
{
    (void)state;
    check_devices(norms_check);
}

static void rope_check_width(struct device *dev, int heads, int c)
{
    const struct kernels *cpu = kernels_cpu();
    int stride = heads * c + 5;
    float *x = check_numbers(dev, 21, (size_t)(MOST_ROWS * stride)), *old = check_numbers(dev, 21, (size_t)(MOST_ROWS * stride));
    float *cosine = check_room(dev, (size_t)(MOST_ROWS * c)), *sine = check_room(dev, (size_t)(MOST_ROWS * c));
    for (int i = 0; i < MOST_ROWS * c / 2; i++) {
        cosine[i] = cosf((float)i);
        sine[i] = sinf((float)i);
    }
    cpu->rope(dev, x, MOST_ROWS, heads, c, stride, cosine, sine);
    for (int r = 0; r < MOST_ROWS; r++) {
        const float *o = old + r * stride, *co = cosine + r * c / 2, *si = sine + r * c / 2;
        for (int i = 0; i < stride; i++) {
            double expected = (double)o[i];
            if (i < heads * c) {
                int j = i % c, pair = j % (c / 2);
                double other = j < c / 2 ? -(double)o[i + c / 2] : (double)o[i - c / 2];
                expected = (double)o[i] * (double)co[pair] + other * (double)si[pair];
            }
            check_near((double)x[r * stride + i], expected, 3e-7, "rope", (size_t)i); /* two products and a sum below 2 */
        }
    }
    for (int r = 0; r < MOST_ROWS; r++)
        cpu->rope(dev, old + r * stride, 1, heads, c, stride, cosine + r * c / 2, sine + r * c / 2);
    check_same(x, old, (size_t)(MOST_ROWS * stride), "rope row alone");
    float *all[] = {x, old, cosine, sine};
    for (int i = 0; i < 4; i++)
        cpu->free(dev, all[i]);
}

static void rope_widths(struct device *dev)
{
    static const int shapes[][2] = {{1, 2}, {3, 16}, {2, 32}, {14, 64}, {5, 80}, {4, 128}, {3, 26}};
    for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++)
        rope_check_width(dev, shapes[i][0], shapes[i][1]);
}

static void rope_turns_pairs_and_leaves_the_rest(void **state)
{
    (void)state;
    check_devices(rope_widths);
}

static double silu(double x)
{
    return x / (1 + exp(-x));
}

static double gelu_tanh(double x)
{
    return 0.5 * x * (1 + tanh(sqrt(2 / M_PI) * (x + 0.044715 * x * x * x)));
}

static double gelu_erf(double x)
{
    return 0.5 * x * erfc(-x / sqrt(2));
}

typedef void gate_function(struct device *dev, float *y, const float *x, int n, int d);

static void gate_check(struct device *dev, gate_function *gate, double (*f)(double), int d, int n, const char *what)
{
    struct rows_data t = data_make(dev, d, n, 2);
    for (int i = 0; i < n * d * 2; i++)
        t.x[i] *= i % 5 ? 8.0f : 100.0f;
    gate(dev, t.y, t.x, n, d);
    for (int r = 0; r < n; r++) {
        const float *x = t.x + 2 * r * d;
        gate(dev, t.alone, x, 1, d);
        check_same(t.y + r * d, t.alone, (size_t)d, what);
        for (int i = 0; i < d && r < 3; i++) {
            double expected = f((double)x[i]) * (double)x[d + i];
            /* e^z carries z's rounding: relative errors of |z| 2^-24, z up to 20 where f still counts. */
            check_near((double)t.y[r * d + i], expected, 3e-6 * fabs(expected) + 1e-5 * exp(-fabs((double)x[i])) + 1e-30, what,
                       (size_t)i);
        }
    }
    data_free(&t);
}

typedef void in_place_function(struct device *dev, float *x, size_t count);

static void in_place_check(struct device *dev, in_place_function *run, double (*f)(double), int count, const char *what)
{
    float *x = check_numbers(dev, 31, (size_t)count), *old = check_numbers(dev, 31, (size_t)count);
    for (int i = 0; i < count; i++)
        old[i] = x[i] *= 9.0f;
    run(dev, x, (size_t)count);
    for (int i = 0; i < count; i++) {
        double expected = f((double)old[i]);
        /* 1 + erf(x) and 1 + tanh(x) cancel at the far left: an absolute error there. */
        check_near((double)x[i], expected, 1e-6 * fabs(expected) + 1e-6, what, (size_t)i);
    }
    for (int i = 0, n; i < count; i += n) { /* each number alone at other places of a vector */
        n = i % 3 + 1 < count - i ? i % 3 + 1 : count - i;
        run(dev, old + i, (size_t)n);
    }
    check_same(x, old, (size_t)count, what);
    kernels_cpu()->free(dev, x);
    kernels_cpu()->free(dev, old);
}

static void gates_check(struct device *dev)
{
    const struct kernels *cpu = kernels_cpu();
    static const int sizes[] = {1, 7, 64, 1031, 4864, 8960};
    for (int i = 0; i < 6; i++) {
        gate_check(dev, cpu->silu_gate, silu, sizes[i], N, "silu_gate");
        gate_check(dev, cpu->gelu_tanh_gate, gelu_tanh, sizes[i], N, "gelu_tanh_gate");
        in_place_check(dev, cpu->gelu_erf, gelu_erf, sizes[i] * 3, "gelu_erf");
        in_place_check(dev, cpu->gelu_tanh, gelu_tanh, sizes[i] * 3, "gelu_tanh");
    }
}

static void gates_equal_double_precision(void **state)
{
    (void)state;
    check_devices(gates_check);
}

static void gates_extremes(struct device *dev)
{
    const struct kernels *cpu = kernels_cpu();
    const float wild[] = {INFINITY, -INFINITY, NAN, 3e38f, -3e38f, 1e-40f, 0.0f, -0.0f};
    float x[16], y[8];
    for (int i = 0; i < 16; i++)
        x[i] = i < 8 ? wild[i] : 1.0f;
    cpu->silu_gate(dev, y, x, 1, 8);
    assert_true(isinf(y[0]) && isnan(y[2]) && isinf(y[0]) && y[3] == 3e38f && y[4] == 0.0f && y[6] == 0.0f);
    cpu->gelu_tanh_gate(dev, y, x, 1, 8);
    assert_true(isinf(y[0]) && isnan(y[2]) && y[3] == 3e38f && y[4] == 0.0f && y[6] == 0.0f);
    cpu->rms_norm(dev, y, x, 1, 8, 8, x + 8, 0.0f, 1e-6f);
    assert_true(isnan(y[3]));
}

static void infinities_and_nan_pass_through_gates(void **state)
{
    (void)state;
    check_devices(gates_extremes);
}

static void moves_check(struct device *dev)
{
    const struct kernels *cpu = kernels_cpu();
    enum { D = 77, ROWS = 9 };
    float *x = check_numbers(dev, 41, (size_t)ROWS * D), *y = check_room(dev, (size_t)ROWS * D), *z = check_numbers(dev, 42, 9999);
    static const int32_t index[] = {8, 0, 3, 5};
    cpu->gather(dev, y, x, index, 4, D);
    for (int r = 0; r < 4; r++)
        check_same(y + r * D, x + index[r] * D, D, "gather");
    cpu->scatter(dev, x, z, index, 4, D);
    for (int r = 0; r < 4; r++)
        check_same(x + index[r] * D, z + r * D, D, "scatter");
    float *sum = check_numbers(dev, 43, 9999), *old = check_numbers(dev, 43, 9999);
    cpu->add(dev, sum, z, 9999);
    for (int i = 0; i < 9999; i++)
        assert_true(sum[i] == old[i] + z[i]);
    float *all[] = {x, y, z, sum, old};
    for (int i = 0; i < 5; i++)
        cpu->free(dev, all[i]);
}

/* Averages of rows, a factor for all numbers, and the soft cap, whose tanh is libm's. */
static void means_check(struct device *dev)
{
    const struct kernels *cpu = kernels_cpu();
    enum { ROWS = 5, GROUP = 16, D = 77, COUNT = ROWS * GROUP * D };
    float *x = check_numbers(dev, 44, COUNT), *y = check_room(dev, ROWS * D), *z = check_numbers(dev, 44, COUNT);
    cpu->mean(dev, y, x, ROWS, GROUP, D);
    for (int i = 0; i < ROWS * D; i++) {
        double sum = 0;
        for (int k = 0; k < GROUP; k++)
            sum += (double)x[(i / D * GROUP + k) * D + i % D];
        check_near((double)y[i], sum / GROUP, 1e-6, "mean", (size_t)i); /* sixteen numbers below 1 */
    }
    cpu->scale(dev, z, 50.5f, COUNT);
    for (int i = 0; i < COUNT; i++)
        assert_true(z[i] == x[i] * 50.5f);
    cpu->soft_cap(dev, z, 30.0f, COUNT);
    for (int i = 0; i < COUNT; i++) {
        double expected = 30 * tanh((double)x[i] * 50.5 / 30);
        check_near((double)z[i], expected, 1e-5, "soft_cap", (size_t)i); /* roundings of numbers below 51 */
    }
    float *all[] = {x, y, z};
    for (int i = 0; i < 3; i++)
        cpu->free(dev, all[i]);
}

static void means_factors_and_caps_equal_double_precision(void **state)
{
    (void)state;
    check_devices(means_check);
}

static void rows_move_and_add(void **state)
{
    (void)state;
    check_devices(moves_check);
}

static void embed_check(struct device *dev)
{
    const struct kernels *cpu = kernels_cpu();
    enum { ROWS = 71, COLS = 33 };
    static const enum dtype dtypes[] = {DTYPE_BF16, DTYPE_F16, DTYPE_F32};
    static const int32_t ids[] = {100, 170, 99, 171, -5, 130, 100};
    for (int t = 0; t < 3; t++) {
        float stored[ROWS * COLS], values[ROWS * COLS], y[7 * COLS];
        uint16_t *half = (uint16_t *)(void *)stored;
        for (int i = 0; i < ROWS * COLS; i++)
            if (dtypes[t] == DTYPE_F32)
                stored[i] = check_number(51, (size_t)i);
            else
                half[i] = (uint16_t)(i * 27); /* passes through subnormals, infinities and NaN of f16 */
        dtype_to_f32(values, stored, dtypes[t], (size_t)ROWS * COLS);
        struct matrix *m = cpu->matrix_create(dev, dtypes[t], ROWS, COLS, NULL);
        cpu->matrix_write(dev, m, 0, ROWS, stored);
        cpu->embed(dev, y, ids, 7, m, 100);
        for (int r = 0; r < 7; r++)
            for (int k = 0; k < COLS; k++) {
                float expected = ids[r] >= 100 && ids[r] < 171 ? values[(ids[r] - 100) * COLS + k] : 0.0f;
                assert_true(y[r * COLS + k] == expected || (isnan(expected) && isnan(y[r * COLS + k])));
            }
        cpu->matrix_destroy(dev, m);
    }
}

static void embed_returns_the_stored_rows_exactly(void **state)
{
    (void)state;
    check_devices(embed_check);
}

static void best_check(struct device *dev)
{
    const struct kernels *cpu = kernels_cpu();
    enum { ROWS = 6, D = 1531 };
    float *x = check_numbers(dev, 61, (size_t)ROWS * D), value[ROWS];
    int32_t id[ROWS];
    x[7] = x[700] = x[1530] = 2.0f; /* row 0: a tie */
    for (int i = 0; i < D; i++) {
        x[D + i] = NAN;                                /* row 1: nothing wins */
        x[2 * D + i] = -INFINITY;                      /* row 2: the first does */
        x[3 * D + i] = i % 2 ? NAN : -(float)i - 1.0f; /* row 3 */
    }
    x[4 * D + 1530] = INFINITY;
    x[5 * D + 3] = NAN;
    x[5 * D + 4] = 3.0f;
    cpu->best(dev, value, id, x, ROWS, D);
    static const int32_t expected[ROWS] = {7, -1, 0, 0, 1530, 4};
    for (int r = 0; r < ROWS; r++) {
        assert_int_equal(id[r], expected[r]);
        assert_true(id[r] < 0 || value[r] == x[r * D + id[r]]);
        float alone;
        int32_t alone_id;
        cpu->best(dev, &alone, &alone_id, x + r * D, 1, D);
        assert_int_equal(alone_id, id[r]);
    }
    cpu->free(dev, x);
}

static void best_is_the_lowest_column_of_the_largest_number(void **state)
{
    (void)state;
    check_devices(best_check);
}

static void penalize_check(struct device *dev)
{
    const struct kernels *cpu = kernels_cpu();
    float x[2][10] = {{1, -1, 2, -2, 3, 0, 4, 5, 6, 7}, {1, -1, 2, -2, 3, 0, 4, 5, 6, 7}};
    static const int32_t ids[2][6] = {{0, 1, 0, 9, -1, 10}, {3, 3, 3, 3, 3, 3}}, count[2] = {6, 1};
    static const float penalty[2] = {2.0f, 1.25f};
    cpu->penalize(dev, &x[0][0], 2, 10, &ids[0][0], count, 6, penalty);
    static const float expected[2][10] = {{0.5f, -2, 2, -2, 3, 0, 4, 5, 6, 3.5f}, {1, -1, 2, -2.5f, 3, 0, 4, 5, 6, 7}};
    check_same(&x[0][0], &expected[0][0], 20, "penalize");
}

static void a_penalty_meets_each_distinct_column_once(void **state)
{
    (void)state;
    check_devices(penalize_check);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(norms_equal_double_precision),
        cmocka_unit_test(rope_turns_pairs_and_leaves_the_rest),
        cmocka_unit_test(gates_equal_double_precision),
        cmocka_unit_test(infinities_and_nan_pass_through_gates),
        cmocka_unit_test(rows_move_and_add),
        cmocka_unit_test(means_factors_and_caps_equal_double_precision),
        cmocka_unit_test(embed_returns_the_stored_rows_exactly),
        cmocka_unit_test(best_is_the_lowest_column_of_the_largest_number),
        cmocka_unit_test(a_penalty_meets_each_distinct_column_once),
    };
    return cmocka_run_group_tests_name("rows", tests, NULL, NULL);
}
