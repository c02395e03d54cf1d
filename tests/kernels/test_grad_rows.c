/* test_grad_rows.c - norms, gates and caps of training against derivatives of their formulas in double precision; the same bits on
 * any number of threads */
#include "tests/kernels/grad_check.h"

#include <string.h>

static const int widths[] = {1, 13, 64, 257, 1536};

enum { WIDTHS = sizeof widths / sizeof *widths, ROWS = 37 };

/* ---- rms_norm ---- */

struct norm_case {
    int d;
    const double *dy, *weight;
    double offset, eps;
};

/* sum dy y of one row; x (d), then weight (d) */
static double norm_formula(const void *arg, const double *x)
{
    const struct norm_case *c = arg;
    const double *weight = c->weight ? c->weight : x + c->d;
    double squares = 0, sum = 0;
    for (int i = 0; i < c->d; i++)
        squares += x[i] * x[i];
    for (int i = 0; i < c->d; i++)
        sum += c->dy[i] * x[i] / sqrt(squares / c->d + c->eps) * (weight[i] + c->offset);
    return sum;
}

static void norm_check(const float *dx, const float *dw, const float *x, const float *dy, const float *weight, int d, float offset)
{
    double *wide = doubles_of(x, (size_t)(ROWS * d)), *slope = doubles_of(dy, (size_t)(ROWS * d));
    double *scale = doubles_of(weight, (size_t)d), *sum = calloc((size_t)d, sizeof *sum);
    for (int r = 0; r < ROWS; r++) {
        double squares = 0;
        struct norm_case c = {.d = d, .dy = slope + r * d, .weight = scale, .offset = (double)offset, .eps = 1e-6};
        for (int i = 0; i < d; i++)
            squares += wide[r * d + i] * wide[r * d + i];
        for (int i = 0; i < d; i++)
            sum[i] += slope[r * d + i] * wide[r * d + i] / sqrt(squares / d + 1e-6);
        for (int i = 0; i < d && r < 3; i += d / 40 | 1) {
            double want = derivative(norm_formula, &c, wide + r * d, (size_t)i) + (double)check_number(33, (size_t)(r * d + i));
            check_near((double)dx[r * d + i], want, 5e-6, "dx of rms_norm", (size_t)i);
        }
    }
    for (int i = 0; i < d; i++)
        check_near((double)dw[i], sum[i] + (double)check_number(34, (size_t)i), 1e-5, "dw of rms_norm", (size_t)i);
    free(wide);
    free(slope);
    free(scale);
    free(sum);
}

static void norm_on(struct device *dev)
{
    const struct kernels *cpu = kernels_cpu();
    struct device *alone = alone_open(dev);
    for (int w = 0; w < WIDTHS; w++) {
        int d = widths[w];
        size_t count = (size_t)(ROWS * d);
        float offset = w % 2 ? 1.0f : 0.0f, *x = check_numbers(dev, 31, count), *dy = check_numbers(dev, 32, count);
        float *weight = check_numbers(dev, 35, (size_t)d), *dx[2], *dw[2];
        for (size_t i = 0; i < count; i++) /* away from zero, where a row of one number has no derivative to speak of */
            x[i] += x[i] < 0 ? -0.3f : 0.3f;
        for (int i = 0; i < 2; i++) {
            dx[i] = check_numbers(dev, 33, count);
            dw[i] = check_numbers(dev, 34, (size_t)d);
            grad_kernels_cpu()->rms_norm_backward(i ? alone : dev, dx[i], dw[i], dy, x, ROWS, d, weight, offset, 1e-6f);
        }
        norm_check(dx[0], dw[0], x, dy, weight, d, offset);
        check_same(dx[0], dx[1], count, "dx by one thread");
        check_same(dw[0], dw[1], (size_t)d, "dw by one thread");
        grad_kernels_cpu()->rms_norm_backward(dev, dx[0], NULL, dy, x, ROWS, d, weight, offset, 1e-6f);
        grad_kernels_cpu()->rms_norm_backward(dev, NULL, dw[0], dy, x, ROWS, d, weight, offset, 1e-6f);
        grad_kernels_cpu()->rms_norm_backward(dev, dx[1], dw[1], dy, x, ROWS, d, weight, offset, 1e-6f);
        check_same(dx[0], dx[1], count, "dx without dw");
        check_same(dw[0], dw[1], (size_t)d, "dw without dx");
        float *all[] = {x, dy, weight, dx[0], dx[1], dw[0], dw[1]};
        for (size_t i = 0; i < sizeof all / sizeof *all; i++)
            cpu->free(dev, all[i]);
    }
    cpu->close(alone);
}

/* ---- rms_norm_heads ---- */

enum { HEADS = 3 };

/* Rows are wider than their heads; what stands behind these is left alone. */
static void heads_check(const float *dx, const float *dw, const float *x, const float *weight, int c, int stride, float offset)
{
    double *wide = doubles_of(x, (size_t)(ROWS * stride)), *scale = doubles_of(weight, (size_t)c);
    double *slope = calloc((size_t)(ROWS * stride), sizeof *slope), *sum = calloc((size_t)c, sizeof *sum);
    for (int i = 0; i < ROWS * stride; i++)
        slope[i] = (double)check_number(37, (size_t)i);
    for (int r = 0; r < ROWS * HEADS; r++) {
        int from = r / HEADS * stride + r % HEADS * c;
        struct norm_case one = {.d = c, .dy = slope + from, .weight = scale, .offset = (double)offset, .eps = 1e-6};
        double squares = 0;
        for (int i = 0; i < c; i++)
            squares += wide[from + i] * wide[from + i];
        for (int i = 0; i < c; i++)
            sum[i] += slope[from + i] * wide[from + i] / sqrt(squares / c + 1e-6);
        for (int i = 0; i < c && r < 7; i += c / 40 | 1)
            check_near((double)dx[from + i], derivative(norm_formula, &one, wide + from, (size_t)i), 5e-6, "dx of rms_norm_heads",
                       (size_t)(from + i));
    }
    for (int i = 0; i < c; i++)
        check_near((double)dw[i], sum[i] + (double)check_number(38, (size_t)i), 2e-5, "dw of rms_norm_heads", (size_t)i);
    for (int r = 0; r < ROWS; r++)
        for (int i = r * stride + HEADS * c; i < (r + 1) * stride; i++)
            check_near((double)dx[i], slope[i], 0, "what stands behind the heads", (size_t)i);
    free(wide);
    free(scale);
    free(slope);
    free(sum);
}

static void heads_on(struct device *dev)
{
    const struct kernels *cpu = kernels_cpu();
    const struct grad_kernels *g = grad_kernels_cpu();
    struct device *alone = alone_open(dev);
    for (int w = 0; w < WIDTHS; w++) {
        int c = widths[w], stride = HEADS * c + 5;
        size_t count = (size_t)(ROWS * stride);
        float offset = w % 2 ? 1.0f : 0.0f, *x = check_numbers(dev, 36, count), *weight = check_numbers(dev, 39, (size_t)c);
        float *dx[3], *dw[2];
        for (size_t i = 0; i < count; i++)
            x[i] += x[i] < 0 ? -0.3f : 0.3f;
        for (int i = 0; i < 3; i++)
            dx[i] = check_numbers(dev, 37, count);
        for (int i = 0; i < 2; i++) {
            dw[i] = check_numbers(dev, 38, (size_t)c);
            g->rms_norm_heads_backward(i ? alone : dev, dx[i], dw[i], x, ROWS, HEADS, c, stride, weight, offset, 1e-6f);
        }
        g->rms_norm_heads_backward(dev, dx[2], NULL, x, ROWS, HEADS, c, stride, weight, offset, 1e-6f);
        heads_check(dx[0], dw[0], x, weight, c, stride, offset);
        check_same(dx[0], dx[1], count, "dx by one thread");
        check_same(dw[0], dw[1], (size_t)c, "dw by one thread");
        check_same(dx[0], dx[2], count, "dx without dw");
        float *all[] = {x, weight, dx[0], dx[1], dx[2], dw[0], dw[1]};
        for (size_t i = 0; i < sizeof all / sizeof *all; i++)
            cpu->free(dev, all[i]);
    }
    cpu->close(alone);
}

/* ---- gates ---- */

static double silu_formula(const void *arg, const double *x) /* gate, up */
{
    return *(const double *)arg * x[0] / (1 + exp(-x[0])) * x[1];
}

static double gelu_tanh_formula(const void *arg, const double *x) /* gate, up */
{
    double z = sqrt(2 / acos(-1)) * (x[0] + 0.044715 * x[0] * x[0] * x[0]);
    return *(const double *)arg * 0.5 * x[0] * (1 + tanh(z)) * x[1];
}

static double gelu_formula(const void *arg, const double *x)
{
    return *(const double *)arg * 0.5 * x[0] * (1 + erf(x[0] / sqrt(2)));
}

typedef void gate_backward(struct device *dev, float *dx, const float *dy, const float *x, int n, int d);

static void gate_check(struct device *dev, gate_backward *run, formula *f, const float *x, const float *dy, int d)
{
    size_t count = (size_t)(ROWS * d);
    float *dx = check_room(dev, 2 * count), *same = check_room(dev, 2 * count);
    run(dev, dx, dy, x, ROWS, d);
    for (size_t i = 0; i < count; i += count / 500 | 1) {
        size_t gate = i / (size_t)d * 2 * (size_t)d + i % (size_t)d, up = gate + (size_t)d;
        double at[2] = {(double)x[gate], (double)x[up]}, slope = (double)dy[i];
        check_near((double)dx[gate], derivative(f, &slope, at, 0), 1e-5, "dgate", i); /* numbers up to 30 */
        check_near((double)dx[up], derivative(f, &slope, at, 1), 1e-5, "dup", i);
    }
    memcpy(same, x, 2 * count * sizeof *same);
    run(dev, same, dy, same, ROWS, d);
    check_same(same, dx, 2 * count, "the gradient of a gate in place");
    kernels_cpu()->free(dev, dx);
    kernels_cpu()->free(dev, same);
}

static void gates_on(struct device *dev)
{
    const struct kernels *cpu = kernels_cpu();
    const struct grad_kernels *g = grad_kernels_cpu();
    for (int w = 0; w < WIDTHS; w++) {
        int d = widths[w];
        size_t count = (size_t)(ROWS * d);
        float *x = check_numbers(dev, 41, 2 * count), *dy = check_numbers(dev, 42, count), *dx = check_room(dev, count);
        for (size_t i = 0; i < 2 * count; i++)
            x[i] *= i % 5 ? 4.0f : 30.0f; /* where it bends, and far out */
        gate_check(dev, g->silu_gate_backward, silu_formula, x, dy, d);
        gate_check(dev, g->gelu_tanh_gate_backward, gelu_tanh_formula, x, dy, d);
        g->gelu_erf_backward(dev, dx, dy, x, count);
        for (size_t i = 0; i < count; i += count / 500 | 1) {
            double at = (double)x[i], slope = (double)dy[i];
            check_near((double)dx[i], derivative(gelu_formula, &slope, &at, 0), 1e-6, "dx of gelu_erf", i);
        }
        cpu->free(dev, x);
        cpu->free(dev, dy);
        cpu->free(dev, dx);
    }
}

/* ---- soft cap ---- */

static double cap_formula(const void *arg, const double *x)
{
    const double *c = arg; /* slope, cap */
    return c[0] * c[1] * tanh(x[0] / c[1]);
}

static void cap_on(struct device *dev)
{
    static const float caps[] = {0.5f, 3, 30};
    enum { COUNT = 9001 };
    for (size_t c = 0; c < sizeof caps / sizeof *caps; c++) {
        float *x = check_numbers(dev, 43, COUNT), *y = check_numbers(dev, 43, COUNT), *dx = check_numbers(dev, 44, COUNT);
        for (size_t i = 0; i < COUNT; i++)
            x[i] = y[i] *= i % 5 ? 4.0f : 30.0f;
        kernels_cpu()->soft_cap(dev, y, caps[c], COUNT);
        grad_kernels_cpu()->soft_cap_backward(dev, dx, y, caps[c], COUNT);
        for (size_t i = 0; i < COUNT; i += 7) {
            double at = (double)x[i], slope[2] = {(double)check_number(44, i), (double)caps[c]};
            check_near((double)dx[i], derivative(cap_formula, slope, &at, 0), 1e-6, "dx of soft_cap", i);
        }
        kernels_cpu()->free(dev, x);
        kernels_cpu()->free(dev, y);
        kernels_cpu()->free(dev, dx);
    }
}

static void rms_norm_has_the_derivatives_of_its_formula(void **state)
{
    (void)state;
    check_devices(norm_on);
}

static void rms_norm_of_heads_has_the_derivatives_of_its_formula(void **state)
{
    (void)state;
    check_devices(heads_on);
}

static void gates_have_the_derivatives_of_their_formulas(void **state)
{
    (void)state;
    check_devices(gates_on);
}

static void a_soft_cap_has_the_derivative_of_its_formula(void **state)
{
    (void)state;
    check_devices(cap_on);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(rms_norm_has_the_derivatives_of_its_formula),
        cmocka_unit_test(rms_norm_of_heads_has_the_derivatives_of_its_formula),
        cmocka_unit_test(gates_have_the_derivatives_of_their_formulas),
        cmocka_unit_test(a_soft_cap_has_the_derivative_of_its_formula),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
