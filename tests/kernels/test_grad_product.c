/* test_grad_product.c - the three products of a linear layer and the backward pass of attention: against double precision, and the
 * same bits on any number of threads */
#include "tests/kernels/grad_check.h"

/* ---- products ---- */

struct sizes {
    int n, rows, cols;
};

/* 1, primes, the tails of every panel width, more rows than an item, and the drafter's. */
static const struct sizes sizes[] = {{1, 1, 1},      {2, 3, 5},      {7, 13, 31},     {17, 97, 67},   {48, 64, 128},
                                     {250, 83, 300}, {61, 672, 128}, {333, 256, 130}, {300, 48, 1031}};

enum { SIZES = sizeof sizes / sizeof *sizes };

struct products {
    struct sizes s;
    float *x, *dy, *w, *b;
    uint16_t *narrow;
    float *y, *dx, *dw, *db; /* dx twice: alone, and added to */
};

static struct products products_make(struct device *dev, struct sizes s)
{
    size_t n = (size_t)s.n, rows = (size_t)s.rows, cols = (size_t)s.cols;
    struct products p = {.s = s, .x = check_numbers(dev, 1, n * cols), .dy = check_numbers(dev, 2, n * rows)};
    p.w = check_numbers(dev, 3, rows * cols);
    p.b = check_numbers(dev, 4, rows);
    p.narrow = kernels_cpu()->alloc(dev, rows * cols * sizeof *p.narrow);
    p.y = check_room(dev, n * rows);
    p.dx = check_numbers(dev, 5, 2 * n * cols);
    p.dw = check_numbers(dev, 6, rows * cols);
    p.db = check_numbers(dev, 7, rows);
    return p;
}

static void products_free(struct device *dev, struct products *p)
{
    void *all[] = {p->x, p->dy, p->w, p->b, p->narrow, p->y, p->dx, p->dw, p->db};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        kernels_cpu()->free(dev, all[i]);
}

static void products_run(struct device *dev, struct products *p, enum dtype dtype)
{
    const struct grad_kernels *g = grad_kernels_cpu();
    size_t count = (size_t)p->s.rows * (size_t)p->s.cols;
    const struct grad_weights w = {dtype == DTYPE_BF16 ? (const void *)p->narrow : p->w, dtype, p->s.rows, p->s.cols};
    g->narrow(dev, p->narrow, p->w, count);
    if (dtype == DTYPE_BF16)
        dtype_to_f32(p->w, p->narrow, DTYPE_BF16, count);
    g->linear(dev, p->y, p->x, p->s.n, &w, p->b);
    g->linear_input(dev, p->dx, p->dy, p->s.n, &w, false);
    g->linear_input(dev, p->dx + p->s.n * p->s.cols, p->dy, p->s.n, &w, true);
    g->linear_weights(dev, p->dw, p->db, p->dy, p->x, p->s.n, p->s.rows, p->s.cols);
}

/* Sums of k products of numbers below 1 have errors below k units of their size; sqrt(k) of them is what rounding makes. */
static double tolerance(int k)
{
    return 3e-7 * (2 + k / 4.0);
}

static void products_check(const struct products *p)
{
    int n = p->s.n, rows = p->s.rows, cols = p->s.cols;
    for (int r = 0; r<n; r += n> 20 ? 7 : 1)
        for (int o = 0; o < rows; o++) {
            double sum = (double)p->b[o];
            for (int i = 0; i < cols; i++)
                sum += (double)p->x[r * cols + i] * (double)p->w[o * cols + i];
            check_near((double)p->y[r * rows + o], sum, tolerance(cols), "y", (size_t)(r * rows + o));
        }
    for (int r = 0; r<n; r += n> 20 ? 7 : 1)
        for (int i = 0; i < cols; i++) {
            double sum = 0;
            for (int o = 0; o < rows; o++)
                sum += (double)p->dy[r * rows + o] * (double)p->w[o * cols + i];
            size_t at = (size_t)(r * cols + i), second = at + (size_t)(n * cols);
            check_near((double)p->dx[at], sum, tolerance(rows), "dx", at);
            check_near((double)p->dx[second], sum + (double)check_number(5, second), tolerance(rows), "dx added to", at);
        }
    for (int o = 0; o<rows; o += rows> 20 ? 5 : 1) {
        double bias = (double)check_number(7, (size_t)o);
        for (int r = 0; r < n; r++)
            bias += (double)p->dy[r * rows + o];
        check_near((double)p->db[o], bias, tolerance(n), "db", (size_t)o);
        for (int i = 0; i < cols; i++) {
            double sum = (double)check_number(6, (size_t)(o * cols + i));
            for (int r = 0; r < n; r++)
                sum += (double)p->dy[r * rows + o] * (double)p->x[r * cols + i];
            check_near((double)p->dw[o * cols + i], sum, tolerance(n), "dw", (size_t)(o * cols + i));
        }
    }
}

static void products_on(struct device *dev)
{
    struct device *alone = alone_open(dev);
    for (int i = 0; i < 2 * SIZES; i++) {
        struct sizes s = sizes[i / 2];
        enum dtype dtype = i % 2 ? DTYPE_BF16 : DTYPE_F32;
        struct products p = products_make(dev, s), q = products_make(dev, s);
        products_run(dev, &p, dtype);
        if (dev->threads == 1)
            products_check(&p);
        products_run(alone, &q, dtype);
        check_same(p.y, q.y, (size_t)(s.n * s.rows), "y by one thread");
        check_same(p.dx, q.dx, (size_t)(2 * s.n * s.cols), "dx by one thread");
        check_same(p.dw, q.dw, (size_t)(s.rows * s.cols), "dw by one thread");
        check_same(p.db, q.db, (size_t)s.rows, "db by one thread");
        products_free(dev, &p);
        products_free(dev, &q);
    }
    kernels_cpu()->close(alone);
}

static void products_are_those_of_double_precision(void **state)
{
    (void)state;
    check_devices(products_on);
}

/* Wider than what is packed at once: the groups of columns must join. */
static void a_wide_product_is_cut_without_a_seam(void **state)
{
    (void)state;
    enum { WIDE = 45001, COLS = 200 }; /* 9 million weights */
    struct error err;
    const struct device_options options = {.threads = 2};
    struct device *dev = kernels_cpu()->open(&options, &err);
    float *x = check_numbers(dev, 8, COLS), *y = check_room(dev, WIDE), *w = check_room(dev, (size_t)WIDE * COLS);
    for (int i = 0; i < WIDE * COLS; i++)
        w[i] = (float)(i % 1013) / 1013.0f - 0.5f;
    const struct grad_weights weights = {w, DTYPE_F32, WIDE, COLS};
    grad_kernels_cpu()->linear(dev, y, x, 1, &weights, NULL);
    for (int o = 0; o < WIDE; o++) {
        double sum = 0;
        for (int i = 0; i < COLS; i++)
            sum += (double)x[i] * (double)w[o * COLS + i];
        check_near((double)y[o], sum, tolerance(COLS), "y", (size_t)o);
    }
    float *all[] = {x, y, w};
    for (int i = 0; i < 3; i++)
        kernels_cpu()->free(dev, all[i]);
    kernels_cpu()->close(dev);
}

/* ---- attention ---- */

enum { MOST = 160 };

struct attending {
    int n, h, g, c, segments;
    int32_t bound[8], first[MOST], last[MOST];
    float scale, cap, *qkv, *dy, *y, *dqkv;
    double *wide; /* qkv */
};

static int stride_of_rows(const struct attending *t)
{
    return (t->h + 2 * t->g) * t->c;
}

/* Segments of `lengths`; kind 0: causal; 1: a window of 9 keys; 2: rows 3 to 12 of each see each other both ways; 3: both, and a
 * cap of scores. */
static struct attending attending_make(struct device *dev, const int *lengths, int segments, int h, int g, int c, int kind)
{
    struct attending t = {.h = h, .g = g, .c = c, .segments = segments, .scale = 1.0f / sqrtf((float)c)};
    if (kind == 3) {
        t.scale = 1;
        t.cap = 1.5f;
    }
    for (int s = 0; s < segments; s++) {
        t.bound[s + 1] = t.bound[s] + lengths[s];
        for (int r = t.bound[s]; r < t.bound[s + 1]; r++) {
            int place = r - t.bound[s], picture = t.bound[s] + 13 < t.bound[s + 1] ? t.bound[s] + 13 : t.bound[s + 1];
            t.first[r] = kind % 2 && place > 8 ? r - 8 : t.bound[s];
            t.last[r] = kind >= 2 && place >= 3 && place <= 12 ? picture : r + 1;
        }
    }
    t.n = t.bound[segments];
    size_t count = (size_t)(t.n * stride_of_rows(&t)), out = (size_t)(t.n * h * c);
    t.qkv = check_numbers(dev, 21, count);
    t.dy = check_numbers(dev, 22, out);
    t.y = check_room(dev, out);
    t.dqkv = check_room(dev, count);
    t.wide = doubles_of(t.qkv, count);
    return t;
}

static void attending_free(struct device *dev, struct attending *t)
{
    float *all[] = {t->qkv, t->dy, t->y, t->dqkv};
    for (int i = 0; i < 4; i++)
        kernels_cpu()->free(dev, all[i]);
    free(t->wide);
}

static void attending_run(struct device *dev, struct attending *t)
{
    int k = t->h * t->c, v = k + t->g * t->c, stride = stride_of_rows(t);
    const struct attention a = {
        .h = t->h, .g = t->g, .c = t->c, .scale = t->scale, .cap = t->cap, .first = t->first, .last = t->last};
    const struct grad_segments segments = {t->segments, t->bound};
    kernels_cpu()->attend_rows(dev, t->y, t->qkv, t->qkv + k, t->qkv + v, t->n, stride, &a);
    grad_kernels_cpu()->attend_rows_backward(dev, t->dqkv, t->dqkv + k, t->dqkv + v, t->dy, t->y, t->qkv, t->qkv + k, t->qkv + v,
                                             t->n, stride, &a, &segments);
}

/* sum dy y of one row and head, in double precision. */
static double attended(const struct attending *t, const double *qkv, int row, int head)
{
    double p[MOST], most = -INFINITY, total = 0, sum = 0;
    size_t stride = (size_t)stride_of_rows(t), key = (size_t)((t->h + head / (t->h / t->g)) * t->c),
           value = key + (size_t)(t->g * t->c);
    const double *q = qkv + (size_t)row * stride + (size_t)(head * t->c);
    for (int j = t->first[row]; j < t->last[row]; j++) {
        p[j] = 0;
        for (int i = 0; i < t->c; i++)
            p[j] += q[i] * qkv[(size_t)j * stride + key + (size_t)i] * (double)t->scale;
        if (t->cap > 0)
            p[j] = (double)t->cap * tanh(p[j] / (double)t->cap);
        most = p[j] > most ? p[j] : most;
    }
    for (int j = t->first[row]; j < t->last[row]; j++)
        total += p[j] = exp(p[j] - most);
    for (int j = t->first[row]; j < t->last[row]; j++)
        for (int i = 0; i < t->c; i++)
            sum += p[j] / total * qkv[(size_t)j * stride + value + (size_t)i] * (double)t->dy[(row * t->h + head) * t->c + i];
    return sum;
}

struct attended_near { /* only what entry i can change: rows of its segment, heads of its key head */
    const struct attending *t;
    int from, to, head, head_end;
};

static double attended_sum(const void *arg, const double *qkv)
{
    const struct attended_near *near = arg;
    double sum = 0;
    for (int row = near->from; row < near->to; row++)
        for (int head = near->head; head < near->head_end; head++)
            sum += attended(near->t, qkv, row, head);
    return sum;
}

static void attending_check(const struct attending *t)
{
    int stride = stride_of_rows(t), group = t->h / t->g;
    for (int i = 0; i<t->n * stride; i += t->n * stride> 2000 ? 61 : 7) {
        int row = i / stride, head = i % stride / t->c, s = 0;
        while (t->bound[s + 1] <= row)
            s++;
        int key = head < t->h ? head / group : (head - t->h) % t->g;
        struct attended_near near = {t, t->bound[s], t->bound[s + 1], key * group, (key + 1) * group};
        if (head < t->h) /* a query: it alone */
            near = (struct attended_near){t, row, row + 1, head, head + 1};
        /* Sums over up to 150 rows of numbers below 1. */
        check_near((double)t->dqkv[i], derivative(attended_sum, &near, t->wide, (size_t)i), 2e-5, "dqkv", (size_t)i);
    }
}

static void attention_on(struct device *dev)
{
    static const int lengths[] = {1, 49, 13, 61, 1};
    static const struct {
        int h, g, c;
    } heads[] = {{1, 1, 2}, {4, 2, 32}, {6, 1, 13}, {2, 2, 40}};
    struct device *alone = alone_open(dev);
    for (int i = 0; i < 16; i++) {
        struct attending t = attending_make(dev, lengths, 5, heads[i / 4].h, heads[i / 4].g, heads[i / 4].c, i % 4);
        struct attending other = attending_make(dev, lengths, 5, heads[i / 4].h, heads[i / 4].g, heads[i / 4].c, i % 4);
        attending_run(dev, &t);
        if (dev->threads == 1)
            attending_check(&t);
        attending_run(alone, &other);
        check_same(t.dqkv, other.dqkv, (size_t)(t.n * stride_of_rows(&t)), "dqkv by one thread");
        attending_free(dev, &t);
        attending_free(dev, &other);
    }
    kernels_cpu()->close(alone);
}

static void attention_has_the_derivatives_of_its_formula(void **state)
{
    (void)state;
    check_devices(attention_on);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(products_are_those_of_double_precision),
        cmocka_unit_test(a_wide_product_is_cut_without_a_seam),
        cmocka_unit_test(attention_has_the_derivatives_of_its_formula),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
