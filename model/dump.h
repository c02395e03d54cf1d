/* dump.h - one forward pass with everything it computed on the way, for comparing with other implementations.
 * Collective: every rank of the communicator makes the same calls; every rank holds the result. */
#ifndef MODEL_DUMP_H
#define MODEL_DUMP_H

#include <stdbool.h>

#include "base/pan_and_scan.h"
#include "cluster/comm.h"
#include "kernels/kernels.h"
#include "model/safetensors.h"

enum { DUMP_GREEDY = 48, DUMP_MAX_ROWS = 512 };

struct dump_options {
    const char *dir;    /* checkpoint */
    const char *prompt; /* the user's text, or with `raw` a prompt that a chat template rendered: one placeholder per picture */
    const char *system; /* NULL = the family's default */
    bool raw;
    const int32_t *answer; /* (n_answer) ids behind the prompt: generated rows */
    int n_answer;
    const char *const *pictures; /* files, in order of their placeholders */
    int n_pictures;
    enum pan_and_scan pan_and_scan;
    const struct kernels *kernels;
    struct device *device;
    struct comm *comm;
    int max_rows; /* of one step; 0 = DUMP_MAX_ROWS */
};

/* N positions of prompt and answer, V rows of the head: input_ids (N) i64; position_ids (3, N), or (N) for a model with 1-D
 * positions; per picture i pixel_values.i (patches, width) and grid_thw.i (3) i64, or where all pictures have one size S
 * pixel_values.i (3, S, S); image_features.i (tokens, d), where crops count as pictures, behind theirs; logits (N, V); greedy_ids
 * (48) i64, the greedy continuation of both without penalties, end tokens ignored. */
struct dump;
int dump_run(struct dump **dump, const struct dump_options *options, struct error *err);
void dump_free(struct dump *dump);

int dump_count(const struct dump *dump);
const struct tensor *dump_tensor(const struct dump *dump, int i);
const void *dump_data(const struct dump *dump, int i);

/* Writes a .safetensors file. */
int dump_write(const struct dump *dump, const char *path, struct error *err);

#endif
