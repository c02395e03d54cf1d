/* export.c - massv-train export: its command line */
#include "train/export.h"

#include <argp.h>
#include <stdio.h>

#include "base/flags.h"
#include "model/projector.h"
#include "train/commands.h"
#include "train/fit_flags.h"

enum { KEY_RUN = 256, KEY_STEP, KEY_TARGET, KEY_DRAFTER, KEY_OUT, KEY_DTYPE };

static const struct argp_option flags[] = {
    {"run", KEY_RUN, "DIR", 0, "--out of project or tune", 1},
    {"step", KEY_STEP, "N", 0, "its state of N steps, where --keep kept it; default: the last", 1},
    {"target", KEY_TARGET, "DIR", 0, "the target of that run", 1},
    {"drafter", KEY_DRAFTER, "DIR", 0, "the small language model of that run", 1},
    {"out", KEY_OUT, "DIR", 0, "the new checkpoint", 1},
    {"dtype", KEY_DTYPE, "f32|bf16", 0, "of what was trained; default: as the small language model is stored", 1},
    {0}};

static const char doc[] =
    "massv-train export - write a trained drafter as a Hugging Face checkpoint\v"
    "The result has the class of the target, with its vision tower byte for byte: `massv up --drafter` "
    "serves it, transformers opens it. With a projector of kind linear or resampler config.json says so "
    "(member massv), and massv alone reads it.\n\nExample:\n  massv-train export --run phase2 --out my-massv \\\n"
    "    --target models/scenes-small --drafter models/scenes-drafter";

static error_t parse(int key, char *arg, struct argp_state *state)
{
    static const char *const dtypes[] = {"f32", "bf16"};
    struct export_options *o = state->input;
    switch (key) {
    case KEY_RUN:
        o->run = arg;
        return 0;
    case KEY_STEP:
        o->step = flag_number(state, "--step", arg, 1, INT32_MAX);
        return 0;
    case KEY_TARGET:
        o->target = arg;
        return 0;
    case KEY_DRAFTER:
        o->drafter = arg;
        return 0;
    case KEY_OUT:
        o->out = arg;
        return 0;
    case KEY_DTYPE:
        o->dtype = fit_choice(state, "--dtype", arg, dtypes, 2) ? DTYPE_BF16 : DTYPE_F32;
        return 0;
    case ARGP_KEY_END:
        if (!o->run || !o->target || !o->drafter || !o->out)
            argp_error(state, "%s is missing", !o->run ? "--run" : !o->target ? "--target" : !o->drafter ? "--drafter" : "--out");
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

int command_export(struct comm *comm, int argc, char **argv)
{
    struct export_options options = {.dtype = -1};
    struct export_report report;
    struct error err;
    const struct argp argp = {.options = flags, .parser = parse, .doc = doc};
    (void)comm;
    argp_parse(&argp, argc, argv, 0, NULL, &options);
    if (export_run(&report, &options, &err)) {
        fprintf(stderr, "%s: %s\n", argv[0], err.text);
        return TRAIN_FAILED;
    }
    printf("%s: %d tensors, %.1f MB\n", options.out, report.tensors, 1e-6 * (double)report.bytes);
    if (report.projector != PROJECTOR_MLP)
        printf("its projector is of kind %s: massv serves it; transformers does not open it, its classes have no place for one\n",
               projector_kind_names[report.projector]);
    return TRAIN_DONE;
}
