/* grad.c - the table of what training needs, on the CPU */
#include "kernels/cpu/grad.h"

#include "kernels/cpu/probe.h"

enum { PROBE_ROUNDS = 1600 * 1000 }; /* of 12 multiply-adds */

static double grad_multiply_adds(struct device *dev)
{
    float sink;
    return probe_fma(dev, PROBE_ROUNDS, &sink);
}

const struct grad_kernels *grad_kernels_cpu(void)
{
    static const struct grad_kernels table = {
        .name = "cpu",
        .zero = grad_zero,
        .narrow = grad_narrow,
        .linear = product_linear,
        .linear_input = product_linear_input,
        .linear_weights = product_linear_weights,
        .embed = grad_embed,
        .scatter_add = grad_scatter_add,
        .rms_norm_backward = grad_rms_norm,
        .rms_norm_heads_backward = grad_rms_norm_heads,
        .attend_rows_backward = grad_attend_rows,
        .silu_gate_backward = grad_silu_gate,
        .gelu_tanh_gate_backward = grad_gelu_tanh_gate,
        .gelu_erf_backward = grad_gelu_erf,
        .soft_cap_backward = grad_soft_cap,
        .cross_entropy = grad_cross_entropy,
        .kl = grad_kl,
        .tvd = grad_tvd,
        .square_sum = grad_square_sum,
        .adamw = grad_adamw,
        .multiply_adds = grad_multiply_adds,
    };
    return &table;
}
