/* network.h - what is trained: a drafter's language model and its projector, forward and backward, and the optimizer's step.
 *
 * Samples are computed as one ragged batch, without padding; a sample sees only itself. Memory grows with the largest batch.
 * Gradients are f32 and are added to until the optimizer takes them. The same calls with the same arguments give the same bits,
 * on any number of threads, with and without recomputation. One thread calls a network at a time. */
#ifndef TRAIN_NETWORK_H
#define TRAIN_NETWORK_H

#include "kernels/grad.h"
#include "model/projector.h"
#include "model/safetensors.h"

struct network;

struct network_options {
    const struct kernels *kernels;
    const struct grad_kernels *grad;
    struct device *device;
    struct safetensors *projector_weights; /* NULL: fresh: normal numbers of deviation 0.02 from `seed`, biases 0, norms 1 */
    uint64_t seed;
    bool train_language; /* false: the projector alone has gradients and moments (phase 1) */
    bool recompute;      /* keep only the input of each layer and compute the rest again for the backward pass: less memory */
    enum dtype weights;  /* matrices as products read them: DTYPE_F32, or DTYPE_BF16: rounded copies, of which the trained ones
                            have f32 masters; vectors are f32 either way */
};

/* The language model is read from st, in whatever layout of names, with config's shapes and positions (1-D where mrope_section is
 * all zero); a tied model has no head of its own. Of the picture's side config's family, kind of projector, and vision sizes count
 * (graft.h). st and projector_weights may be closed afterwards. */
int network_open(struct network **network, struct safetensors *st, const struct model_config *config,
                 const struct network_options *options, struct error *err);
void network_close(struct network *network); /* NULL is legal */

enum { TRAIN_UNSUPERVISED = -100 };

struct train_picture {
    int first;             /* place of its first token in the sample; network_picture_tokens follow one another */
    int rows;              /* of features: cells */
    const float *features; /* (rows, joined * width) host memory (model/vision.h) */
};

struct train_sample {
    int n;
    const int32_t *ids;    /* (n); those at a picture's places count for nothing */
    const int32_t *labels; /* (n); TRAIN_UNSUPERVISED, or the id that position t - 1 is to predict; labels[0] is unsupervised */
    const int32_t (*positions)[3]; /* (n) time, height, width; 1-D positions: the first counts */
    const struct train_picture *pictures;
    int n_pictures;
    /* For LOSS_KL and LOSS_TVD: the teacher's most probable ids at each supervised token, in order of position, and their
     * probabilities, which sum to 1. An id of -1 is none. */
    int soft_k;
    const int32_t *soft_ids; /* (supervised, soft_k) */
    const float *soft_probs; /* (supervised, soft_k) */
};

/* Tokens of a picture of so many cells. */
int network_picture_tokens(const struct network *network, int rows);

enum train_loss { LOSS_CE, LOSS_KL, LOSS_TVD, LOSS_KINDS };
extern const char *const train_loss_names[LOSS_KINDS]; /* "ce", "kl", "tvd" */

struct train_objective {
    enum train_loss loss;
    int common;    /* KL, TVD: the ids below this are the vocabulary that teacher and drafter share; 0 = all of the drafter's */
    double divide; /* gradients are those of the sum of losses divided by this: the supervised tokens of all that is added up */
};

/* Adds the gradients of the samples' supervised tokens, and writes the SUM of their losses (not divided). All samples of a call
 * have the same soft_k. -1, and no gradient changed, when a sample does not fit the network (naming it by its index) or memory is
 * short. */
int network_backward(struct network *network, const struct train_sample *samples, int n, const struct train_objective *objective,
                     double *loss_sum, struct error *err);
/* The loss alone. */
int network_loss(struct network *network, const struct train_sample *samples, int n, const struct train_objective *objective,
                 double *loss_sum, struct error *err);
/* Supervised tokens of a sample. */
int train_sample_supervised(const struct train_sample *sample);

/* Parameters in an order that depends on the shapes alone: the projector's, then the language model's. */
struct network_parameter {
    const char *name; /* as published; owned by the network */
    int dims;         /* 1 or 2 */
    int64_t shape[2];
    size_t count;
    bool trained;
};
int network_parameters(const struct network *network);
struct network_parameter network_parameter(const struct network *network, int i);

/* Copies of a parameter's numbers, f32, host memory. Gradients and moments are those of trained ones. A write of values also renews
 * the rounded copy. */
enum network_part { NETWORK_VALUE, NETWORK_GRADIENT, NETWORK_MOMENT1, NETWORK_MOMENT2, NETWORK_PARTS };
void network_read(const struct network *network, int i, enum network_part part, float *host);
void network_write(struct network *network, int i, enum network_part part, const float *host);

/* All gradients in one piece of device memory, for sums over ranks; padding between parameters is zero. */
float *network_gradients(struct network *network, size_t *count);
void network_zero_gradients(struct network *network);

/* AdamW on every trained parameter; then gradients are zero again. *norm: the gradients' 2-norm; where it is above `clip` (0 =
 * never) they are first multiplied by clip / (norm + 1e-6). -1, and nothing changed, when the norm is not finite. */
struct network_optimizer {
    float lr, beta1, beta2, eps, weight_decay, clip;
};
int network_step(struct network *network, const struct network_optimizer *o, double *norm, struct error *err);

/* Steps taken: what AdamW's bias correction counts. With the values and both moments of every trained parameter this is the whole
 * state. */
int64_t network_steps(const struct network *network);
void network_set_steps(struct network *network, int64_t steps);

/* Floating-point operations of products and attention so far, multiplications and additions counted apart; recomputation counts. */
double network_flops(const struct network *network);

#endif
