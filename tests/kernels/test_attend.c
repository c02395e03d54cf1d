/* test_attend.c - attention over pages and over rows against double precision, and the bits of a row whatever stands beside it */
#include "tests/kernels/kernel_check.h"

enum { SEQUENCES = 3, MOST = 230 }; /* keys of the longest sequence: several pages of every size below */

struct shape {
    int h, g, c, page_positions;
    float cap;
};

/* Head widths of real models and odd ones, some with capped scores; pages smaller and larger than a block, and no multiple of it.
 */
static const struct shape shapes[] = {
    {1, 1, 1, 1, 0},    {2, 1, 16, 16, 0},  {6, 2, 32, 64, 0},   {14, 2, 64, 64, 0}, {3, 3, 80, 32, 0},
    {7, 1, 128, 64, 0}, {4, 2, 72, 100, 0}, {2, 2, 13, 7, 0.5f}, {2, 1, 32, 64, 3},
};

/* Sequences of these lengths; each contributes its last `tail` positions as query rows of one step. */
static const int lengths[SEQUENCES] = {MOST, 65, 1}, tails[SEQUENCES] = {17, 64, 1};

struct step {
    int n;
    int32_t slot[100], sequence[100], first[100], last[100];
};

static struct kv_rows step_rows(const struct step *s, const int32_t *pages, int per)
{
    return (struct kv_rows){.slot = s->slot, .sequence = s->sequence, .pages = pages, .pages_per_sequence = per};
}

/* Positions of all sequences, stored in chunks; page numbers run backwards and interleave. */
static void cache_fill(struct device *dev, struct kv_cache *kv, const struct shape *p, int32_t *pages, int per, const float *k,
                       const float *v)
{
    const struct kernels *cpu = kernels_cpu();
    for (int s = 0; s < SEQUENCES; s++)
        for (int i = 0; i < per; i++)
            pages[s * per + i] = (per - 1 - i) * SEQUENCES + s;
    for (int s = 0; s < SEQUENCES; s++)
        for (int from = 0, n; from < lengths[s]; from += n) {
            struct step step = {.n = 0};
            n = lengths[s] - from < 37 ? lengths[s] - from : 37;
            for (int i = 0; i < n; i++)
                step.slot[i] = pages[s * per + (from + i) / p->page_positions] * p->page_positions + (from + i) % p->page_positions;
            struct kv_rows rows = step_rows(&step, pages, per);
            size_t at = (size_t)(s * MOST + from) * (size_t)(p->g * p->c);
            cpu->kv_append(dev, kv, 1, &rows, n, k + at, v + at, p->g * p->c);
        }
}

/* Causal, but the second sequence slides over 33 keys and the odd rows of the first see to its end. */
static void step_make(struct step *step)
{
    step->n = 0;
    for (int s = 0; s < SEQUENCES; s++)
        for (int i = 0; i < tails[s]; i++) {
            int row = step->n++, position = lengths[s] - tails[s] + i;
            step->slot[row] = -1;
            step->sequence[row] = s;
            step->first[row] = s == 1 && position > 33 ? position - 33 : 0;
            step->last[row] = s == 0 && i % 2 ? lengths[s] : position + 1;
        }
}

/* One query head over keys [first, last), rows `stride` apart. */
static void head_check(const float *y, const float *q, const float *k, const float *v, int first, int last, int stride, int c,
                       double scale, double cap)
{
    double weights[1024], total = 0, most = -INFINITY;
    for (int p = first; p < last; p++) {
        double s = 0;
        for (int j = 0; j < c; j++)
            s += (double)q[j] * (double)k[(size_t)p * (size_t)stride + (size_t)j];
        s = cap > 0 ? cap * tanh(s * scale / cap) : s * scale;
        weights[p - first] = s;
        most = fmax(most, s);
    }
    for (int p = 0; p < last - first; p++)
        total += weights[p] = exp(weights[p] - most);
    for (int j = 0; j < c; j++) {
        double sum = 0;
        for (int p = first; p < last; p++)
            sum += weights[p - first] / total * (double)v[(size_t)p * (size_t)stride + (size_t)j];
        /* Values are below 1, scores below 8: errors of scores of some 2^-24 * 8 * 4 shift weights by as much. */
        check_near((double)y[j], sum, 4e-6, "attention", (size_t)j);
    }
}

static void cached_check(struct device *dev, const struct shape *p)
{
    const struct kernels *cpu = kernels_cpu();
    int per = (MOST + p->page_positions - 1) / p->page_positions, width = p->h * p->c, stride = width + 3;
    struct kv_cache *kv = cpu->kv_create(dev, 2, per * SEQUENCES, p->page_positions, p->g, p->c, NULL);
    float *k = check_numbers(dev, 3, (size_t)(SEQUENCES * MOST * p->g * p->c));
    float *v = check_numbers(dev, 4, (size_t)(SEQUENCES * MOST * p->g * p->c));
    float *q = check_numbers(dev, 5, (size_t)(100 * stride));
    float *y = check_room(dev, (size_t)(100 * width)), *alone = check_room(dev, (size_t)width);
    int32_t *pages = calloc((size_t)(SEQUENCES * per), sizeof *pages);
    struct step step;
    cache_fill(dev, kv, p, pages, per, k, v);
    step_make(&step);
    struct attention a = {p->h, p->g, p->c, 3.0f / sqrtf((float)p->c), p->cap, step.first, step.last};
    struct kv_rows rows = step_rows(&step, pages, per);
    cpu->attend_cached(dev, y, q, step.n, stride, kv, 1, &rows, &a);
    for (int r = 0; r < step.n; r++) {
        struct kv_rows one = {step.slot + r, step.sequence + r, pages, per};
        struct attention own = {p->h, p->g, p->c, a.scale, a.cap, step.first + r, step.last + r};
        cpu->attend_cached(dev, alone, q + r * stride, 1, stride, kv, 1, &one, &own);
        check_same(y + r * width, alone, (size_t)width, "cached row alone");
        size_t at = (size_t)(step.sequence[r] * MOST * p->g * p->c);
        for (int i = 0; i < p->h; i++) {
            size_t head = at + (size_t)(i / (p->h / p->g) * p->c);
            head_check(y + r * width + i * p->c, q + r * stride + i * p->c, k + head, v + head, step.first[r], step.last[r],
                       p->g * p->c, p->c, (double)a.scale, (double)a.cap);
        }
    }
    free(pages);
    cpu->kv_destroy(dev, kv);
    float *all[] = {k, v, q, y, alone};
    for (int i = 0; i < 5; i++)
        cpu->free(dev, all[i]);
}

/* Segments as a picture's windows are: each row sees its own. */
static void segments_make(int n, int32_t *first, int32_t *last)
{
    static const int sizes[] = {64, 1, 150, 17};
    for (int row = 0, s = 0; row < n; row += sizes[s++ % 4])
        for (int i = row; i < row + sizes[s % 4] && i < n; i++) {
            first[i] = row;
            last[i] = row + sizes[s % 4] < n ? row + sizes[s % 4] : n;
        }
}

static void rows_check(struct device *dev, const struct shape *p)
{
    const struct kernels *cpu = kernels_cpu();
    enum { N = 300 };
    int stride = (p->h + 2 * p->g) * p->c, width = p->h * p->c;
    float *x = check_numbers(dev, 6, (size_t)(N * stride)), *k = x + p->h * p->c, *v = k + p->g * p->c;
    float *y = check_room(dev, (size_t)(N * width)), *part = check_room(dev, (size_t)(N * width));
    int32_t first[N], last[N];
    segments_make(N, first, last);
    struct attention a = {p->h, p->g, p->c, 3.0f / sqrtf((float)p->c), p->cap, first, last};
    cpu->attend_rows(dev, y, x, k, v, N, stride, &a);
    for (int r = 0; r < N; r += 7)
        for (int i = 0; i < p->h; i++) {
            int head = i / (p->h / p->g) * p->c;
            head_check(y + r * width + i * p->c, x + r * stride + i * p->c, k + head, v + head, first[r], last[r], stride, p->c,
                       (double)a.scale, (double)a.cap);
        }
    for (int begin = 0; begin < N; begin = last[begin]) { /* each segment alone, where its rows have other numbers */
        int n = last[begin] - begin;
        int32_t own_first[N] = {0}, own_last[N];
        for (int i = 0; i < n; i++)
            own_last[i] = n;
        struct attention own = {p->h, p->g, p->c, a.scale, a.cap, own_first, own_last};
        cpu->attend_rows(dev, part, x + begin * stride, k + begin * stride, v + begin * stride, n, stride, &own);
        check_same(y + begin * width, part, (size_t)(n * width), "segment alone");
    }
    float *all[] = {x, y, part};
    for (int i = 0; i < 3; i++)
        cpu->free(dev, all[i]);
}

static void all_shapes(struct device *dev)
{
    for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++) {
        cached_check(dev, &shapes[i]);
        rows_check(dev, &shapes[i]);
    }
}

static void attention_equals_double_precision_and_rows_do_not_see_each_other(void **state)
{
    (void)state;
    check_devices(all_shapes);
}

/* Scores that overflow the exponent of e^x, and keys that are not numbers. */
static void wild_scores(struct device *dev)
{
    const struct kernels *cpu = kernels_cpu();
    enum { N = 70, C = 16 };
    float *x = check_numbers(dev, 8, (size_t)3 * N * C), *k = x + N * C, *v = k + N * C, *y = check_room(dev, (size_t)N * C);
    int32_t first[N] = {0}, last[N];
    for (int r = 0; r < N; r++)
        last[r] = r + 1;
    struct attention a = {1, 1, C, 1e4f, 0, first, last};
    cpu->attend_rows(dev, y, x, k, v, N, C, &a);
    for (int r = 0; r < N; r++) { /* the largest score takes all */
        int winner = 0;
        double most = -INFINITY;
        for (int p = 0; p <= r; p++) {
            double s = 0;
            for (int j = 0; j < C; j++)
                s += (double)x[r * C + j] * (double)k[p * C + j];
            winner = s > most ? p : winner;
            most = fmax(s, most);
        }
        for (int j = 0; j < C; j++)
            check_near((double)y[r * C + j], (double)v[winner * C + j], 1e-6, "largest score", (size_t)r);
    }
    k[40 * C] = NAN;
    k[50 * C] = INFINITY;
    cpu->attend_rows(dev, y, x, k, v, N, C, &a);
    assert_true(isnan(y[45 * C]) && isfinite(y[39 * C]));
    cpu->free(dev, x);
    cpu->free(dev, y);
}

static void extreme_scores_and_nan_keys_do_no_harm_to_other_rows(void **state)
{
    (void)state;
    check_devices(wild_scores);
}

static void a_cache_of_an_impossible_size_is_refused(void **state)
{
    (void)state;
    const struct kernels *cpu = kernels_cpu();
    struct device *dev = cpu->open(&(struct device_options){.threads = 1}, NULL);
    struct error err;
    assert_null(cpu->kv_create(dev, 1 << 20, 1 << 30, 1 << 20, 64, 128, &err));
    assert_non_null(strstr(err.text, "pages"));
    assert_null(cpu->kv_create(dev, 1, 0, 64, 1, 64, &err));
    struct kv_cache *large = cpu->kv_create(dev, 80, 20000, 64, 8, 128, &err); /* 800 GB of address space, no memory */
    assert_non_null(large);
    cpu->kv_destroy(dev, large);
    cpu->kv_destroy(dev, NULL);
    cpu->close(dev);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(attention_equals_double_precision_and_rows_do_not_see_each_other),
        cmocka_unit_test(extreme_scores_and_nan_keys_do_no_harm_to_other_rows),
        cmocka_unit_test(a_cache_of_an_impossible_size_is_refused),
    };
    return cmocka_run_group_tests_name("attend", tests, NULL, NULL);
}
