/* test_model_shard.c - the cut of the published shapes over ranks, and the bookkeeping of pages */
#include "tests/check.h"

#include <stdlib.h>
#include <string.h>

#include "model/family.h"
#include "model/model.h"
#include "model/shard.h"

static const struct {
    struct model_config config;
    const int ranks[12]; /* that can hold it, up to 64; 0 ends */
    int64_t elements;    /* of all matrices of the published model, embedding table and head included */
} models[] = {
    {{.name = "3b", .layers = 36, .d = 2048, .h = 16, .g = 2, .c = 128, .ff = 11008, .vocabulary = 151936, .tied = true},
     {1, 2, 4, 8, 16},
     3085938688},
    {{.name = "7b", .layers = 28, .d = 3584, .h = 28, .g = 4, .c = 128, .ff = 18944, .vocabulary = 152064},
     {1, 2, 4, 28},
     7615616512},
    {{.name = "32b", .layers = 64, .d = 5120, .h = 40, .g = 8, .c = 128, .ff = 27648, .vocabulary = 152064},
     {1, 2, 4, 8, 40},
     32763876352},
    {{.name = "72b", .layers = 80, .d = 8192, .h = 64, .g = 8, .c = 128, .ff = 29568, .vocabulary = 152064},
     {1, 2, 4, 8, 16, 32, 64},
     72706203648},
    {{.name = "qwen25vl-tiny", .layers = 3, .d = 128, .h = 4, .g = 2, .c = 32, .ff = 232, .vocabulary = 672}, {1, 2, 4}, 0},
    {{.name = "qwen2-tiny", .layers = 2, .d = 64, .h = 4, .g = 2, .c = 16, .ff = 144, .vocabulary = 664, .tied = true},
     {1, 2, 4},
     0},
};
enum { MODELS = sizeof models / sizeof *models };

static void the_possible_rank_counts_are_these(void **state)
{
    (void)state;
    for (int i = 0; i < MODELS; i++)
        for (int ranks = 1, next = 0; ranks <= 64; ranks++) {
            struct error err = {""};
            int possible = !model_ranks_possible(&models[i].config, ranks, &err), wanted = models[i].ranks[next] == ranks;
            if (possible != wanted)
                fail_msg("%s on %d ranks: %s", models[i].config.name, ranks, possible ? "possible" : err.text);
            next += wanted;
        }
    struct error err;
    assert_int_equal(model_ranks_possible(&models[1].config, 7, &err), -1);
    assert_non_null(strstr(err.text, "7b: 7 ranks are neither a divisor nor a multiple of its 4 key/value heads"));
    assert_int_equal(model_ranks_possible(&models[1].config, 3, &err), -1);
    assert_non_null(strstr(err.text, "3 ranks do not divide its 28 query heads"));
    assert_int_equal(model_ranks_possible(&models[1].config, 0, &err), -1);
    assert_int_equal(model_ranks_possible(&models[1].config, -4, &err), -1);
}

/* Slices follow each other without gap or overlap, none is empty, and a rank has the key/value heads of its query heads. */
static void shards_join_to_the_whole_model(void **state)
{
    (void)state;
    for (int i = 0; i < MODELS; i++)
        for (int j = 0; models[i].ranks[j]; j++) {
            const struct model_config *c = &models[i].config;
            int ranks = models[i].ranks[j], h = 0, ff = 0, rows = 0;
            for (int rank = 0; rank < ranks; rank++) {
                struct shard s;
                assert_int_equal(shard_plan(&s, c, rank, ranks, NULL), 0);
                assert_int_equal(s.first_h, h);
                assert_int_equal(s.first_ff, ff);
                assert_int_equal(s.first_row, rows);
                assert_true(s.h > 0 && s.g > 0 && s.ff > 0 && s.rows > 0);
                assert_int_equal(s.first_ff % SHARD_UNIT, 0);
                for (int head = 0; head < s.h; head++) /* the kernel's rule on the shard, and the model's on the whole */
                    assert_int_equal(s.first_g + head / (s.h / s.g), (s.first_h + head) / (c->h / c->g));
                h += s.h;
                ff += s.ff;
                rows += s.rows;
            }
            assert_int_equal(h, c->h);
            assert_int_equal(ff, c->ff);
            assert_int_equal(rows, c->vocabulary);
        }
}

/* reference totals of the published models: blocks, final norm and tables. */
static void bytes_agree_with_the_published_parameter_counts(void **state)
{
    (void)state;
    for (int i = 0; models[i].elements; i++) {
        struct model_config c = models[i].config;
        c.family = family_find("qwen2_5_vl");
        int64_t vectors = (int64_t)c.layers * (2 * c.d + (c.h + 2 * c.g) * c.c) + c.d;
        assert_int_equal(model_shard_bytes(&c, 1, DTYPE_F32), models[i].elements * 4);
        assert_int_equal(model_shard_bytes(&c, 1, DTYPE_BF16), (models[i].elements - vectors) * 2 + vectors * 4);
        assert_int_equal(model_shard_bytes(&c, 3, DTYPE_BF16), -1);
    }
    assert_int_equal(model_position_bytes(&models[1].config, 1), 2 * 28 * 4 * 128 * 4);
    assert_int_equal(model_position_bytes(&models[1].config, 4), 2 * 28 * 128 * 4);
    assert_int_equal(model_position_bytes(&models[1].config, 28), 2 * 28 * 128 * 4); /* replicated */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_possible_rank_counts_are_these),
        cmocka_unit_test(shards_join_to_the_whole_model),
        cmocka_unit_test(bytes_agree_with_the_published_parameter_counts),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
