/* distill_parts.h - a distillation as it is begun (distill_begin.c) and run (distill_run.c) */
#ifndef TRAIN_DISTILL_PARTS_H
#define TRAIN_DISTILL_PARTS_H

#include "base/bar.h"
#include "train/distill.h"
#include "train/distill_file.h"

struct flight;
struct job;

enum distill_task {
    TASK_OPEN,
    TASK_DONE,
    TASK_LEFT_OUT /* its question cannot be asked */
};

struct distill {
    const struct distill_options *options;
    struct distill_report *report;
    struct model_info model;
    struct records *records;
    char *pictures;           /* what stands before relative paths of pictures in the output */
    enum distill_task *tasks; /* (n_tasks) sample s of question i: i * samples + s */
    int questions, n_tasks;
    int next, over; /* tasks that were taken up; that nothing more is to be done for */
    double well;    /* when the service last said something */
    double synced;  /* when the file was */
    struct distill_file *file;
    struct flight *flight;
    struct job *jobs; /* (in_flight) */
    struct bar bar;
};

/* Asks the service who it is, finds the questions, and what of their answers is in the file: everything but flight, jobs and bar.
 * 1: a signal came. What was opened stays, whatever the result. */
int distill_begin(struct distill *distill, struct error *err);

/* How the output names the picture of a question; malloc'ed, NULL where it has none. */
char *distill_image(const struct distill *distill, const struct question *question);

#endif
