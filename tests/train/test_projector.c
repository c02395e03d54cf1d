/* test_projector.c - every kind of projector, and both families' own, against a forward pass in double precision; their gradients
 * against its central differences, which are exact to nine digits. What comes from the language model is taken as it is. */
#include "tests/train/training.h"

#define OUT_TOLERANCE 1e-5      /* of the largest embedding: f32 sums of up to 256 products */
#define GRADIENT_TOLERANCE 2e-5 /* of the largest entry of the tensor: f32 sums over all cells */
#define STEP 1e-5

enum { PROBES = 60 }; /* entries of a tensor that are moved */

struct reference {
    const struct projector *p;
    double *parts[PROJECTOR_PARTS];
    const struct training_batch *batch;
    double *out; /* (tokens, d) */
    int tokens;
};

/* y (rows of W) = W x + bias, W as it is stored. */
static void layer(const struct reference *r, double *y, const double *x, enum projector_part part)
{
    int rows, cols;
    bool turned = part == PART_SECOND && r->p->form->turned;
    const double *w = r->parts[part], *bias = part == PART_KEYS ? NULL : r->parts[part + 1];
    projector_shape(r->p, part, &rows, &cols);
    int out = turned ? cols : rows, in = turned ? rows : cols;
    for (int i = 0; i < out; i++) {
        y[i] = bias ? bias[i] : 0;
        for (int j = 0; j < in; j++)
            y[i] += x[j] * (turned ? w[j * cols + i] : w[i * cols + j]);
    }
}

/* A cell (merge, width) behind the norm of each tower row. */
static void cell_norm(const struct reference *r, double *y, const float *x)
{
    int width = r->p->width;
    for (int row = 0; row < r->p->merge; row++, x += width, y += width) {
        double squares = 0;
        for (int i = 0; i < width; i++)
            squares += (double)x[i] * (double)x[i];
        double scale = r->parts[PART_NORM] ? 1 / sqrt(squares / width + (double)r->p->norm_eps) : 1;
        for (int i = 0; i < width; i++)
            y[i] = (double)x[i] * scale * (r->parts[PART_NORM] ? (double)r->p->form->norm_offset + r->parts[PART_NORM][i] : 1);
    }
}

static void cell_project(const struct reference *r, double *out, const float *features)
{
    int inner = projector_inner(r->p), wide = r->p->merge * r->p->width;
    double *normed = mem_new((size_t)wide, sizeof *normed), *hidden = mem_new((size_t)inner + 1, sizeof *hidden);
    cell_norm(r, normed, features);
    if (inner)
        layer(r, hidden, normed, PART_FIRST);
    for (int i = 0; i < inner; i++)
        hidden[i] = 0.5 * hidden[i] * (1 + erf(hidden[i] / sqrt(2)));
    layer(r, out, inner ? hidden : normed, PART_SECOND);
    free(normed);
    free(hidden);
}

/* One head of one query over all cells: seen (c) = the mean of values, weighted by softmax of products with keys. */
static void head_attend(double *seen, const double *query, const double *keys, const double *values, int cells, int c, int d)
{
    double sum = 0;
    memset(seen, 0, (size_t)c * sizeof *seen);
    for (int i = 0; i < cells; i++) {
        double score = 0;
        for (int j = 0; j < c; j++)
            score += query[j] * keys[i * d + j];
        double weight = exp(score / sqrt(c));
        sum += weight;
        for (int j = 0; j < c; j++)
            seen[j] += weight * values[i * d + j];
    }
    for (int j = 0; j < c; j++)
        seen[j] /= sum;
}

static void picture_resample(const struct reference *r, double *out, const float *features, int cells)
{
    int d = r->p->d, c = d / r->p->heads, wide = r->p->merge * r->p->width;
    double *normed = mem_new((size_t)wide, sizeof *normed), *seen = mem_new((size_t)d, sizeof *seen);
    double *keys = mem_new((size_t)(cells * d), sizeof *keys), *values = mem_new((size_t)(cells * d), sizeof *values);
    for (int i = 0; i < cells; i++) {
        cell_norm(r, normed, features + i * wide);
        layer(r, keys + i * d, normed, PART_KEYS);
        layer(r, values + i * d, normed, PART_FIRST);
    }
    for (int q = 0; q < r->p->queries; q++) {
        for (int at = 0; at < d; at += c)
            head_attend(seen + at, r->parts[PART_QUERIES] + q * d + at, keys + at, values + at, cells, c, d);
        layer(r, out + q * d, seen, PART_SECOND);
    }
    free(normed);
    free(seen);
    free(keys);
    free(values);
}

static void reference_run(struct reference *r)
{
    int wide = r->p->merge * r->p->width, d = r->p->d;
    double *out = r->out;
    for (int s = 0; s < TRAINING_SAMPLES; s++) {
        const struct train_sample *sample = &r->batch->samples[s];
        for (int p = 0; p < sample->n_pictures; p++) {
            const struct train_picture *picture = &sample->pictures[p];
            int tokens = r->p->queries ? r->p->queries : picture->rows;
            if (r->p->queries)
                picture_resample(r, out, picture->features, picture->rows);
            for (int i = 0; i < tokens && !r->p->queries; i++)
                cell_project(r, out + i * d, picture->features + i * wide);
            out += tokens * d;
        }
    }
    r->tokens = (int)((out - r->out) / d);
}

/* The loss as the projector sees it: what it makes times the gradients that come back. */
static double pull(struct reference *r, const float *d_out)
{
    double sum = 0;
    reference_run(r);
    for (int i = 0; i < r->tokens * r->p->d; i++)
        sum += r->out[i] * (double)d_out[i];
    return sum;
}

static double most_of(const float *x, size_t count)
{
    double most = 0;
    for (size_t i = 0; i < count; i++)
        most = fabs((double)x[i]) > most ? fabs((double)x[i]) : most;
    return most;
}

/* Numbers that leave out nothing: norms that are not 1, biases that are not 0. */
static void part_write(struct network *net, int i, enum projector_part part, double **values)
{
    struct network_parameter p = network_parameter(net, i);
    float *numbers = mem_new(p.count, sizeof *numbers);
    double scale = p.dims == 2 ? 2 / sqrt((double)p.shape[1]) : 0.3;
    *values = mem_new(p.count, sizeof **values);
    for (size_t j = 0; j < p.count; j++) {
        numbers[j] = (float)(scale * sin(1.7 * (double)j * (double)(part + 1) + (double)part));
        (*values)[j] = (double)numbers[j];
    }
    network_write(net, i, NETWORK_VALUE, numbers);
    free(numbers);
}

static void check_part(struct reference *r, const struct network *net, int i, enum projector_part part, const float *d_out)
{
    struct network_parameter p = network_parameter(net, i);
    float *gradient = mem_new(p.count, sizeof *gradient);
    network_read(net, i, NETWORK_GRADIENT, gradient);
    double most = most_of(gradient, p.count);
    for (size_t probe = 0; probe < PROBES; probe++) {
        size_t j = probe * 7919 % p.count;
        double *entry = &r->parts[part][j], at = *entry, sides[2];
        for (int side = 0; side < 2; side++) {
            *entry = side ? at - STEP : at + STEP;
            sides[side] = pull(r, d_out);
        }
        *entry = at;
        double want = (sides[0] - sides[1]) / (2 * STEP);
        if (!(fabs((double)gradient[j] - want) <= GRADIENT_TOLERANCE * most))
            fail_msg("%s [%zu]: gradient %.9g instead of %.9g, the largest is %.3g", p.name, j, (double)gradient[j], want, most);
    }
    assert_true(most > 0);
    free(gradient);
}

static void check_projector(const struct training *t, enum projector_kind kind, bool recompute)
{
    struct error err;
    struct training_batch b;
    double sum;
    const struct training_options o = {
        .fresh = 7, .projector = kind, .queries = kind == PROJECTOR_RESAMPLER ? 5 : 0, .recompute = recompute};
    struct network *net = training_open(t, &o);
    training_batch_read(&b, t);
    const struct train_objective objective = {.loss = LOSS_CE, .divide = b.supervised};
    struct reference r = {.p = &net->projector, .batch = &b};
    for (enum projector_part part = 0; part < PROJECTOR_PARTS; part++)
        if (net->parts[part] >= 0)
            part_write(net, net->parts[part], part, &r.parts[part]);
    check_ok(network_backward(net, b.samples, TRAINING_SAMPLES, &objective, &sum, &err), &err);
    const struct projector_state *s = &net->a.projector; /* a CPU's memory is ours to read */
    size_t count = (size_t)net->batch.tokens * (size_t)net->config.d;
    r.out = mem_new(count, sizeof *r.out);
    reference_run(&r);
    assert_int_equal(r.tokens, net->batch.tokens);
    for (size_t i = 0; i < count; i++)
        if (!(fabs(r.out[i] - (double)s->out[i]) <= OUT_TOLERANCE * most_of(s->out, count)))
            fail_msg("%s: embedding %zu is %.9g instead of %.9g", projector_kind_names[kind], i, (double)s->out[i], r.out[i]);
    for (enum projector_part part = 0; part < PROJECTOR_PARTS; part++)
        if (net->parts[part] >= 0)
            check_part(&r, net, net->parts[part], part, s->d_out);
    for (enum projector_part part = 0; part < PROJECTOR_PARTS; part++)
        free(r.parts[part]);
    free(r.out);
    training_batch_free(&b);
    training_close(net);
}

static void every_kind_is_the_double_precision_one(void **state)
{
    (void)state;
    for (enum projector_kind kind = 0; kind < PROJECTOR_KINDS; kind++)
        check_projector(&training_merger, kind, false);
}

static void the_second_familys_is_the_double_precision_one(void **state)
{
    (void)state;
    check_projector(&training_gemma, PROJECTOR_MLP, false);
    check_projector(&training_gemma, PROJECTOR_MLP, true);
    check_projector(&training_gemma, PROJECTOR_LINEAR, false);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_kind_is_the_double_precision_one),
        cmocka_unit_test(the_second_familys_is_the_double_precision_one),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
