/* distill_file.h - the file that answers are added to. A line is written with one call and is whole or not there; a process that is
 * killed loses nothing that was added, a machine that fails at most what was added since the last sync. */
#ifndef TRAIN_DISTILL_FILE_H
#define TRAIN_DISTILL_FILE_H

#include "train/record.h"

struct distill_file;

/* Opens or makes it, for one process at a time. What follows the last end of a line, torn by a death, is cut off: *cut bytes. */
int distill_file_open(struct distill_file **file, const char *path, long *cut, struct error *err);
void distill_file_close(struct distill_file *file); /* NULL is legal */

/* Hands every line that is there to `take`, until one is not wanted (-1); an error names the file and the line. */
int distill_file_each(struct distill_file *file, int (*take)(void *user, const struct record *record, struct error *err),
                      void *user, struct error *err);

/* -1: nothing was added (a full disk), and the file ends with a whole line as before. */
int distill_file_add(struct distill_file *file, const struct record *record, struct error *err);
int distill_file_sync(struct distill_file *file, struct error *err);

#endif
