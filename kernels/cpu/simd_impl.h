/* simd_impl.h - all inner loops for the vectors that the including file has named: LANES, PANEL_VECTORS, vec, vec_int, v_fma,
 * v_sqrt, v_from_f16; with SIMD_DOT also v_dot */
#ifndef KERNELS_CPU_SIMD_IMPL_H
#define KERNELS_CPU_SIMD_IMPL_H

/* Ahead of the weights of a panel: at 40 GB/s a core, 4 KiB are 100 ns, about the latency of memory; where memory is slower they
 * come a little early. */
enum { PREFETCH_BYTES = 4096 };

#include "kernels/cpu/simd_vectors.h"

#include "kernels/cpu/simd_linear.h"

#include "kernels/cpu/simd_attend.h"
#include "kernels/cpu/simd_grad.h"
#include "kernels/cpu/simd_probe.h"
#include "kernels/cpu/simd_product.h"
#include "kernels/cpu/simd_rows.h"

const struct simd SIMD_TABLE = {
    .name = SIMD_NAME,
    .panel = PANEL,
    .linear_item = linear_item,
    .rms_norm = rms_norm,
    .layer_norm = layer_norm,
    .rope = rope,
    .silu_gate = silu_gate,
    .gelu_tanh_gate = gelu_tanh_gate,
    .gelu_erf = gelu_erf,
    .gelu_tanh = gelu_tanh,
    .add = add,
    .best = best,
    .attend_block = attend_block,
    .attend_finish = attend_finish,
    .product_panels = product_panels,
    .product_pack = product_pack,
    .product_part = product_part,
    .rms_norm_backward = rms_norm_backward,
    .rows_sum = rows_sum,
    .silu_gate_backward = silu_gate_backward,
    .gelu_tanh_gate_backward = gelu_tanh_gate_backward,
    .gelu_erf_backward = gelu_erf_backward,
    .soft_cap_backward = soft_cap_backward,
    .cap_scores = cap_scores,
    .multiply = multiply,
    .softmax = softmax,
    .softmax_backward = softmax_backward,
    .dot = dot,
    .scale = scale_all,
    .adamw = adamw_piece,
    .square_sum = square_sum,
    .probe_read = probe_read,
    .probe_fma = probe_fma,
#ifdef SIMD_DOT
    .probe_bf16_dot = probe_bf16_dot,
#endif
};

#endif
