/* main.c - massv-train: what makes a drafter out of a small language model */
#include <stdio.h>

#include "base/standard.h"
#include "base/version.h"
#include "cluster/comm.h"
#include "train/commands.h"

#include <argp.h>

static const struct command commands[] = {
    {"distill", "let the target answer questions, for the drafter to learn from", command_distill, false},
    {0},
};

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
                       "massv-train distill --address 127.0.0.1:50051 --data questions.jsonl --out answers.jsonl", &argc, &argv);
    int status = comm_open_one(&comm, &err) ? TRAIN_FAILED : command->run(comm, argc, argv);
    if (!comm || (status == TRAIN_DONE && standard_flush(&err))) {
        fprintf(stderr, "%s: %s\n", argv[0], err.text);
        status = TRAIN_FAILED;
    }
    comm_close(comm);
    return status;
}
