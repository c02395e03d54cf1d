/* commands.h - the commands of massv-train (base/command.h says what one is) */
#ifndef TRAIN_COMMANDS_H
#define TRAIN_COMMANDS_H

#include "base/command.h"

enum { TRAIN_DONE = 0, TRAIN_FAILED = 1, TRAIN_USAGE = 2, TRAIN_INTERRUPTED = 130 /* as shells say 128 + SIGINT */ };

int command_project(struct comm *comm, int argc, char **argv);
int command_distill(struct comm *comm, int argc, char **argv);
int command_tune(struct comm *comm, int argc, char **argv);
int command_export(struct comm *comm, int argc, char **argv);

#endif
