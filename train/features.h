/* features.h - what the target's tower sees in a picture, computed once and kept on disk.
 *
 * A folder of one .safetensors file per picture, named by the hash of the picture's bytes, in a subfolder named by the tower: its
 * tensors and the settings of preprocessing. A file that is torn or changed is computed again. Several processes may share the
 * folder. Rows are the picture's cells (model/vision.h). */
#ifndef TRAIN_FEATURES_H
#define TRAIN_FEATURES_H

#include "kernels/kernels.h"
#include "model/config.h"
#include "model/safetensors.h"
#include "model/views.h"

struct features;

/* st and config: the target's; st may be closed afterwards. folder is made where it is not there; its parent must be. */
int features_open(struct features **features, struct safetensors *st, const struct model_config *config, const struct kernels *k,
                  struct device *dev, const char *folder, struct error *err);
void features_close(struct features *features); /* NULL is legal */

/* Numbers in a row. */
int features_width(const struct features *features);

struct feature_rows {
    struct picture_shape shape; /* lines * columns rows, and as many of each crop behind them */
    float *numbers;             /* (rows, width) malloc'ed */
};

/* Sees to it that the picture file's features are on disk, and gives them; hash is their name from now on. Errors name the file.
 * 1: the picture cannot be used. -1: what was seen in it cannot be kept, of which it is innocent. */
int features_add(struct features *features, const char *path, uint64_t hash[2], struct feature_rows *rows, struct error *err);
int features_read(const struct features *features, const uint64_t hash[2], struct feature_rows *rows, struct error *err);

#endif
