/* test_network_calls.c - what network.h promises beside the arithmetic: the whole state can be taken out and put back, calls add
 * up, rounded weights are what products read, and a sample that does not fit is named and changes nothing */
#include "tests/train/training.h"

static const struct network_optimizer optimizer = {
    .lr = 1e-3f, .beta1 = 0.9f, .beta2 = 0.98f, .eps = 1e-8f, .weight_decay = 0.01f, .clip = 1.0f};

static double add_gradients(struct network *net, const struct train_sample *samples, int n, double divide)
{
    struct error err;
    double sum;
    const struct train_objective o = {.loss = LOSS_CE, .divide = divide};
    check_ok(network_backward(net, samples, n, &o, &sum, &err), &err);
    return sum;
}

static void step(struct network *net, const struct training_batch *b)
{
    struct error err;
    double norm;
    add_gradients(net, b->samples, TRAINING_SAMPLES, b->supervised);
    check_ok(network_step(net, &optimizer, &norm, &err), &err);
}

static float *part_of(const struct network *net, int i, enum network_part part)
{
    float *numbers = mem_new(network_parameter(net, i).count, sizeof *numbers);
    network_read(net, i, part, numbers);
    return numbers;
}

static void check_equal(const struct network *net, const struct network *other, enum network_part part)
{
    for (int i = 0; i < network_parameters(net); i++) {
        if (part != NETWORK_VALUE && !network_parameter(net, i).trained)
            continue;
        float *a = part_of(net, i, part), *b = part_of(other, i, part);
        if (memcmp(a, b, network_parameter(net, i).count * sizeof *a))
            fail_msg("%s: part %d differs", network_parameter(net, i).name, (int)part);
        free(a);
        free(b);
    }
}

static void state_copy(struct network *to, const struct network *from)
{
    for (int i = 0; i < network_parameters(from); i++)
        for (enum network_part part = 0; part < NETWORK_PARTS; part++) {
            if (part == NETWORK_GRADIENT || !network_parameter(from, i).trained)
                continue;
            float *numbers = part_of(from, i, part);
            network_write(to, i, part, numbers);
            free(numbers);
        }
    network_set_steps(to, network_steps(from));
}

static void a_state_taken_out_and_put_back_goes_on_bit_for_bit(void **state)
{
    (void)state;
    static const struct training_options kinds[] = {{.language = true}, {.language = true, .bf16 = true}, {.bf16 = true}};
    struct training_batch b;
    training_batch_read(&b, &training_merger);
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++) {
        struct network *whole = training_open(&training_merger, &kinds[i]), *resumed = training_open(&training_merger, &kinds[i]);
        step(whole, &b);
        step(whole, &b);
        state_copy(resumed, whole);
        step(whole, &b);
        step(resumed, &b);
        assert_int_equal(network_steps(resumed), 3);
        check_equal(whole, resumed, NETWORK_VALUE);
        check_equal(whole, resumed, NETWORK_MOMENT1);
        check_equal(whole, resumed, NETWORK_MOMENT2);
        training_close(whole);
        training_close(resumed);
    }
    training_batch_free(&b);
}

static void gradients_of_several_calls_add_up(void **state)
{
    (void)state;
    struct training_batch b;
    training_batch_read(&b, &training_merger);
    const struct training_options o = {.language = true};
    struct network *at_once = training_open(&training_merger, &o), *apart = training_open(&training_merger, &o);
    double sum = add_gradients(at_once, b.samples, 3, b.supervised);
    double sums = add_gradients(apart, b.samples, 1, b.supervised) + add_gradients(apart, b.samples + 1, 2, b.supervised);
    assert_true(fabs(sum - sums) <= 1e-6 * sum);
    size_t count;
    const float *a = network_gradients(at_once, &count), *c = network_gradients(apart, &count); /* a CPU's memory is ours to read */
    for (size_t i = 0; i < count; i++)
        if (!(fabs((double)a[i] - (double)c[i]) <= 1e-5))
            fail_msg("gradient %zu: %g at once, %g in two calls", i, (double)a[i], (double)c[i]);
    network_zero_gradients(apart);
    for (size_t i = 0; i < count; i++)
        assert_true(c[i] == 0);
    training_close(at_once);
    training_close(apart);
    training_batch_free(&b);
}

/* Rounded copies change what products read and nothing else: the bits are those of a network of the rounded values. */
static void rounded_weights_are_what_products_read(void **state)
{
    (void)state;
    struct training_batch b;
    training_batch_read(&b, &training_merger);
    for (int language = 0; language < 2; language++) {
        struct network *rounded = training_open(&training_merger, &(struct training_options){.language = language, .bf16 = true});
        struct network *plain = training_open(&training_merger, &(struct training_options){.language = language});
        for (int i = 0; i < network_parameters(plain); i++) {
            struct network_parameter p = network_parameter(plain, i);
            float *value = part_of(plain, i, NETWORK_VALUE);
            for (size_t j = 0; j < p.count && p.dims == 2; j++)
                value[j] = bf16_to_f32(bf16_from_f32(value[j]));
            network_write(plain, i, NETWORK_VALUE, value);
            free(value);
        }
        add_gradients(rounded, b.samples, 3, b.supervised);
        add_gradients(plain, b.samples, 3, b.supervised);
        check_equal(rounded, plain, NETWORK_GRADIENT);
        training_close(rounded);
        training_close(plain);
    }
    training_batch_free(&b);
}

static void a_fresh_projector_depends_on_its_seed_alone(void **state)
{
    (void)state;
    struct training_options o = {.fresh = 3};
    struct network *net = training_open(&training_merger, &o), *same = training_open(&training_merger, &o);
    o.fresh = 4;
    struct network *other = training_open(&training_merger, &o);
    check_equal(net, same, NETWORK_VALUE);
    assert_string_equal(network_parameter(net, 1).name, "visual.merger.mlp.0.weight");
    size_t count = network_parameter(net, 1).count;
    float *a = part_of(net, 1, NETWORK_VALUE), *b = part_of(other, 1, NETWORK_VALUE);
    double mean = 0, squares = 0;
    for (size_t i = 0; i < count; i++) {
        mean += (double)a[i] / (double)count;
        squares += (double)a[i] * (double)a[i] / (double)count;
    }
    assert_true(memcmp(a, b, count * sizeof *a) != 0);
    assert_true(fabs(mean) < 5 * 0.02 / sqrt((double)count)); /* five standard errors */
    assert_true(fabs(sqrt(squares) - 0.02) < 5 * 0.02 / sqrt(2 * (double)count));
    free(a);
    free(b);
    training_close(net);
    training_close(same);
    training_close(other);
}

/* ---- what does not fit ---- */

static void check_refused(struct network *net, const struct train_sample *samples, int n, struct train_objective o,
                          const char *words)
{
    struct error err;
    double sum;
    size_t count;
    if (!network_backward(net, samples, n, &o, &sum, &err))
        fail_msg("taken, where '%s' was to be said", words);
    if (!strstr(err.text, words))
        fail_msg("'%s' does not say '%s'", err.text, words);
    const float *g = network_gradients(net, &count);
    for (size_t i = 0; i < count; i++)
        assert_true(g[i] == 0);
}

static void what_does_not_fit_is_named_and_changes_nothing(void **state)
{
    (void)state;
    struct training_batch b;
    training_batch_read(&b, &training_merger);
    struct network *net = training_open(&training_merger, &(struct training_options){.language = true});
    struct train_objective ce = {.divide = 10}, kl = {.loss = LOSS_KL, .divide = 10};
    struct train_sample s[2] = {b.samples[2], b.samples[2]};
    int32_t *ids = (int32_t *)(uintptr_t)s[1].ids, *labels = (int32_t *)(uintptr_t)s[1].labels, id = ids[5], label = labels[0];
    ids[5] = 664;
    check_refused(net, &s[1], 1, ce, "sample 0: id 664 at 5 is outside the vocabulary of 664");
    ids[5] = id;
    labels[0] = 7;
    check_refused(net, &s[1], 1, ce, "not at the first place");
    labels[0] = label;
    s[1].n = 0;
    check_refused(net, s, 2, ce, "sample 1: it has no tokens");
    s[1] = b.samples[0];
    struct train_picture picture = s[1].pictures[0];
    s[1].pictures = &picture;
    picture.first = s[1].n - picture.rows + 1;
    check_refused(net, s, 2, ce, "sample 1: picture 0 of 12 tokens");
    picture.rows = 0;
    check_refused(net, s, 2, ce, "picture 0 has no features");
    s[1] = s[0];
    s[1].soft_k = 0;
    check_refused(net, s, 2, kl, "sample 1: 0 soft labels");
    kl.common = 665;
    check_refused(net, s, 1, kl, "common vocabulary of 665");
    kl.common = 100;
    check_refused(net, s, 1, kl, "must be below 100");
    ce.divide = 0;
    check_refused(net, s, 1, ce, "must be positive");
    training_close(net);
    training_batch_free(&b);
}

static void nothing_supervised_is_no_loss(void **state)
{
    (void)state;
    struct training_batch b;
    training_batch_read(&b, &training_merger);
    struct network *net = training_open(&training_merger, &(struct training_options){.language = true});
    int32_t *labels = (int32_t *)(uintptr_t)b.samples[0].labels;
    for (int t = 0; t < b.samples[0].n; t++)
        labels[t] = TRAIN_UNSUPERVISED;
    assert_true(add_gradients(net, b.samples, 1, 1) == 0);
    assert_true(add_gradients(net, b.samples, 0, 1) == 0);
    assert_true(add_gradients(net, b.samples, 2, 1) > 0); /* beside one that is */
    training_close(net);
    training_batch_free(&b);
}

static void a_norm_that_is_no_number_changes_nothing(void **state)
{
    (void)state;
    struct training_batch b;
    struct error err;
    double norm;
    size_t count;
    training_batch_read(&b, &training_merger);
    const struct training_options o = {.language = true};
    struct network *net = training_open(&training_merger, &o), *untouched = training_open(&training_merger, &o);
    add_gradients(net, b.samples, 3, b.supervised);
    network_gradients(net, &count)[17] = NAN;
    assert_int_equal(network_step(net, &optimizer, &norm, &err), -1);
    assert_non_null(strstr(err.text, "norm is"));
    assert_int_equal(network_steps(net), 0);
    check_equal(net, untouched, NETWORK_VALUE);
    training_close(net);
    training_close(untouched);
    training_batch_free(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_state_taken_out_and_put_back_goes_on_bit_for_bit),
        cmocka_unit_test(gradients_of_several_calls_add_up),
        cmocka_unit_test(rounded_weights_are_what_products_read),
        cmocka_unit_test(a_fresh_projector_depends_on_its_seed_alone),
        cmocka_unit_test(what_does_not_fit_is_named_and_changes_nothing),
        cmocka_unit_test(nothing_supervised_is_no_loss),
        cmocka_unit_test(a_norm_that_is_no_number_changes_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
