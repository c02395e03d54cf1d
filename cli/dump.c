/* dump.c - massv dump: one forward pass, written down for comparison with other implementations */
#include "model/dump.h"
#include "base/flags.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "cli/cli.h"
#include "model/config.h"
#include "model/model.h"
#include "model/safetensors.h"
#include "proto/limit_flags.h"

enum {
    KEY_MODEL = 256,
    KEY_PROMPT,
    KEY_SYSTEM,
    KEY_IMAGE,
    KEY_RAW,
    KEY_ANSWER_IDS,
    KEY_RANKS,
    KEY_ACTIVATIONS,
    KEY_THREADS,
    KEY_PAN_AND_SCAN,
    KEY_OUT
};

struct arguments {
    struct dump_options dump;
    struct cli_list images;
    const char *out;
    int ranks, threads;
    bool activations_auto;
};

static const struct argp_option flags[] = {
    {"model", KEY_MODEL, "DIR", 0, "checkpoint folder", 0},
    {"prompt", KEY_PROMPT, "TEXT", 0, "what the user says", 0},
    {"image", KEY_IMAGE, "FILE", 0, "a picture before the text (JPEG, PNG, WebP); may be repeated", 0},
    {"system", KEY_SYSTEM, "TEXT", 0, "system turn; default: the model family's", 0},
    {"raw-prompt", KEY_RAW, 0, 0, "the prompt is already rendered by a chat template, with one placeholder per picture", 0},
    {"answer-ids", KEY_ANSWER_IDS, "ID,ID,...", 0,
     "the tokens of an answer, as massv generate --json gives them: scored behind the prompt", 0},
    {"pan-and-scan", KEY_PAN_AND_SCAN, "auto|on|off", 0,
     "show the model wide and tall pictures in crops, too (Gemma3); default auto: as the checkpoint says", 0},
    {"ranks", KEY_RANKS, "N", 0, "tensor-parallel ranks, started by mpirun; default 1", 0},
    {"threads", KEY_THREADS, "T", 0, "compute threads per rank; default: cores / ranks", 0},
    {"activations", KEY_ACTIVATIONS, "auto|f32", 0,
     "auto: round activations to bf16 where the processor multiplies bf16; default f32, because a dump is there to be compared", 0},
    {"out", KEY_OUT, "FILE", 0, "the .safetensors file to write", 0},
    {0}};

static const char doc[] = "massv dump - run one forward pass and write what it computed\v"
                          "Tensors: input_ids, position_ids, per picture i, crops included, pixel_values.i, grid_thw.i, "
                          "image_features.i; logits of every position, an answer's included; "
                          "greedy_ids, the 48 tokens that follow greedily, without penalties, end tokens ignored.\n\n"
                          "Example:\n  massv dump --model models/scenes-large --ranks 2 --out dump.safetensors \\\n"
                          "    --image models/pictures/scene-00002.png \\\n"
                          "    --prompt 'What can you see in this picture?'";

static int arguments_activations(const struct argp_state *state, const char *arg)
{
    if (strcmp(arg, "auto") && strcmp(arg, "f32"))
        argp_error(state, "--activations %s: auto or f32 is wanted", arg);
    return !strcmp(arg, "auto");
}

static void arguments_answer(const struct argp_state *state, const char *text, struct dump_options *dump)
{
    char *copy = mem_string(text), *rest = copy, *each;
    int32_t *ids = NULL;
    dump->n_answer = 0;
    while ((each = strsep(&rest, ","))) {
        ids = mem_grow(ids, (size_t)dump->n_answer + 1, sizeof *ids);
        ids[dump->n_answer++] = flag_number(state, "--answer-ids", each, 0, INT32_MAX);
    }
    free((void *)dump->answer); /* of the same flag before */
    dump->answer = ids;
    free(copy);
}

static void arguments_check(struct argp_state *state, const struct arguments *a)
{
    const char *missing = !a->dump.dir ? "--model" : !a->dump.prompt ? "--prompt" : !a->out ? "--out" : NULL;
    if (missing)
        argp_error(state, "%s is missing", missing);
    if (a->dump.raw && a->dump.system)
        argp_error(state, "--system does not go with --raw-prompt: the prompt has its system turn already");
}

static error_t arguments_parse(int key, char *arg, struct argp_state *state)
{
    struct arguments *a = state->input;
    switch (key) {
    case KEY_MODEL:
        a->dump.dir = arg;
        return 0;
    case KEY_PROMPT:
        a->dump.prompt = cli_text(state, "--prompt", arg);
        return 0;
    case KEY_SYSTEM:
        a->dump.system = cli_text(state, "--system", arg);
        return 0;
    case KEY_IMAGE:
        cli_list_add(state, "--image", arg, &a->images);
        return 0;
    case KEY_RAW:
        a->dump.raw = true;
        return 0;
    case KEY_ANSWER_IDS:
        arguments_answer(state, arg, &a->dump);
        return 0;
    case KEY_RANKS:
        a->ranks = flag_number(state, "--ranks", arg, 1, CLI_RANKS);
        return 0;
    case KEY_THREADS:
        a->threads = flag_number(state, "--threads", arg, 1, CLI_THREADS);
        return 0;
    case KEY_ACTIVATIONS:
        a->activations_auto = arguments_activations(state, arg);
        return 0;
    case KEY_PAN_AND_SCAN:
        a->dump.pan_and_scan = pan_and_scan_flag(state, arg);
        return 0;
    case KEY_OUT:
        a->out = arg;
        return 0;
    case ARGP_KEY_END:
        arguments_check(state, a);
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

static int dump_here(struct arguments *a, struct comm *comm, struct error *err)
{
    const struct kernels *k = kernels_cpu();
    const struct device_options device = {.threads = cli_threads(a->threads, a->ranks), .activations_f32 = !a->activations_auto};
    struct dump *dump = NULL;
    a->dump.kernels = k;
    a->dump.comm = comm;
    a->dump.device = k->open(&device, err);
    if (!a->dump.device)
        return -1;
    int result = dump_run(&dump, &a->dump, err);
    if (!result && comm->rank == 0)
        result = dump_write(dump, a->out, err);
    dump_free(dump);
    k->close(a->dump.device);
    return result;
}

/* What can be said before mpirun is started: its own words about a failed rank are many. */
static int dump_can_start(const struct arguments *a, struct error *err)
{
    struct model_config config;
    if (config_read(&config, a->dump.dir, err))
        return -1;
    return model_ranks_possible(&config, a->ranks, err);
}

static int dump_with(struct arguments *a, struct comm *comm, int argc, char **argv)
{
    struct error err;
    if (!cli_under_mpi(comm) && safetensors_writable(a->out, &err))
        return cli_failed(comm, argv[0], &err);
    if (a->ranks > 1 && !cli_under_mpi(comm))
        return dump_can_start(a, &err) ? cli_failed(comm, argv[0], &err) : cli_on_ranks(a->ranks, NULL, argc, argv);
    if (a->ranks != comm->size && cli_under_mpi(comm)) {
        fail(&err, "--ranks %d, but mpirun started %d", a->ranks, comm->size);
        return cli_failed(comm, argv[0], &err);
    }
    return dump_here(a, comm, &err) ? cli_failed(comm, argv[0], &err) : CLI_DONE;
}

int command_dump(struct comm *comm, int argc, char **argv)
{
    struct arguments a = {.ranks = 1};
    const struct argp argp = {.options = flags, .parser = arguments_parse, .doc = doc};
    cli_parse(&argp, argc, argv, &a);
    a.dump.pictures = a.images.values;
    a.dump.n_pictures = a.images.n;
    int status = dump_with(&a, comm, argc, argv);
    free((void *)a.dump.answer);
    return status;
}
