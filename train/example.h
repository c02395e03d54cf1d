/* example.h - the part of a data set that makes a sample of a record */
#ifndef TRAIN_EXAMPLE_H
#define TRAIN_EXAMPLE_H

#include "train/dataset.h"
#include "train/record.h"

struct example_maker { /* options and reader stay the caller's */
    const struct dataset_options *options;
    const struct dataset_reader *reader;
    int32_t end_id; /* of an assistant's turn */
};

int example_maker_open(struct example_maker *maker, const struct dataset_options *options, const struct dataset_reader *reader,
                       struct error *err);

/* rows: of the record's picture, if it has one; the example's afterwards, also where -1 is returned. Errors do not name the record.
 */
int example_make(const struct example_maker *maker, const struct record *record, const struct feature_rows *rows,
                 struct example *example, struct error *err);

#endif
