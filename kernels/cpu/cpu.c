/* cpu.c - the table of the CPU backend */
#include "kernels/cpu/attend.h"
#include "kernels/cpu/linear.h"
#include "kernels/cpu/rows.h"

const struct kernels *kernels_cpu(void)
{
    static const struct kernels table = {
        .name = "cpu",
        .open = device_open,
        .close = device_close,
        .describe = device_describe,
        .activations_f32 = device_activations_f32,
        .alloc = device_alloc,
        .free = device_free,
        .upload = device_copy,
        .download = device_copy,
        .copy = device_copy,
        .matrix_create = matrix_create,
        .matrix_write = matrix_write,
        .matrix_destroy = matrix_destroy,
        .matrix_bytes = matrix_bytes,
        .linear = linear,
        .linear_reserve = linear_reserve,
        .embed = matrix_embed,
        .rms_norm = rows_rms_norm,
        .rms_norm_heads = rows_rms_norm_heads,
        .layer_norm = rows_layer_norm,
        .rope = rows_rope,
        .kv_create = kv_create,
        .kv_destroy = kv_destroy,
        .kv_append = kv_append,
        .attend_cached = attend_cached,
        .attend_rows = attend_rows,
        .silu_gate = rows_silu_gate,
        .gelu_tanh_gate = rows_gelu_tanh_gate,
        .gelu_erf = rows_gelu_erf,
        .gelu_tanh = rows_gelu_tanh,
        .add = rows_add,
        .scale = rows_scale,
        .soft_cap = rows_soft_cap,
        .mean = rows_mean,
        .gather = rows_gather,
        .scatter = rows_scatter,
        .best = rows_best,
        .penalize = rows_penalize,
    };
    return &table;
}
