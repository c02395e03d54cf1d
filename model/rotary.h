/* rotary.h - the angles by which queries and keys turn: the same in serving and in training */
#ifndef MODEL_ROTARY_H
#define MODEL_ROTARY_H

#include "model/config.h"

/* frequency (c / 2): angle per position, in global or in local layers. */
void rotary_frequencies(float *frequency, const struct model_config *config, bool local);

/* Cosines and sines (c / 2) of one row: frequency j turns by the position on its axis (time, height, width). M-RoPE's axes are
 * contiguous blocks of frequencies; without sections all turn by position[0]. */
void rotary_angles(float *cosine, float *sine, const struct model_config *config, const float *frequency,
                   const int32_t position[3]);

#endif
