/* simd_probe.h - what the instruction set can do at best; included by simd_impl.h only */

static float probe_read(const float *x, size_t count)
{
    vec sum[8];
#pragma GCC unroll 8
    for (int j = 0; j < 8; j++)
        sum[j] = (vec){0};
    for (size_t i = 0; i + 8 * LANES <= count; i += 8 * LANES)
#pragma GCC unroll 8
        for (size_t j = 0; j < 8; j++)
            sum[j] += v_load(x + i + j * LANES);
    vec total = sum[0];
#pragma GCC unroll 8
    for (int j = 1; j < 8; j++)
        total += sum[j];
    return v_sum(total);
}

enum { PROBE_CHAINS = 12 };

/* Chains of multiply-adds that wait for nothing but themselves. The empty asm keeps them in registers and apart. */
static double probe_fma(long rounds, float *sink)
{
    vec sum[PROBE_CHAINS], factor = v_set(0.999f), total = {0};
#pragma GCC unroll 12
    for (int j = 0; j < PROBE_CHAINS; j++)
        sum[j] = total;
    for (long i = 0; i < rounds; i++)
#pragma GCC unroll 12
        for (int j = 0; j < PROBE_CHAINS; j++) {
            sum[j] = v_fma(sum[j], factor, factor);
            __asm__ volatile("" : "+x"(sum[j]));
        }
#pragma GCC unroll 12
    for (int j = 0; j < PROBE_CHAINS; j++)
        total += sum[j];
    *sink = v_sum(total);
    return 2.0 * LANES * PROBE_CHAINS * (double)rounds;
}

#ifdef SIMD_DOT
static double probe_bf16_dot(long rounds, float *sink)
{
    vec sum[PROBE_CHAINS], total = {0};
    static const char one[sizeof(vec)];
#pragma GCC unroll 12
    for (int j = 0; j < PROBE_CHAINS; j++)
        sum[j] = total;
    for (long i = 0; i < rounds; i++)
#pragma GCC unroll 12
        for (int j = 0; j < PROBE_CHAINS; j++) {
            sum[j] = v_dot(sum[j], one, 0x3f803f80);
            __asm__ volatile("" : "+x"(sum[j]));
        }
#pragma GCC unroll 12
    for (int j = 0; j < PROBE_CHAINS; j++)
        total += sum[j];
    *sink = v_sum(total);
    return 4.0 * LANES * PROBE_CHAINS * (double)rounds;
}
#endif
