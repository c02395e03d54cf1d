/* main.c - massv-train: what makes a drafter out of a small language model */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/standard.h"
#include "base/version.h"
#include "cluster/comm.h"
#include "train/commands.h"

#include <argp.h>

/* Seconds a rank waits for the slowest one: pictures of one share may take longer than those of another. */
static const double COLLECTIVE_SECONDS = 600;

static const struct command commands[] = {
    {"project", "phase 1: train a projector on pictures and captions", command_project, true},
    {"distill", "let the target answer questions, for the drafter to learn from", command_distill, false},
    {"tune", "phase 2: train projector and language model on the target's answers", command_tune, true},
    {"export", "write a trained drafter as a Hugging Face checkpoint", command_export, false},
    {0},
};

/* The ranks that mpirun started, or this process alone. Slurm's srun starts tasks, which would all write the one run. */
static int comm_open(struct comm **comm, const struct command *command, struct error *err)
{
    const struct comm_options options = {.timeout = COLLECTIVE_SECONDS};
    const char *size = getenv("OMPI_COMM_WORLD_SIZE"), *tasks = getenv("SLURM_STEP_NUM_TASKS");
    bool ranks = size && strcmp(size, "1");
    if (!size && tasks && strcmp(tasks, "1"))
        return fail(err, "srun started this %s times over; ranks of one run are started by mpirun (docs/training.md)", tasks);
    if (ranks && !command->on_ranks)
        return fail(err, "runs as one process, not under mpirun");
    return ranks ? comm_open_mpi(comm, &options, err) : comm_open_one(comm, err);
}

int main(int argc, char **argv)
{
    static char name[] = "massv-train"; /* whatever path it was called by: it stands in every message */
    struct comm *comm = NULL;
    struct error err;
    standard_hold();
    argp_program_version = "massv-train " MASSV_VERSION;
    argv[0] = name;
    const struct command *command =
        command_choose(commands, "massv-train - makes a drafter that sees the picture out of a small language model",
                       "massv-train distill --address 127.0.0.1:50051 --data q.jsonl --out a.jsonl", &argc, &argv);
    int status = comm_open(&comm, command, &err) ? TRAIN_FAILED : command->run(comm, argc, argv);
    if (!comm || (status == TRAIN_DONE && standard_flush(&err))) {
        fprintf(stderr, "%s: %s\n", argv[0], err.text);
        status = TRAIN_FAILED;
    }
    comm_close(comm);
    return status;
}
