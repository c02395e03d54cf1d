/* tune.c - massv-train tune, phase 2 (SDViT): projector and language model learn what the target itself answers */
#include <argp.h>

#include "base/flags.h"
#include "train/commands.h"
#include "train/fit_flags.h"
#include "train/run.h"

enum { KEY_FROM = 256, KEY_LABELS, KEY_LOSS, KEY_TRAIN };

static const struct argp_option flags[] = {
    {"from", KEY_FROM, "DIR", 0, "the run of `massv-train project` (or tune) whose weights this one begins with", 1},
    {"labels", KEY_LABELS, "target|reference", 0, "learn the target's answers (default), or the data set's: the ablation", 2},
    {"loss", KEY_LOSS, "ce|kl|tvd", 0, "on the answers' tokens (default), or on the target's stored most probable ones", 2},
    {"train", KEY_TRAIN, "all|projector", 0, "default all", 2},
    {0}};

static const char doc[] =
    "massv-train tune - phase 2: train projector and language model on the target's answers\v"
    "--data is a file of `massv-train distill`. LLaVA's recipe for real models is the default: rate 2e-5, batch 128, one epoch "
    "(docs/training.md).\n\n"
    "Example:\n  massv-train tune --target models/scenes-small \\\n    --drafter models/scenes-drafter --from phase1 --data "
    "answers.jsonl \\\n"
    "    --out phase2 --learning-rate 1.5e-3 --batch 16";

static error_t parse(int key, char *arg, struct argp_state *state)
{
    static const char *const labels[] = {[LABELS_REFERENCE] = "reference", [LABELS_TARGET] = "target"};
    static const char *const parts[] = {"all", "projector"};
    struct fit_flags *f = state->input;
    struct fit_options *o = &f->options;
    switch (key) {
    case ARGP_KEY_INIT:
        state->child_inputs[0] = f;
        return 0;
    case KEY_FROM:
        o->from = arg;
        return 0;
    case KEY_LABELS:
        o->labels = (enum dataset_labels)fit_choice(state, "--labels", arg, labels, 2);
        return 0;
    case KEY_LOSS:
        o->loss = (enum train_loss)fit_choice(state, "--loss", arg, train_loss_names, LOSS_KINDS);
        return 0;
    case KEY_TRAIN:
        o->train_language = fit_choice(state, "--train", arg, parts, 2) == 0;
        return 0;
    case ARGP_KEY_END:
        if (o->loss != LOSS_CE && o->labels == LABELS_REFERENCE)
            argp_error(state, "--loss %s needs the target's probabilities: --labels target", train_loss_names[o->loss]);
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

int command_tune(struct comm *comm, int argc, char **argv)
{
    struct error err;
    struct fit_flags f = {.options = {.command = "tune",
                                      .projector = {.kind = -1},
                                      .labels = LABELS_TARGET,
                                      .loss = LOSS_CE,
                                      .train_language = true,
                                      .weights = DTYPE_F32,
                                      .epochs = 1,
                                      .batch = 128,
                                      .tokens = 4096,
                                      .max_length = 2048,
                                      .evaluate_every = 100,
                                      .checkpoint_seconds = 60,
                                      .keep = 1,
                                      .learning_rate = 2e-5f,
                                      .warmup = 0.03f,
                                      .beta2 = 0.999f,
                                      .clip = 1}};
    const struct argp_child children[] = {{.argp = &fit_argp}, {0}};
    const struct argp argp = {.options = flags, .parser = parse, .doc = doc, .children = children};
    argp_parse(&argp, argc, argv, 0, NULL, &f);
    if (f.options.from && run_projector(f.options.from, &f.options.projector, &err)) {
        fprintf(stderr, "%s: %s\n", argv[0], err.text);
        return TRAIN_FAILED;
    }
    return fit_command(argv[0], &f, comm);
}
