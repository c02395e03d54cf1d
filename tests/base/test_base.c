/* test_base.c - error text, number formats, random numbers */
#include <math.h>

#include "tests/check.h"

#include "base/dtype.h"
#include "base/error.h"
#include "base/random.h"

static void error_text_names_its_context(void **state)
{
    (void)state;
    struct error err;
    assert_int_equal(fail(&err, "header of %d bytes is cut short", 12), -1);
    assert_int_equal(fail_in(&err, "model.safetensors"), -1);
    assert_string_equal(err.text, "model.safetensors: header of 12 bytes is cut short");
    assert_int_equal(fail(NULL, "nobody listens"), -1);
}

static void bf16_rounds_to_nearest_even(void **state)
{
    (void)state;
    assert_int_equal(bf16_from_f32(1.0f), 0x3f80);
    assert_int_equal(bf16_from_f32(1.00390625f), 0x3f80); /* half way, even below */
    assert_int_equal(bf16_from_f32(1.01171875f), 0x3f82); /* half way, even above */
    assert_true(isnan(bf16_to_f32(bf16_from_f32(NAN))));
    for (uint32_t x = 0; x < 65536; x++)
        if (!isnan(bf16_to_f32((uint16_t)x)))
            assert_int_equal(bf16_from_f32(bf16_to_f32((uint16_t)x)), x);
}

static void f16_values_are_exact(void **state)
{
    (void)state;
    assert_true(f16_to_f32(0x3c00) == 1.0f);
    assert_true(f16_to_f32(0xc000) == -2.0f);
    assert_true(f16_to_f32(0x0001) == 0x1p-24f);
    assert_true(f16_to_f32(0x7bff) == 65504.0f);
    assert_true(isinf(f16_to_f32(0x7c00)) && isnan(f16_to_f32(0x7e00)));
}

/* Known answers of the authors' Random123 distribution (kat_vectors: philox4x32 10). */
static void philox_gives_the_published_numbers(void **state)
{
    (void)state;
    uint32_t out[4];
    random_bits(out, 0, 0, 0);
    const uint32_t zeros[4] = {0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8};
    assert_memory_equal(out, zeros, sizeof out);
    random_bits(out, UINT64_MAX, UINT64_MAX, UINT64_MAX);
    const uint32_t ones[4] = {0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd};
    assert_memory_equal(out, ones, sizeof out);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(error_text_names_its_context),
        cmocka_unit_test(bf16_rounds_to_nearest_even),
        cmocka_unit_test(f16_values_are_exact),
        cmocka_unit_test(philox_gives_the_published_numbers),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
