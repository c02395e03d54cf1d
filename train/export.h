/* export.h - a trained drafter as a Hugging Face checkpoint, an ordinary one where its projector is the family's own: the target's
 * tower, the run's projector, the small language model (the run's, where it was trained) */
#ifndef TRAIN_EXPORT_H
#define TRAIN_EXPORT_H

#include <jansson.h>

#include "model/config.h"

struct export_options {
    const char *run, *target, *drafter, *out;
    int dtype;    /* of trained tensors (enum dtype); -1 = as the small language model is stored */
    int64_t step; /* of the state, which was kept (state.h); 0 = the last */
};

struct export_report {
    int tensors;
    int64_t bytes;
    enum projector_kind projector;
};

/* out: a folder that is not there yet, or an empty one. It holds a whole checkpoint afterwards, or is as it was. */
int export_run(struct export_report *report, const struct export_options *options, struct error *err);

/* ---- its parts ---- */

/* export_folder.c: an export is written into out.part beside out, which takes its place when all is there. What an export that was
 * killed left in out.part goes; anything else there is an error. */
struct export_folder {
    char *whole, *part; /* part: NULL = there is none */
};
int export_folder_open(struct export_folder *folder, const char *out, struct error *err);
int export_folder_finish(struct export_folder *folder, struct error *err);
void export_folder_close(struct export_folder *folder); /* without finish nothing is left; all 0 is legal */

extern const char *const export_copied[]; /* files that it takes from the target where that has them; NULL behind the last */

/* export_config.c: the config.json of the class of the target, in its published layout, from the files of both checkpoints. */
int export_config(json_t **config, const struct export_options *options, const struct model_config *drafter, const char *dtype,
                  struct error *err);

#endif
