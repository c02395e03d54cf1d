/* graft.h - the drafter that comes of a small language model and the target's vision tower, as numbers */
#ifndef TRAIN_GRAFT_H
#define TRAIN_GRAFT_H

#include "model/config.h"

/* What projector a drafter shall have. */
struct graft_projector {
    int kind;    /* enum projector_kind; -1 = that of the language model, or mlp where it sees nothing yet */
    int queries; /* of a resampler; 0 = those it has, else 16 */
};

/* language: the small model, a text model or a drafter that sees already; its positions become the target's: the same sections of
 * M-RoPE, or, where heads have another width, sections in the same proportion. -1 where the two do not go together, or a drafter
 * that sees has another projector than is wanted. */
int graft_config(struct model_config *drafter, const struct model_config *target, const struct model_config *language,
                 const struct graft_projector *wanted, struct error *err);

#endif
