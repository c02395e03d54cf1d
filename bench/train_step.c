/* train_step.c - training steps of a drafter on made-up samples: tokens per second, and what part of the cores' arithmetic they
 * use.
 *
 *     build/bench/train_step --model models/scenes-massv --threads 1 --steps 30
 *
 * A step: gradients of 16 samples of 60 to 150 tokens, 36 of them a picture's, in one batch; clipping; AdamW. bench/train_step.py
 * runs it beside PyTorch. One line of JSON. */
#include <argp.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/flags.h"
#include "base/memory.h"
#include "kernels/cpu/probe.h"
#include "model/vision.h"
#include "train/network.h"

enum { SAMPLES = 16, ROWS = 36, PICTURE_AT = 12, ANSWER_AT = 56, WARM_UP = 3, SHORTEST = 60, LONGEST = 150 };

struct arguments {
    const char *model;
    int threads, steps, recompute, bf16, phase;
};

static const struct argp_option flags[] = {
    {"model", 'm', "DIR", 0, "checkpoint of a drafter with a tower", 0},
    {"threads", 'j', "T", 0, "compute threads; default 1", 0},
    {"steps", 's', "N", 0, "steps to time; default 30", 0},
    {"phase", 'p', "1|2", 0, "what is trained: 1 = the projector, 2 = the language model too (default)", 0},
    {"recompute", 'r', NULL, 0, "recompute activations", 0},
    {"bf16", 'b', NULL, 0, "weights rounded to bf16", 0},
    {0}};

static error_t arguments_parse(int key, char *arg, struct argp_state *state)
{
    struct arguments *a = state->input;
    switch (key) {
    case 'm':
        a->model = arg;
        return 0;
    case 'j':
        a->threads = flag_number(state, "--threads", arg, 1, 1024);
        return 0;
    case 's':
        a->steps = flag_number(state, "--steps", arg, 1, 1000000);
        return 0;
    case 'p':
        a->phase = flag_number(state, "--phase", arg, 1, 2);
        return 0;
    case 'r':
        a->recompute = 1;
        return 0;
    case 'b':
        a->bf16 = 1;
        return 0;
    case ARGP_KEY_END:
        if (!a->model)
            argp_error(state, "--model is wanted");
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

static void quit(const struct error *err)
{
    fprintf(stderr, "train_step: %s\n", err->text);
    exit(1);
}

/* The i-th sample of all: its length, ids and numbers are those of bench/train_step.py. */
static void sample_make(struct train_sample *s, int i, const struct model_config *config)
{
    s->n = SHORTEST + i * 37 % (LONGEST - SHORTEST + 1);
    int32_t *ids = mem_new((size_t)s->n, sizeof *ids), *labels = mem_new((size_t)s->n, sizeof *labels);
    int32_t(*positions)[3] = mem_new((size_t)s->n, sizeof *positions);
    for (int t = 0; t < s->n; t++) {
        ids[t] = (i * 131 + t * 17) % (config->vocabulary - 32);
        labels[t] = t < ANSWER_AT ? TRAIN_UNSUPERVISED : ids[t];
        for (int axis = 0; axis < 3; axis++)
            positions[t][axis] = t;
    }
    size_t count = (size_t)ROWS * (size_t)(config->vision.d * vision_joined(config));
    float *features = mem_new(count, sizeof *features);
    for (size_t j = 0; j < count; j++)
        features[j] = (float)((j * 2654435761u + (size_t)i) % 1000) / 500.0f - 1.0f;
    struct train_picture *picture = mem_new(1, sizeof *picture);
    *picture = (struct train_picture){.first = PICTURE_AT, .rows = ROWS, .features = features};
    s->ids = ids;
    s->labels = labels;
    s->positions = (const int32_t(*)[3])positions;
    s->pictures = picture;
    s->n_pictures = 1;
}

static void sample_free(struct train_sample *s)
{
    free((void *)s->ids);
    free((void *)s->labels);
    free((void *)s->positions);
    free((void *)s->pictures->features);
    free((void *)s->pictures);
}

static struct network *net_open(const struct arguments *a, struct device *dev, struct model_config *config)
{
    struct error err;
    struct safetensors *st;
    struct network *net;
    if (config_read(config, a->model, &err) || safetensors_open(&st, a->model, &err))
        quit(&err);
    const struct network_options options = {.kernels = kernels_cpu(),
                                            .grad = grad_kernels_cpu(),
                                            .device = dev,
                                            .projector_weights = st,
                                            .train_language = a->phase == 2,
                                            .recompute = a->recompute,
                                            .weights = a->bf16 ? DTYPE_BF16 : DTYPE_F32};
    if (network_open(&net, st, config, &options, &err))
        quit(&err);
    safetensors_close(st);
    return net;
}

/* Operations per second of multiply-adds from registers on all threads. */
static double peak_measure(struct device *dev)
{
    float sink;
    double start = clock_seconds(), done = probe_fma(dev, 20000000, &sink);
    return done / (clock_seconds() - start);
}

int main(int argc, char **argv)
{
    struct arguments a = {.threads = 1, .steps = 30, .phase = 2};
    const struct argp argp = {.options = flags, .parser = arguments_parse, .doc = "Time training steps."};
    argp_parse(&argp, argc, argv, 0, NULL, &a);
    struct error err;
    struct model_config config;
    const struct device_options options = {.threads = a.threads};
    struct device *dev = kernels_cpu()->open(&options, &err);
    if (!dev)
        quit(&err);
    struct network *net = net_open(&a, dev, &config);
    const struct network_optimizer optimizer = {.lr = 1e-4f, .beta1 = 0.9f, .beta2 = 0.98f, .eps = 1e-8f, .clip = 1};
    int total = (a.steps + WARM_UP) * SAMPLES;
    struct train_sample *samples = mem_new((size_t)total, sizeof *samples);
    for (int i = 0; i < total; i++)
        sample_make(&samples[i], i, &config);
    double start = 0, tokens = 0, flops = 0, sum = 0, norm;
    for (int step = 0; step < a.steps + WARM_UP; step++) {
        const struct train_sample *part = samples + step * SAMPLES;
        int supervised = 0;
        for (int i = 0; i < SAMPLES; i++) {
            supervised += train_sample_supervised(&part[i]);
            tokens += step < WARM_UP ? 0 : part[i].n;
        }
        if (step == WARM_UP) {
            start = clock_seconds();
            flops = network_flops(net);
        }
        const struct train_objective objective = {.loss = LOSS_CE, .divide = supervised};
        if (network_backward(net, part, SAMPLES, &objective, &sum, &err) || network_step(net, &optimizer, &norm, &err))
            quit(&err);
        sum /= supervised;
    }
    double seconds = clock_seconds() - start, rate = (network_flops(net) - flops) / seconds, peak = peak_measure(dev);
    printf("{\"device\": \"%s\", \"tokens_per_second\": %.0f, \"gflops\": %.2f, \"peak_gflops\": %.2f, \"utilisation\": %.3f, "
           "\"loss\": %.5f}\n",
           kernels_cpu()->describe(dev), tokens / seconds, rate * 1e-9, peak * 1e-9, rate / peak, sum);
    for (int i = 0; i < total; i++)
        sample_free(&samples[i]);
    free(samples);
    network_close(net);
    kernels_cpu()->close(dev);
    return 0;
}
