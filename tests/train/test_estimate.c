/* test_estimate.c - what --dry-run says is what a network has: every number of it exactly, the memory of its activations nearly */
#include "tests/train/training.h"

#include "train/estimate.h"
#include "train/graft.h"

struct pair {
    const char *target, *small;
};

static const struct pair pairs[] = {{"tests/golden/qwen25vl-tiny", "tests/golden/qwen2-tiny"},
                                    {"tests/golden/gemma3-tiny", "tests/golden/gemma3-text-tiny"}};

enum { TOKENS = 400 };

struct whole {
    struct model_config drafter, target;
    struct network *net;
    struct device *dev;
};

static void whole_open(struct whole *w, const struct pair *pair, const struct fit_options *o)
{
    struct error err;
    struct model_config language;
    struct safetensors *st;
    const struct device_options device = {.threads = 1};
    w->dev = kernels_cpu()->open(&device, &err);
    check_ok(w->dev ? 0 : -1, &err);
    check_ok(config_read(&w->target, pair->target, &err) || config_read(&language, pair->small, &err) ||
                 graft_config(&w->drafter, &w->target, &language, &o->projector, &err) || safetensors_open(&st, pair->small, &err),
             &err);
    const struct network_options options = {
        .kernels = kernels_cpu(),
        .grad = grad_kernels_cpu(),
        .device = w->dev,
        .train_language = o->train_language,
        .recompute = o->recompute,
        .weights = o->weights,
    };
    check_ok(network_open(&w->net, st, &w->drafter, &options, &err), &err);
    safetensors_close(st);
}

static void whole_close(struct whole *w)
{
    network_close(w->net);
    kernels_cpu()->close(w->dev);
}

/* Device memory that a batch of TOKENS takes for its activations, but for the scores of the head. */
static double activation_bytes(struct whole *w)
{
    struct error err;
    double sum;
    static int32_t ids[TOKENS], labels[TOKENS], positions[TOKENS][3];
    for (int i = 0; i < TOKENS; i++) {
        ids[i] = i;
        labels[i] = i ? 7 : TRAIN_UNSUPERVISED;
        positions[i][0] = positions[i][1] = positions[i][2] = i;
    }
    const struct train_sample sample = {.n = TOKENS, .ids = ids, .labels = labels, .positions = (const int32_t(*)[3])positions};
    const struct train_objective o = {.loss = LOSS_CE, .divide = 1};
    check_ok(network_backward(w->net, &sample, 1, &o, &sum, &err), &err);
    int rows = objective_rows(w->net) < TOKENS - 1 ? objective_rows(w->net) : TOKENS - 1;
    return ((double)w->net->a.floats - (double)rows * w->drafter.vocabulary) * sizeof(float);
}

static void check_estimate(const struct pair *pair, const struct fit_options *o)
{
    struct estimate e;
    struct whole w;
    int64_t projector = 0, language = 0, trained = 0;
    whole_open(&w, pair, o);
    estimate_make(&e, &w.drafter, o);
    for (int i = 0; i < network_parameters(w.net); i++) {
        struct network_parameter p = network_parameter(w.net, i);
        *(i < w.net->embed ? &projector : &language) += (int64_t)p.count;
        trained += p.trained ? (int64_t)p.count : 0;
    }
    assert_int_equal(e.projector, projector);
    assert_int_equal(e.language, language);
    assert_int_equal(e.trained, trained);
    double have = activation_bytes(&w), said = (double)e.activations;
    if (!(fabs(have - said) <= 0.01 * have))
        fail_msg("%s: activations of %.0f bytes, %.0f said", pair->target, have, said);
    whole_close(&w);
}

static void estimates_are_what_a_network_takes(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof pairs / sizeof *pairs; i++)
        for (int recompute = 0; recompute < 2; recompute++)
            for (enum projector_kind kind = 0; kind < PROJECTOR_PLAIN; kind++) {
                const struct fit_options o = {.projector = {kind, kind == PROJECTOR_RESAMPLER ? 5 : 0},
                                              .tokens = TOKENS,
                                              .recompute = recompute,
                                              .train_language = recompute,
                                              .weights = DTYPE_F32};
                check_estimate(&pairs[i], &o);
            }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(estimates_are_what_a_network_takes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
