/* simd_rows.h - norms, rotations, gates and the largest score of one row; included by simd_impl.h only */

static void rms_norm(float *y, const float *x, int d, const float *weight, float offset, float eps)
{
    size_t count = (size_t)d;
    vec squares = {0};
    for (size_t i = 0; i < count; i += LANES) {
        vec v = v_get(x + i, count - i);
        squares = v_fma(v, v, squares);
    }
    float scale = 1.0f / sqrtf(v_sum(squares) / (float)d + eps);
    for (size_t i = 0; i < count; i += LANES)
        v_put(y + i, v_get(x + i, count - i) * scale * (v_get(weight + i, count - i) + offset), count - i);
}

/* Mean first, then the squares of the differences: no cancellation. */
static void layer_norm(float *y, const float *x, int d, const float *weight, const float *bias, float eps)
{
    size_t count = (size_t)d, whole = count / LANES * LANES;
    vec sum = {0}, squares = {0};
    for (size_t i = 0; i < count; i += LANES)
        sum += v_get(x + i, count - i);
    float mean = v_sum(sum) / (float)d, rest = 0.0f;
    for (size_t i = 0; i < whole; i += LANES) {
        vec v = v_load(x + i) - mean;
        squares = v_fma(v, v, squares);
    }
    for (size_t i = whole; i < count; i++)
        rest += (x[i] - mean) * (x[i] - mean);
    float scale = 1.0f / sqrtf((v_sum(squares) + rest) / (float)d + eps);
    for (size_t i = 0; i < count; i += LANES) {
        size_t left = count - i;
        v_put(y + i, v_fma((v_get(x + i, left) - mean) * scale, v_get(weight + i, left), v_get(bias + i, left)), left);
    }
}

/* (a, b) -> (a cos - b sin, b cos + a sin) for the pairs (j, j + c/2) of each head. */
static void rope(float *x, int heads, int c, const float *cosine, const float *sine)
{
    size_t half = (size_t)c / 2;
    for (int head = 0; head < heads; head++, x += c)
        for (size_t i = 0; i < half; i += LANES) {
            size_t left = half - i;
            vec a = v_get(x + i, left), b = v_get(x + half + i, left);
            vec co = v_get(cosine + i, left), si = v_get(sine + i, left);
            v_put(x + i, a * co - b * si, left);
            v_put(x + half + i, b * co + a * si, left);
        }
}

static void silu_gate(float *y, const float *gate, const float *up, int d)
{
    for (size_t i = 0, count = (size_t)d; i < count; i += LANES) {
        vec x = v_get(gate + i, count - i);
        v_put(y + i, v_sigmoid_times(x, x) * v_get(up + i, count - i), count - i);
    }
}

/* x/2 (1 + tanh(z)), z = sqrt(2/pi) (x + 0.044715 x^3); (1 + tanh(z)) / 2 = 1 / (1 + e^-2z). */
FORCE_INLINE vec v_gelu_tanh(vec x)
{
    vec z = v_set(0x1.988454p-1f) * v_fma(x * x * x, v_set(0.044715f), x);
    return v_sigmoid_times(x, z + z);
}

static void gelu_tanh_gate(float *y, const float *gate, const float *up, int d)
{
    for (size_t i = 0, count = (size_t)d; i < count; i += LANES)
        v_put(y + i, v_gelu_tanh(v_get(gate + i, count - i)) * v_get(up + i, count - i), count - i);
}

static void gelu_tanh(float *x, size_t count)
{
    for (size_t i = 0; i < count; i += LANES)
        v_put(x + i, v_gelu_tanh(v_get(x + i, count - i)), count - i);
}

static void gelu_erf(float *x, size_t count)
{
    for (size_t i = 0; i < count; i += LANES) {
        vec v = v_get(x + i, count - i);
        v_put(x + i, 0.5f * v * (1.0f + v_erf(v * 0x1.6a09e6p-1f)), count - i); /* 1 / sqrt(2) */
    }
}

static void add(float *x, const float *y, size_t count)
{
    for (size_t i = 0; i < count; i += LANES)
        v_put(x + i, v_get(x + i, count - i) + v_get(y + i, count - i), count - i);
}

/* The largest value first, then where it stands. */
static int32_t best(const float *x, int d)
{
    int whole = d / LANES * LANES;
    vec most = v_set(-INFINITY);
    for (int i = 0; i < whole; i += LANES)
        most = v_max(v_load(x + i), most);
    float largest = v_largest(most);
    for (int i = whole; i < d; i++)
        largest = x[i] > largest ? x[i] : largest;
    for (int32_t i = 0; i < d; i++)
        if (x[i] == largest)
            return i;
    return -1;
}
