/* dataset.h - a file of records (record.h) as samples that a network trains on.
 *
 * A sample is the conversation as the service renders it for the target - the picture before its first text, the turns before, the
 * prompt - and as the drafter reads that, and the answer with the end of its turn. The tokens of that last answer are supervised,
 * those of answers in earlier turns are not: they are the records of their own turns. */
#ifndef TRAIN_DATASET_H
#define TRAIN_DATASET_H

#include "cluster/comm.h"
#include "model/config.h"
#include "model/tokenizer.h"
#include "train/features.h"
#include "train/network.h"

enum dataset_labels {
    LABELS_REFERENCE, /* the data set's answers */
    LABELS_TARGET,    /* the target's own: a distilled file */
    LABELS_EITHER     /* the target's own where a record has one, else the data set's */
};

struct dataset_options {
    const char *path;
    const char *pictures; /* folder where relative paths of pictures begin; NULL = beside the file */
    enum dataset_labels labels;
    int soft_k;            /* most probable ids of the target beside each label, for KL and TVD; 0 = none are wanted */
    int limit;             /* of the records, the first so many; 0 = all */
    int max_length;        /* tokens of a sample; a longer one is an error */
    bool skip_errors;      /* leave out records that cannot be used, and count them */
    const char *bar_words; /* beside the progress bar while it is opened; NULL = no bar */
};

struct dataset_reader {                          /* what reads all data sets of a run alike; stays the caller's */
    const struct model_config *target, *drafter; /* the drafter's: who reads the samples, with its own tokens of a picture */
    const struct tokenizer *tokenizer;           /* the target's, which must be the drafter's too */
    struct features *features;                   /* NULL: a target without pictures */
    struct comm *comm;                           /* ranks share the work of the pictures */
    int vocabulary;                              /* ids below this are in both, target and drafter */
};

struct dataset;

/* Reads all records once and sees to the features of their pictures. Collective. Errors name file and record. 1: a signal came. */
int dataset_open(struct dataset **dataset, const struct dataset_options *options, const struct dataset_reader *reader,
                 struct error *err);
void dataset_close(struct dataset *dataset); /* NULL is legal */

int dataset_count(const struct dataset *dataset); /* of samples that can be used */
int dataset_skipped(const struct dataset *dataset);
const char *dataset_first_fault(const struct dataset *dataset); /* why the first was skipped; "" = none was */
int64_t dataset_tokens(const struct dataset *dataset);
int64_t dataset_supervised(const struct dataset *dataset);

/* Is a question - picture, turns before and prompt - of b in a, too? Then 1, and err says which of which file. */
int dataset_overlap(const struct dataset *a, const struct dataset *b, struct error *err);

/* Puts file and line of sample i before an error. Returns -1. */
int dataset_blame(const struct dataset *dataset, int i, struct error *err);

struct example {
    struct train_sample sample; /* points into what follows */
    struct feature_rows rows;
    struct train_picture *pictures; /* its picture, and the crops of it */
};
int dataset_example(struct dataset *dataset, int i, struct example *example, struct error *err);
void example_free(struct example *example);

#endif
