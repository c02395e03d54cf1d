/* test_grad.c - losses against derivatives of their formulas in double precision; sums, rounding and the optimizer's step against
 * the same in double; the same bits on any number of threads */
#include "tests/kernels/grad_check.h"

static const int widths[] = {1, 13, 64, 257, 1536};

enum { WIDTHS = sizeof widths / sizeof *widths, ROWS = 37 };

/* ---- losses ---- */

enum { SOFT = 20 };

struct loss_case {
    int d, common, kind; /* 0 cross entropy, 1 kl, 2 tvd */
    int32_t label;
    const int32_t *ids;
    const float *probs;
};

static double loss_formula(const void *arg, const double *x)
{
    const struct loss_case *c = arg;
    double most = -INFINITY, total = 0, loss = c->kind == 2 ? 0.5 : 0;
    for (int i = 0; i < c->common; i++)
        most = x[i] > most ? x[i] : most;
    for (int i = 0; i < c->common; i++)
        total += exp(x[i] - most);
    if (!c->kind)
        return most + log(total) - x[c->label];
    for (int i = 0; i < SOFT; i++) {
        if (c->ids[i] < 0)
            continue;
        double p = (double)c->probs[i], q = exp(x[c->ids[i]] - most) / total;
        loss += c->kind == 1 ? (p > 0 ? p * (log(p) - log(q)) : 0) : 0.5 * (fabs(p - q) - q);
    }
    return loss;
}

/* Some probabilities are large, some ids are missing. */
static void soft_make(int32_t *ids, float *probs, int rows, int common)
{
    for (int r = 0; r < rows; r++) {
        float total = 0;
        for (int i = 0; i < SOFT; i++) {
            ids[r * SOFT + i] = i < common && i % 7 != 3 ? (r * 13 + i * (common / SOFT + 1)) % common : -1;
            for (int j = 0; j < i; j++) /* distinct */
                if (ids[r * SOFT + i] == ids[r * SOFT + j])
                    ids[r * SOFT + i] = -1;
            float p = 0.1f + fabsf(check_number(51, (size_t)(r * SOFT + i)));
            probs[r * SOFT + i] = ids[r * SOFT + i] < 0 ? 0.0f : i == 2 ? 0.0f : p * (i ? 1.0f : 20.0f);
            total += probs[r * SOFT + i];
        }
        for (int i = 0; i < SOFT; i++)
            probs[r * SOFT + i] /= total;
    }
}

static void loss_run(struct device *dev, float *x, float *loss, const struct loss_case *c, const int32_t *labels, float scale)
{
    const struct grad_kernels *g = grad_kernels_cpu();
    const struct grad_soft_labels p = {SOFT, c->ids, c->probs};
    if (!c->kind)
        g->cross_entropy(dev, loss, x, ROWS, c->d, labels, scale);
    else
        (c->kind == 1 ? g->kl : g->tvd)(dev, loss, x, ROWS, c->d, c->common, &p, scale);
}

static void loss_check(struct device *dev, struct device *alone, int kind, int d, int common)
{
    size_t count = (size_t)(ROWS * d);
    int32_t labels[ROWS], ids[ROWS * SOFT];
    float probs[ROWS * SOFT], loss[ROWS], other[ROWS], scale = 0.25f;
    float *x = check_numbers(dev, 52, count), *y = check_room(dev, count), *z = check_room(dev, count);
    struct loss_case c = {.d = d, .common = common, .kind = kind, .ids = ids, .probs = probs};
    soft_make(ids, probs, ROWS, common);
    for (size_t i = 0; i < count; i++)
        y[i] = z[i] = x[i] *= i % 11 ? 3.0f : 20.0f;
    for (int r = 0; r < ROWS; r++)
        labels[r] = r * 31 % d;
    loss_run(dev, y, loss, &c, labels, scale);
    loss_run(alone, z, other, &c, labels, scale);
    check_same(y, z, count, "gradient by one thread");
    check_same(loss, other, ROWS, "loss by one thread");
    double *wide = doubles_of(x, count);
    for (int r = 0; r < ROWS; r += 9) {
        double *row = wide + r * d;
        c = (struct loss_case){d, common, kind, labels[r], ids + r * SOFT, probs + r * SOFT};
        double want = loss_formula(&c, row);
        check_near((double)loss[r], want, 3e-6 * (1 + fabs(want)), "loss", (size_t)r); /* scores up to 20 */
        for (int i = 0; i < d; i += d / 20 | 1) {
            size_t at = (size_t)(r * d + i);
            check_near((double)y[at], (double)scale * derivative(loss_formula, &c, row, (size_t)i), 1e-6, "gradient", at);
        }
        for (int i = 0; i < SOFT && kind; i++)
            if (c.ids[i] >= 0)
                check_near((double)y[r * d + c.ids[i]], (double)scale * derivative(loss_formula, &c, row, (size_t)c.ids[i]), 1e-6,
                           "gradient of a soft label", (size_t)i);
    }
    free(wide);
    kernels_cpu()->free(dev, x);
    kernels_cpu()->free(dev, y);
    kernels_cpu()->free(dev, z);
}

static void losses_on(struct device *dev)
{
    struct device *alone = alone_open(dev);
    static const int vocabularies[] = {1, 5, 64, 673, 4099};
    for (size_t i = 0; i < sizeof vocabularies / sizeof *vocabularies; i++)
        for (int kind = 0; kind < 3; kind++) {
            int d = vocabularies[i];
            loss_check(dev, alone, kind, d, d);
            if (kind && d > 5)
                loss_check(dev, alone, kind, d, d - 3);
        }
    kernels_cpu()->close(alone);
}

/* ---- sums, moves, rounding, optimizer ---- */

static void moves_on(struct device *dev)
{
    const struct kernels *cpu = kernels_cpu();
    const struct grad_kernels *g = grad_kernels_cpu();
    enum { TABLE = 19, TAKEN = 300 };
    int32_t ids[TAKEN], index[TAKEN];
    for (int r = 0; r < TAKEN; r++)
        index[r] = (ids[r] = r * 7 % TABLE) % 5 == 2 ? -1 : ids[r];
    for (int w = 0; w < WIDTHS; w++) {
        int d = widths[w];
        float *table = check_numbers(dev, 61, (size_t)(TABLE * d)), *x = check_numbers(dev, 62, (size_t)(TAKEN * d));
        uint16_t *narrow = cpu->alloc(dev, (size_t)(TABLE * d) * sizeof *narrow);
        float *y = check_room(dev, (size_t)(TAKEN * d));
        g->narrow(dev, narrow, table, (size_t)(TABLE * d));
        const struct grad_weights whole = {table, DTYPE_F32, TABLE, d}, rounded = {narrow, DTYPE_BF16, TABLE, d};
        g->embed(dev, y, ids, TAKEN, &whole);
        for (int r = 0; r < TAKEN; r++)
            check_same(y + r * d, table + ids[r] * d, (size_t)d, "embed");
        g->embed(dev, y, ids, TAKEN, &rounded);
        for (int i = 0; i < TAKEN * d; i++) {
            uint16_t want = bf16_from_f32(table[ids[i / d] * d + i % d]);
            check_near((double)y[i], (double)bf16_to_f32(want), 0, "embed of bf16", (size_t)i);
        }
        g->scatter_add(dev, table, x, index, TAKEN, d);
        for (int i = 0; i < TABLE * d; i++) {
            float sum = check_number(61, (size_t)i);
            for (int r = 0; r < TAKEN; r++) /* in the order of rows: the bits are known */
                sum = index[r] == i / d ? sum + x[r * d + i % d] : sum;
            check_same(table + i, &sum, 1, "scatter_add");
        }
        g->zero(dev, table, (size_t)(TABLE * d));
        for (int i = 0; i < TABLE * d; i++)
            check_near((double)table[i], 0, 0, "zero", (size_t)i);
        void *all[] = {table, x, narrow, y};
        for (int i = 0; i < 4; i++)
            cpu->free(dev, all[i]);
    }
}

static void optimizer_on(struct device *dev)
{
    const struct kernels *cpu = kernels_cpu();
    static const size_t counts[] = {1, 15, 4096, 10007};
    for (size_t c = 0; c < sizeof counts / sizeof *counts; c++) {
        size_t count = counts[c];
        float *part[4]; /* w, m, v, g */
        for (int i = 0; i < 4; i++)
            part[i] = check_numbers(dev, 71 + (uint64_t)i, count);
        for (size_t i = 0; i < count; i++)
            part[2][i] = fabsf(part[2][i]);
        const struct adamw o = {.lr = 1e-3f,
                                .beta1 = 0.9f,
                                .beta2 = 0.98f,
                                .eps = 1e-8f,
                                .weight_decay = 0.05f,
                                .step = 1 + 9 * (int64_t)c,
                                .factor = 0.3f};
        grad_kernels_cpu()->adamw(dev, part[0], part[1], part[2], part[3], count, &o);
        double squares = 0;
        for (size_t i = 0; i < count; i++) {
            double w = (double)check_number(71, i), g = (double)o.factor * (double)check_number(74, i);
            double m = 0.9 * (double)check_number(72, i) + 0.1 * g, v = 0.98 * fabs((double)check_number(73, i)) + 0.02 * g * g;
            double want = w * (1 - 1e-3 * 0.05) -
                          1e-3 * m / (1 - pow(0.9, (double)o.step)) / (sqrt(v / (1 - pow(0.98, (double)o.step))) + 1e-8);
            check_near((double)part[1][i], m, 3e-7, "first moment", i);
            check_near((double)part[2][i], v, 3e-7, "second moment", i);
            check_near((double)part[0][i], want, 2e-7 + 1e-5 * fabs(want - w), "weight", i);
            squares += (double)part[3][i] * (double)part[3][i];
        }
        check_near(grad_kernels_cpu()->square_sum(dev, part[3], count), squares, 1e-12 * squares, "square_sum", count);
        for (int i = 0; i < 4; i++)
            cpu->free(dev, part[i]);
    }
}

static void losses_and_their_derivatives_are_those_of_the_formulas(void **state)
{
    (void)state;
    check_devices(losses_on);
}

static void rows_are_taken_and_added_in_order(void **state)
{
    (void)state;
    check_devices(moves_on);
}

static void a_step_of_adamw_is_that_of_double_precision(void **state)
{
    (void)state;
    check_devices(optimizer_on);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(losses_and_their_derivatives_are_those_of_the_formulas),
        cmocka_unit_test(rows_are_taken_and_added_in_order),
        cmocka_unit_test(a_step_of_adamw_is_that_of_double_precision),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
