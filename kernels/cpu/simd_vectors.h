/* simd_vectors.h - what every instruction set does alike on its vectors; included by simd_impl.h only */
#include <math.h>
#include <string.h>

#define FORCE_INLINE static inline __attribute__((always_inline))

/* Any alignment. */
FORCE_INLINE vec v_load(const void *p)
{
    vec v;
    memcpy(&v, p, sizeof v);
    return v;
}

FORCE_INLINE void v_store(float *p, vec v)
{
    memcpy(p, &v, sizeof v);
}

FORCE_INLINE vec v_set(float x)
{
    return x - (vec){0};
}

/* The last `left` < LANES numbers of an array; zeros follow. Kept out of the loops, whose every other turn is a plain load. */
static __attribute__((noinline)) vec v_get_last(const float *p, size_t left)
{
    vec v = {0};
    memcpy(&v, p, left * sizeof *p);
    return v;
}

static __attribute__((noinline)) void v_put_last(float *p, vec v, size_t left)
{
    memcpy(p, &v, left * sizeof *p);
}

/* The next numbers of an array that has `left` more. */
FORCE_INLINE vec v_get(const float *p, size_t left)
{
    return __builtin_expect(left >= (size_t)LANES, 1) ? v_load(p) : v_get_last(p, left);
}

FORCE_INLINE void v_put(float *p, vec v, size_t left)
{
    if (__builtin_expect(left >= (size_t)LANES, 1))
        v_store(p, v);
    else
        v_put_last(p, v, left);
}

FORCE_INLINE vec v_select(vec_int mask, vec yes, vec no)
{
    return (vec)((mask & (vec_int)yes) | (~mask & (vec_int)no));
}

/* b where a is NaN. */
FORCE_INLINE vec v_max(vec a, vec b)
{
    return v_select(a > b, a, b);
}

/* Halves are added to halves: the order is the same for every caller. */
static inline float v_sum(vec v)
{
    float lane[LANES];
    memcpy(lane, &v, sizeof lane);
    for (int half = LANES / 2; half; half /= 2)
        for (int i = 0; i < half; i++)
            lane[i] += lane[i + half];
    return lane[0];
}

static inline float v_largest(vec v)
{
    float lane[LANES];
    memcpy(lane, &v, sizeof lane);
    for (int i = 1; i < LANES; i++)
        lane[0] = lane[i] > lane[0] ? lane[i] : lane[0];
    return lane[0];
}

/* e^x to about one unit in the last place: x = n ln 2 + r with |r| <= ln 2 / 2, e^r by its Taylor polynomial of degree 7 (what is
 * left out is below 2^-27), 2^n in two factors so that n may reach from the subnormals to 128. 0 below -104, inf above 88.8. */
FORCE_INLINE vec v_exp(vec x)
{
    const vec magic = v_set(12582912.0f); /* 1.5 * 2^23: the sum's low bits are the integer nearest to the other summand */
    vec in = v_select(x < -104.0f, v_set(-104.0f), v_select(x > 89.0f, v_set(89.0f), x));
    vec shifted = v_fma(in, v_set(0x1.715476p+0f), magic);
    vec n = shifted - magic;
    vec r = v_fma(n, v_set(-0x1.62e4p-1f), in); /* ln 2 in two parts; n times the first is exact */
    r = v_fma(n, v_set(-0x1.7f7d1cp-20f), r);
    vec p = v_set(0x1.a01a02p-13f);
    p = v_fma(p, r, v_set(0x1.6c16c2p-10f));
    p = v_fma(p, r, v_set(0x1.111112p-7f));
    p = v_fma(p, r, v_set(0x1.555556p-5f));
    p = v_fma(p, r, v_set(0x1.555556p-3f));
    p = v_fma(p, r, v_set(0.5f));
    p = v_fma(p, r, v_set(1.0f));
    p = v_fma(p, r, v_set(1.0f));
    vec_int power = (vec_int)shifted - 0x4b400000, half = power >> 1;
    vec result = p * (vec)((half + 127) << 23) * (vec)((power - half + 127) << 23);
    return v_select(x < -104.0f, v_set(0.0f), result);
}

/* x / (1 + e^-z) */
FORCE_INLINE vec v_sigmoid_times(vec x, vec z)
{
    return x / (1.0f + v_exp(-z));
}

/* erf(x) to about one unit in the last place of 1: up to |x| = 1 an odd polynomial, beyond that 1 - e^-q(|x|) with q a polynomial
 * near -log(1 - erf), up to 4, behind which it rounds to 1. Both are minimax fits whose own errors are below 2e-9. */
FORCE_INLINE vec v_erf(vec x)
{
    vec t = v_max(x, -x), square = x * x, near = v_set(0x1.496b34p-14f), far = v_set(-0x1.852d74p-13f);
    near = v_fma(near, square, v_set(-0x1.a3f76ap-11f));
    near = v_fma(near, square, v_set(0x1.5405c2p-8f));
    near = v_fma(near, square, v_set(-0x1.b7f910p-6f));
    near = v_fma(near, square, v_set(0x1.ce2cf8p-4f));
    near = v_fma(near, square, v_set(-0x1.81273ep-2f));
    near = v_fma(near, square, v_set(0x1.20dd74p+0f));
    vec bound = v_select(t > 4.0f, v_set(4.0f), t);
    far = v_fma(far, bound, v_set(0x1.814cf4p-9f));
    far = v_fma(far, bound, v_set(-0x1.65422ep-6f));
    far = v_fma(far, bound, v_set(0x1.a60a8ap-4f));
    far = v_fma(far, bound, v_set(0x1.46c584p-1f));
    far = v_fma(far, bound, v_set(0x1.2085b2p+0f));
    far = v_fma(far, bound, v_set(0x1.72e5e0p-12f));
    vec rest = 1.0f - v_exp(-far);
    return v_select(t < 1.0f, near * x, v_select(x < 0.0f, -rest, rest));
}
