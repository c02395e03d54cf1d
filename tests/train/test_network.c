/* test_network.c - the network that is trained against the goldens of PyTorch: gradients, losses, norms and parameters of every
 * tensor, both phases and all losses; and its promises about bits */
#include "tests/train/training.h"

/* Of tests/golden/training_merger: an independent f64 computation stays within a fifth of these, and typical mistakes (a use of the
 * tied table left out, 1-D positions) change a gradient by more than 8e-4 of its largest entry. */
#define LOSS_TOLERANCE 1e-5     /* relative: of the first step */
#define LATER_TOLERANCE 1e-4    /* relative: losses after a step, and norms */
#define GRADIENT_TOLERANCE 1e-4 /* of the largest entry of the tensor */
#define VALUE_TOLERANCE 2e-4    /* after three steps, of entries whose gradient is above 1e-5 of the largest */

static const struct network_optimizer optimizer = {
    .lr = 1e-3f, .beta1 = 0.9f, .beta2 = 0.999f, .eps = 1e-8f, .weight_decay = 0.05f, .clip = 1.0f};

static void check_relative(const char *what, double have, double want, double tolerance)
{
    if (!(fabs(have - want) <= tolerance * fabs(want)))
        fail_msg("%s: %.9g instead of %.9g", what, have, want);
}

static float *part_read(const struct network *net, int i, enum network_part part)
{
    float *numbers = mem_new(network_parameter(net, i).count, sizeof *numbers);
    network_read(net, i, part, numbers);
    return numbers;
}

static double largest(const float *x, size_t count)
{
    double most = 0;
    for (size_t i = 0; i < count; i++)
        most = fabs((double)x[i]) > most ? fabs((double)x[i]) : most;
    return most;
}

/* have: every step-th number is one of want's. */
static void check_gradient(const char *name, const float *have, size_t step, const float *want, size_t count)
{
    double most = largest(want, count), worst = 0;
    for (size_t i = 0; i < count; i++) {
        double difference = fabs((double)have[i * step] - (double)want[i]);
        worst = difference > worst || isnan(difference) ? difference : worst;
    }
    if (!(worst <= GRADIENT_TOLERANCE * most))
        fail_msg("gradient of %s: off by %.3g of its largest entry %.3g", name, worst / most, most);
}

/* How far apart the numbers of a parameter are of which the file has so many. */
static size_t step_of(const struct training *t, size_t stored, size_t count)
{
    size_t step = stored == count ? 1 : t->stride;
    assert_true(step && stored == (count + step - 1) / step);
    return step;
}

/* Every tensor of the file that is one of the network's; returns how many were trained and compared. */
static int check_gradients(const struct network *net, const struct training *t, struct safetensors *st)
{
    int compared = 0;
    for (int i = 0; i < network_parameters(net); i++) {
        int64_t rows, cols;
        struct network_parameter p = network_parameter(net, i);
        float *want = p.trained ? training_tensor(st, p.name, -1, &rows, &cols) : NULL;
        if (!want)
            continue;
        float *have = part_read(net, i, NETWORK_GRADIENT);
        size_t stored = (size_t)(rows * cols);
        check_gradient(p.name, have, step_of(t, stored, p.count), want, stored);
        free(have);
        free(want);
        compared++;
    }
    return compared;
}

/* Gradients of what enters the first layer, and of the pictures' embeddings. */
static void check_inputs(const struct network *net, struct safetensors *st)
{
    const float *dx = net->a.dx, *d_out = net->a.projector.d_out;
    int compared = 0;
    for (int i = 0; i < TRAINING_SAMPLES; i++) {
        int64_t rows = 0, cols = 0;
        float *want = training_tensor(st, "inputs_embeds", i, &rows, &cols);
        if (want) {
            check_gradient("inputs_embeds", dx, 1, want, (size_t)(rows * cols));
            dx += rows * cols;
            compared++;
        }
        free(want);
        want = training_tensor(st, "image_features", i, &rows, &cols);
        if (want) {
            check_gradient("image_features", d_out, 1, want, (size_t)(rows * cols));
            d_out += rows * cols;
            compared++;
        }
        free(want);
    }
    assert_true(compared >= TRAINING_SAMPLES);
}

static struct train_objective objective(enum train_loss loss, const struct training_batch *b)
{
    return (struct train_objective){.loss = loss, .divide = b->supervised};
}

static double backward(struct network *net, const struct training_batch *b, enum train_loss loss)
{
    struct error err;
    double sum;
    struct train_objective o = objective(loss, b);
    check_ok(network_backward(net, b->samples, TRAINING_SAMPLES, &o, &sum, &err), &err);
    return sum / b->supervised;
}

static double loss_of(struct network *net, const struct training_batch *b, enum train_loss loss)
{
    struct error err;
    double sum;
    struct train_objective o = objective(loss, b);
    check_ok(network_loss(net, b->samples, TRAINING_SAMPLES, &o, &sum, &err), &err);
    return sum / b->supervised;
}

/* Every tensor of the file; returns how many. AdamW moves an entry with a tiny gradient by as much as any other, in a direction
 * that rounding may choose: such are left out. */
static int check_values(const struct network *net, const struct training *t, struct safetensors *after, float *const *gradients)
{
    size_t compared = 0, all = 0;
    int tensors = 0;
    for (int i = 0; i < network_parameters(net); i++) {
        int64_t rows, cols;
        struct network_parameter p = network_parameter(net, i);
        float *want = p.trained ? training_tensor(after, p.name, -1, &rows, &cols) : NULL, *have;
        if (!want)
            continue;
        have = part_read(net, i, NETWORK_VALUE);
        tensors++;
        double least = 1e-5 * largest(gradients[i], p.count);
        size_t stored = (size_t)(rows * cols), step = step_of(t, stored, p.count);
        for (size_t k = 0; k < stored; k++) {
            size_t j = k * step;
            all++;
            if (fabs((double)gradients[i][j]) <= least)
                continue;
            compared++;
            if (!(fabs((double)have[j] - (double)want[k]) <= VALUE_TOLERANCE))
                fail_msg("%s [%zu] after training: %.9g instead of %.9g", p.name, j, (double)have[j], (double)want[k]);
        }
        free(want);
        free(have);
    }
    assert_true((double)compared > 0.8 * (double)all); /* untouched rows of the embedding table are the others */
    return tensors;
}

/* One phase from its start: gradients, then three steps. */
static void check_phase(const struct training *t, const struct training_options *o, const char *gradients, const char *after)
{
    struct error err;
    const char *phase = o->language ? "phase2" : "phase1";
    struct training_batch b;
    training_batch_read(&b, t);
    struct network *net = training_open(t, o);
    json_t *root = training_json(t), *numbers = json_object_get(json_object_get(root, "phases"), phase);
    const json_t *losses = json_object_get(numbers, "losses"), *norms = json_object_get(numbers, "gradient_norms");
    struct safetensors *st = training_file(t, gradients), *end = training_file(t, after);
    int n = network_parameters(net);
    float **first = mem_new((size_t)n, sizeof *first);
    for (int step = 0; step < 3; step++) {
        double norm, loss = backward(net, &b, LOSS_CE);
        check_relative("loss", loss, json_at(losses, (size_t)step), step ? LATER_TOLERANCE : LOSS_TOLERANCE);
        if (!step) {
            size_t trained = json_array_size(json_object_get(numbers, "trained"));
            assert_int_equal(check_gradients(net, t, st), trained);
            check_inputs(net, st);
            for (int i = 0; i < n; i++)
                first[i] = network_parameter(net, i).trained ? part_read(net, i, NETWORK_GRADIENT) : NULL;
        }
        check_ok(network_step(net, &optimizer, &norm, &err), &err);
        check_relative("gradient norm", norm, json_at(norms, (size_t)step), LATER_TOLERANCE);
    }
    check_relative("loss at the end", loss_of(net, &b, LOSS_CE), json_at(losses, 3), LATER_TOLERANCE);
    assert_int_equal(check_values(net, t, end, first), json_array_size(json_object_get(numbers, "trained")));
    for (int i = 0; i < n; i++)
        free(first[i]);
    free(first);
    json_decref(root);
    safetensors_close(end);
    safetensors_close(st);
    training_close(net);
    training_batch_free(&b);
}

static void phase_one_of_the_merger_is_pytorchs(void **state)
{
    (void)state;
    check_phase(&training_merger, &(struct training_options){0}, "gradients", "phase1_after");
}

static void phase_two_of_the_merger_is_pytorchs(void **state)
{
    (void)state;
    check_phase(&training_merger, &(struct training_options){.language = true}, "gradients", "phase2_after");
    check_phase(&training_merger, &(struct training_options){.language = true, .recompute = true}, "gradients", "phase2_after");
}

static void both_phases_of_the_plain_projector_are_pytorchs(void **state)
{
    (void)state;
    check_phase(&training_plain, &(struct training_options){0}, "phase1_gradients", "phase1_after");
    check_phase(&training_plain, &(struct training_options){.language = true}, "phase2_gradients", "phase2_after");
}

/* Windows, pictures seen both ways, norms of heads and behind the blocks, scaled embeddings, the projector's turned matrix. */
static void both_phases_of_a_gemma_drafter_are_pytorchs(void **state)
{
    (void)state;
    check_phase(&training_gemma, &(struct training_options){0}, "gradients", "phase1_after");
    check_phase(&training_gemma, &(struct training_options){.language = true}, "gradients", "phase2_after");
    check_phase(&training_gemma, &(struct training_options){.language = true, .recompute = true}, "gradients", "phase2_after");
}

static void a_gemma_text_model_with_caps_is_pytorchs(void **state)
{
    (void)state;
    const struct training_options o = {.language = true, .fresh = 3}, again = {.language = true, .fresh = 3, .recompute = true};
    check_phase(&training_gemma_text, &o, "gradients", "phase2_after");
    check_phase(&training_gemma_text, &again, "gradients", "phase2_after");
}

static void every_instruction_set_is_pytorchs(void **state)
{
    (void)state;
    static const char *const sets[] = {"generic", "avx2", "avx512"};
    for (size_t i = 0; i < sizeof sets / sizeof *sets; i++) {
        struct error err;
        struct device_options device = {.threads = 1, .isa = sets[i]};
        struct device *dev = kernels_cpu()->open(&device, &err);
        if (!dev) {
            print_message("skipped on %s: %s\n", sets[i], err.text);
            continue;
        }
        kernels_cpu()->close(dev);
        check_phase(&training_merger, &(struct training_options){.language = true, .isa = sets[i]}, "gradients", "phase2_after");
        check_phase(&training_gemma, &(struct training_options){.language = true, .isa = sets[i]}, "gradients", "phase2_after");
    }
}

static void soft_losses_are_pytorchs(void **state)
{
    (void)state;
    static const char *const files[] = {[LOSS_KL] = "kl_gradients", [LOSS_TVD] = "tvd_gradients"};
    struct training_batch b;
    training_batch_read(&b, &training_merger);
    json_t *root = training_json(&training_merger);
    for (enum train_loss loss = LOSS_KL; loss <= LOSS_TVD; loss++) {
        const json_t *numbers = json_object_get(json_object_get(root, "soft"), train_loss_names[loss]);
        struct network *net = training_open(&training_merger, &(struct training_options){.language = true});
        struct safetensors *st = training_file(&training_merger, files[loss]);
        double want = json_number_value(json_object_get(numbers, "loss")), norm;
        struct error err;
        check_relative(train_loss_names[loss], loss_of(net, &b, loss), want, LOSS_TOLERANCE);
        check_relative(train_loss_names[loss], backward(net, &b, loss), want, LOSS_TOLERANCE);
        assert_int_equal(check_gradients(net, &training_merger, st), 7);
        check_ok(network_step(net, &optimizer, &norm, &err), &err);
        check_relative("gradient norm", norm, json_number_value(json_object_get(numbers, "gradient_norm")), LATER_TOLERANCE);
        safetensors_close(st);
        training_close(net);
    }
    json_decref(root);
    training_batch_free(&b);
}

/* Gradients of one call, in one piece. */
static float *gradients_of(const struct training *t, const struct training_options *o, const struct training_batch *b,
                           size_t *count)
{
    struct network *net = training_open(t, o);
    backward(net, b, LOSS_CE);
    float *device = network_gradients(net, count), *host = mem_new(*count, sizeof *host);
    kernels_cpu()->download(net->dev, host, device, *count * sizeof *host);
    training_close(net);
    return host;
}

static void check_bits(const struct training *t)
{
    static const struct training_options others[] = {{.language = true, .threads = 1},
                                                     {.language = true, .threads = 3},
                                                     {.language = true, .threads = 2, .recompute = true},
                                                     {.language = true, .threads = 5, .recompute = true}};
    struct training_batch b;
    training_batch_read(&b, t);
    size_t count, same;
    float *first = gradients_of(t, &(struct training_options){.language = true}, &b, &count);
    for (size_t i = 0; i < sizeof others / sizeof *others; i++) {
        float *other = gradients_of(t, &others[i], &b, &same);
        assert_int_equal(count, same);
        assert_memory_equal(first, other, count * sizeof *first);
        free(other);
    }
    free(first);
    training_batch_free(&b);
}

static void neither_threads_nor_recomputation_change_a_bit(void **state)
{
    (void)state;
    check_bits(&training_merger);
    check_bits(&training_gemma);
}

/* The loss along the gradient, by central differences: sum over entries of g^2 per step along g. */
static void check_finite_differences(const struct training *t, const struct training_options *o, enum train_loss loss)
{
    struct training_batch b;
    training_batch_read(&b, t);
    struct network *net = training_open(t, o);
    backward(net, &b, loss);
    for (int i = 0; i < network_parameters(net); i++) {
        struct network_parameter p = network_parameter(net, i);
        if (!p.trained)
            continue;
        float *value = part_read(net, i, NETWORK_VALUE), *gradient = part_read(net, i, NETWORK_GRADIENT);
        float *moved = mem_new(p.count, sizeof *moved);
        double squares = 0, side[2];
        for (size_t j = 0; j < p.count; j++)
            squares += (double)gradient[j] * (double)gradient[j];
        double norm = sqrt(squares), step = 2e-2 / (norm > 1e-2 ? norm : 1e-2) * (norm > 1 ? 1 : norm > 1e-2 ? norm : 1e-2);
        for (int s = 0; s < 2; s++) {
            for (size_t j = 0; j < p.count; j++)
                moved[j] = value[j] + (float)((s ? -0.5 : 0.5) * step * (double)gradient[j] / norm);
            network_write(net, i, NETWORK_VALUE, moved);
            side[s] = loss_of(net, &b, loss);
        }
        network_write(net, i, NETWORK_VALUE, value);
        double slope = (side[0] - side[1]) / step;
        /* f32 losses near 8 have steps of 5e-7; the third derivative adds its part. */
        if (!(fabs(slope - norm) <= 2e-2 * norm + 2e-4))
            fail_msg("%s: the loss rises by %.6g along its gradient, whose norm is %.6g", p.name, slope, norm);
        free(value);
        free(gradient);
        free(moved);
    }
    training_close(net);
    training_batch_free(&b);
}

static void every_projector_has_the_gradients_of_finite_differences(void **state)
{
    (void)state;
    for (enum projector_kind kind = 0; kind < PROJECTOR_KINDS; kind++) {
        struct training_options o = {.fresh = 7, .projector = kind, .queries = 5};
        check_finite_differences(&training_merger, &o, LOSS_CE);
    }
}

static void a_gemma_drafter_has_the_gradients_of_finite_differences(void **state)
{
    (void)state;
    check_finite_differences(&training_gemma, &(struct training_options){.language = true}, LOSS_CE);
    check_finite_differences(&training_gemma_text, &(struct training_options){.language = true, .fresh = 3}, LOSS_CE);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(phase_one_of_the_merger_is_pytorchs),
        cmocka_unit_test(phase_two_of_the_merger_is_pytorchs),
        cmocka_unit_test(both_phases_of_the_plain_projector_are_pytorchs),
        cmocka_unit_test(both_phases_of_a_gemma_drafter_are_pytorchs),
        cmocka_unit_test(a_gemma_text_model_with_caps_is_pytorchs),
        cmocka_unit_test(every_instruction_set_is_pytorchs),
        cmocka_unit_test(soft_losses_are_pytorchs),
        cmocka_unit_test(neither_threads_nor_recomputation_change_a_bit),
        cmocka_unit_test(every_projector_has_the_gradients_of_finite_differences),
        cmocka_unit_test(a_gemma_drafter_has_the_gradients_of_finite_differences),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
