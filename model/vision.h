/* vision.h - a family's vision tower and a projector behind it, called merger after the first family's.
 * Tower and merger are two objects: a MASSV drafter has its own merger on the target's tower, which then runs once for both. Which
 * kind of projector a merger is, its configuration says (model/projector.h). */
#ifndef MODEL_VISION_H
#define MODEL_VISION_H

#include "kernels/kernels.h"
#include "model/config.h"
#include "model/patches.h"
#include "model/safetensors.h"

struct tower;
struct merger;

/* Both copy what they need of config; st may be closed afterwards. */
int tower_open(struct tower **tower, struct safetensors *st, const struct model_config *config, const struct kernels *k,
               struct device *dev, struct error *err);
void tower_close(struct tower *tower);
int merger_open(struct merger **merger, struct safetensors *st, const struct model_config *config, const struct kernels *k,
                struct device *dev, struct error *err);
void merger_close(struct merger *merger);

/* Hash of the tower's tensors (not the merger's), whatever their prefix: equal hashes mean that one run serves both models. */
int tower_hash(struct safetensors *st, const struct model_config *config, uint64_t hash[2], struct error *err);

/* The published name of a tensor of st that is one of the tower's, malloc'ed; NULL: it is none. */
char *tower_published(const struct safetensors *st, const struct model_config *config, const char *name);

/* The states of one picture after the tower's last part, (grid_h * grid_w, d); rows in WINDOW order where the tower has windows,
 * and that order, else in raster order. */
struct vision_states {
    int grid_h, grid_w;
    float *rows;           /* device memory */
    int32_t *window_index; /* host: (patches / merge^2), position in window order -> raster index of the merged patch; NULL:
                              raster order */
};
int tower_run(struct tower *tower, const struct patches *patches, struct vision_states *states, struct error *err);
void vision_states_free(struct tower *tower, struct vision_states *states);

/* What every projector reads of the states: (cells, joined * d of the tower) in raster order, to device memory. A cell is made of
 * the tower rows of merge x merge patches: `joined` is 1 where a family averages them, else all stand side by side. */
struct vision_reader {
    const struct model_config *config;
    const struct kernels *k;
    struct device *dev;
};
int vision_joined(const struct model_config *config);
int vision_cells(const struct vision_reader *reader, const struct vision_states *states, float *cells, struct error *err);

/* features (patches_tokens, d of the language model) to host memory. */
int merger_run(struct merger *merger, const struct vision_states *states, float *features, struct error *err);

#endif
