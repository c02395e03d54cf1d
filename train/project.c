/* project.c - massv-train project, phase 1: a fresh projector learns to show pictures to a small language model that stays as it is
 */
#include <argp.h>

#include "base/flags.h"
#include "train/commands.h"
#include "train/fit_flags.h"

enum { KEY_PROJECTOR = 256, KEY_QUERIES };
enum { QUERIES_MAX = 4096 };

static const struct argp_option flags[] = {
    {"projector", KEY_PROJECTOR, "KIND", 0,
     "mlp (shaped like the target's own), linear, resampler (massv alone reads these two); default: the drafter's, or mlp", 2},
    {"queries", KEY_QUERIES, "N", 0, "of the resampler: tokens of a picture; default 16", 2},
    {0}};

static const char doc[] =
    "massv-train project - phase 1: train a projector on pictures and captions\v"
    "The target's vision tower and the small language model are frozen; cross-entropy on the references. LLaVA's recipe for real "
    "models is the default: rate 1e-3, batch 256, one epoch (docs/training.md).\n\n"
    "Example:\n  massv-train project --target models/scenes-small \\\n"
    "    --drafter models/scenes-drafter --data captions.jsonl --out phase1";

static error_t parse(int key, char *arg, struct argp_state *state)
{
    struct fit_flags *f = state->input;
    switch (key) {
    case ARGP_KEY_INIT:
        state->child_inputs[0] = f;
        return 0;
    case KEY_PROJECTOR:
        f->options.projector.kind = fit_choice(state, "--projector", arg, projector_kind_names, PROJECTOR_PLAIN);
        return 0;
    case KEY_QUERIES:
        f->options.projector.queries = flag_number(state, "--queries", arg, 1, QUERIES_MAX);
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

int command_project(struct comm *comm, int argc, char **argv)
{
    struct fit_flags f = {.options = {.command = "project",
                                      .projector = {.kind = -1},
                                      .labels = LABELS_REFERENCE,
                                      .loss = LOSS_CE,
                                      .weights = DTYPE_F32,
                                      .epochs = 1,
                                      .batch = 256,
                                      .tokens = 4096,
                                      .max_length = 2048,
                                      .evaluate_every = 100,
                                      .checkpoint_seconds = 60,
                                      .keep = 1,
                                      .learning_rate = 1e-3f,
                                      .warmup = 0.03f,
                                      .beta2 = 0.999f,
                                      .clip = 1}};
    const struct argp_child children[] = {{.argp = &fit_argp}, {0}};
    const struct argp argp = {.options = flags, .parser = parse, .doc = doc, .children = children};
    argp_parse(&argp, argc, argv, 0, NULL, &f);
    return fit_command(argv[0], &f, comm);
}
