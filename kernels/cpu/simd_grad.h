/* simd_grad.h - the backward pass, losses and optimizer of one row or one piece; included by simd_impl.h only */
#include "kernels/grad.h"

/* dx = or, with add, += the gradient by x, unless it is NULL; returns 1 / sqrt(mean(x^2) + eps). y = x s (w + offset), s = that:
 * dx = s (g - x s^2 mean(g x)) with g = dy (w + offset). dx may be dy. */
static float rms_norm_backward(float *dx, bool add, const float *dy, const float *x, int d, const float *weight, float offset,
                               float eps)
{
    size_t count = (size_t)d;
    vec squares = {0}, slopes = {0};
    for (size_t i = 0; i < count; i += LANES) {
        vec v = v_get(x + i, count - i), g = v_get(dy + i, count - i) * (v_get(weight + i, count - i) + offset);
        squares = v_fma(v, v, squares);
        slopes = v_fma(g, v, slopes);
    }
    float scale = 1.0f / sqrtf(v_sum(squares) / (float)d + eps), mean = v_sum(slopes) / (float)d * scale * scale;
    for (size_t i = 0; i < count && dx; i += LANES) {
        size_t left = count - i;
        vec g = v_get(dy + i, left) * (v_get(weight + i, left) + offset);
        vec before = add ? v_get(dx + i, left) : (vec){0};
        v_put(dx + i, before + scale * (g - v_get(x + i, left) * mean), left);
    }
    return scale;
}

/* sum (count) += the rows of dy (n, count), rows `stride` apart; with x, each times that of x and the row's scale. */
static void rows_sum(float *sum, const float *dy, const float *x, const float *scale, int n, size_t stride, size_t count)
{
    for (size_t i = 0; i < count; i += LANES) {
        size_t left = count - i;
        vec total = v_get(sum + i, left);
        for (int r = 0; r < n; r++) {
            vec v = v_get(dy + (size_t)r * stride + i, left);
            total = x ? v_fma(v, v_get(x + (size_t)r * stride + i, left) * scale[r], total) : total + v;
        }
        v_put(sum + i, total, left);
    }
}

/* y = silu(gate) up, silu(g) = g s(g) with the logistic function s: dgate = dy up s (1 + g (1 - s)), dup = dy g s. */
static void silu_gate_backward(float *dgate, float *dup, const float *dy, const float *gate, const float *up, int d)
{
    for (size_t i = 0, count = (size_t)d; i < count; i += LANES) {
        size_t left = count - i;
        vec g = v_get(gate + i, left), u = v_get(up + i, left), y = v_get(dy + i, left);
        vec s = v_sigmoid_times(v_set(1.0f), g);
        v_put(dgate + i, y * u * s * (1.0f + g * (1.0f - s)), left);
        v_put(dup + i, y * g * s, left);
    }
}

/* y = gelu(gate) up, gelu(g) = g s(2z) with z = sqrt(2/pi) (g + 0.044715 g^3): dgate = dy up s (1 + 2 g z' (1 - s)), dup = dy g s.
 */
static void gelu_tanh_gate_backward(float *dgate, float *dup, const float *dy, const float *gate, const float *up, int d)
{
    for (size_t i = 0, count = (size_t)d; i < count; i += LANES) {
        size_t left = count - i;
        vec g = v_get(gate + i, left), u = v_get(up + i, left), y = v_get(dy + i, left), square = g * g;
        vec z = 0x1.988454p-1f * g * v_fma(square, v_set(0.044715f), v_set(1.0f));
        vec slope = 0x1.988454p-1f * v_fma(square, v_set(3 * 0.044715f), v_set(1.0f));
        vec s = v_sigmoid_times(v_set(1.0f), z + z), rest = v_sigmoid_times(v_set(1.0f), -z - z); /* 1 - s without cancellation */
        v_put(dgate + i, y * u * s * (1.0f + 2.0f * g * slope * rest), left);
        v_put(dup + i, y * g * s, left);
    }
}

/* gelu(x) = x Phi(x): its derivative is Phi(x) + x phi(x), with the normal distribution Phi and its density phi. */
static void gelu_erf_backward(float *dx, const float *dy, const float *x, size_t count)
{
    for (size_t i = 0; i < count; i += LANES) {
        size_t left = count - i;
        vec v = v_get(x + i, left), whole = 0.5f * (1.0f + v_erf(v * 0x1.6a09e6p-1f)); /* 1 / sqrt(2) */
        vec density = 0x1.988454p-2f * v_exp(-0.5f * v * v);                           /* 1 / sqrt(2 pi) */
        v_put(dx + i, v_get(dy + i, left) * v_fma(v, density, whole), left);
    }
}

/* y = cap tanh(x / cap): its derivative is 1 - (y / cap)^2. */
static void soft_cap_backward(float *dx, const float *y, float cap, size_t count)
{
    for (size_t i = 0; i < count; i += LANES) {
        vec t = v_get(y + i, count - i) / cap;
        v_put(dx + i, v_get(dx + i, count - i) * (1.0f - t * t), count - i);
    }
}

/* x <- cap tanh(scale x / cap), slope <- its derivative by x; tanh(z) = 2 / (1 + e^-2z) - 1 */
static void cap_scores(float *x, float *slope, float scale, float cap, size_t count)
{
    for (size_t i = 0; i < count; i += LANES) {
        vec z = v_get(x + i, count - i) * scale / cap, t = v_sigmoid_times(v_set(2.0f), z + z) - 1.0f;
        v_put(x + i, cap * t, count - i);
        v_put(slope + i, scale * (1.0f - t * t), count - i);
    }
}

static void multiply(float *x, const float *y, size_t count)
{
    for (size_t i = 0; i < count; i += LANES)
        v_put(x + i, v_get(x + i, count - i) * v_get(y + i, count - i), count - i);
}

/* x <- softmax(scale x); returns log sum e^(scale x). */
static float softmax(float *x, int d, float scale)
{
    size_t count = (size_t)d;
    float most = -INFINITY;
    vec largest = v_set(-INFINITY), total = {0};
    size_t whole = count / LANES * LANES;
    for (size_t i = 0; i < whole; i += LANES)
        largest = v_max(v_load(x + i), largest);
    most = v_largest(largest);
    for (size_t i = whole; i < count; i++)
        most = x[i] > most ? x[i] : most;
    for (size_t i = 0; i < whole; i += LANES) {
        vec e = v_exp((v_load(x + i) - most) * scale);
        total += e;
        v_store(x + i, e);
    }
    float sum = v_sum(total);
    if (whole < count) {
        float lane[LANES];
        v_store(lane, v_exp((v_get(x + whole, count - whole) - most) * scale));
        memcpy(x + whole, lane, (count - whole) * sizeof *x);
        for (size_t i = 0; i < count - whole; i++)
            sum += lane[i];
    }
    for (size_t i = 0; i < count; i += LANES)
        v_put(x + i, v_get(x + i, count - i) / sum, count - i);
    return logf(sum) + most * scale;
}

/* dp <- the gradient by the scores: p (dp - mean) scale. */
static void softmax_backward(float *dp, const float *p, float mean, float scale, size_t count)
{
    for (size_t i = 0; i < count; i += LANES)
        v_put(dp + i, v_get(p + i, count - i) * (v_get(dp + i, count - i) - mean) * scale, count - i);
}

static float dot(const float *x, const float *y, size_t count)
{
    vec total = {0};
    for (size_t i = 0; i < count; i += LANES)
        total = v_fma(v_get(x + i, count - i), v_get(y + i, count - i), total);
    return v_sum(total);
}

static void scale_all(float *x, float scale, size_t count)
{
    for (size_t i = 0; i < count; i += LANES)
        v_put(x + i, v_get(x + i, count - i) * scale, count - i);
}

static void adamw_piece(float *w, float *m, float *v, const float *g, size_t count, const struct adamw *o)
{
    const float keep = 1.0f - o->lr * o->weight_decay;
    const float rate = (float)(o->lr / (1.0 - pow(o->beta1, (double)o->step)));
    const float root = (float)(1.0 / sqrt(1.0 - pow(o->beta2, (double)o->step)));
    for (size_t i = 0; i < count; i += LANES) {
        size_t left = count - i;
        vec gradient = v_get(g + i, left) * o->factor;
        vec first = v_get(m + i, left), second = v_get(v + i, left);
        first = v_fma(v_set(1.0f - o->beta1), gradient - first, first);
        second = second * o->beta2 + (1.0f - o->beta2) * gradient * gradient;
        v_put(m + i, first, left);
        v_put(v + i, second, left);
        v_put(w + i, v_get(w + i, left) * keep - rate * first / (v_sqrt(second) * root + o->eps), left);
    }
}

/* Lanes that lie side by side in memory share a sum; halves are added to halves. */
static double square_sum(const float *x, size_t count)
{
    double sum[16] = {0};
    size_t whole = count / 16 * 16;
    for (size_t i = 0; i < whole; i += 16)
        for (size_t j = 0; j < 16; j++)
            sum[j] += (double)x[i + j] * (double)x[i + j];
    for (size_t j = 0; j < count - whole; j++)
        sum[j] += (double)x[whole + j] * (double)x[whole + j];
    for (size_t half = 8; half; half /= 2)
        for (size_t j = 0; j < half; j++)
            sum[j] += sum[j + half];
    return sum[0];
}
