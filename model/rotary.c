/* rotary.c - frequencies and angles (Su et al.: "RoFormer", 2021; M-RoPE: Wang et al.: "Qwen2-VL", 2024) */
#include "model/rotary.h"

#include <math.h>

/* A factor that stretches the context divides positions, or as well frequencies (Chen et al.: "Extending context window of large
 * language models via positional interpolation", 2023). */
void rotary_frequencies(float *frequency, const struct model_config *config, bool local)
{
    float theta = local ? config->local_theta : config->rope_theta;
    float factor = local || config->rope_factor == 0 ? 1 : config->rope_factor;
    for (int j = 0; j < config->c / 2; j++)
        frequency[j] = 1.0f / powf(theta, (float)(2 * j) / (float)config->c) / factor;
}

void rotary_angles(float *cosine, float *sine, const struct model_config *config, const float *frequency, const int32_t position[3])
{
    const int *section = config->mrope_section;
    int time_end = section[0], height_end = section[0] + section[1];
    bool one_axis = !(section[0] | section[1] | section[2]);
    for (int j = 0; j < config->c / 2; j++) {
        int axis = one_axis || j < time_end ? 0 : j < height_end ? 1 : 2;
        float angle = (float)position[axis] * frequency[j];
        cosine[j] = cosf(angle);
        sine[j] = sinf(angle);
    }
}
