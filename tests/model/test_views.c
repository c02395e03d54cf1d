/* test_views.c - crops of pictures (pan-and-scan): which there are and their pixels against the reference, and what cannot be cut
 */
#include "tests/check.h"

#include "model/views.h"
#include "tests/model/pan_and_scan.h"

/* The picture that make.py draws. */
static struct image draw(int width, int height)
{
    struct image image = {width, height, malloc((size_t)width * (size_t)height * 3)};
    uint8_t *to = image.rgb;
    for (int y = 0; y < height; y++)
        for (int x = 0; x < width; x++)
            for (int c = 0; c < 3; c++)
                *to++ = (uint8_t)((x * 7 + y * 13 + c * 29 + x * y % 31 * 5) & 255);
    return image;
}

/* FNV-1a of the bytes (height, width, 3) that a view was made of. */
static uint64_t view_hash(const struct patches *patches, const struct model_config *config)
{
    size_t plane = (size_t)config->picture.side * (size_t)config->picture.side;
    float *planes = malloc(3 * plane * sizeof *planes);
    uint64_t hash = 0xcbf29ce484222325;
    patches_planes(planes, patches, config);
    for (size_t i = 0; i < plane; i++)
        for (size_t c = 0; c < 3; c++)
            hash = (hash ^ (uint64_t)lrint((planes[c * plane + i] * 0.5 + 0.5) * 255)) * 0x100000001b3;
    free(planes);
    return hash;
}

static int number_of(const json_t *test, const char *name)
{
    return (int)json_integer_value(json_object_get(test, name));
}

static void expect_case(const struct model_config *gemma, const json_t *test)
{
    struct error err = {""};
    struct model_config config = *gemma;
    int w = number_of(test, "width"), h = number_of(test, "height"), crop[2] = {0, 0};
    config.picture.crops = true;
    config.picture.crop_least = number_of(test, "least");
    config.picture.crop_most = number_of(test, "most");
    config.picture.crop_ratio = json_number_value(json_object_get(test, "ratio"));
    int crops = views_crops(&config.picture, w, h, &crop[0], &crop[1], &err);
    const json_t *want = json_object_get(test, "crop"), *hashes = json_object_get(test, "views");
    if (crops != number_of(test, "crops"))
        fail_msg("%d x %d: %d crops, %s", w, h, crops, err.text);
    for (size_t i = 0; i < 2; i++)
        assert_int_equal(crop[i], json_integer_value(json_array_get(want, i)));
    struct image image = draw(w, h);
    struct views views;
    assert_int_equal(views_make(&views, &image, &config, &err), 0);
    assert_int_equal(views.n, json_array_size(hashes));
    for (int i = 0; i < views.n; i++) {
        char hash[20];
        snprintf(hash, sizeof hash, "%016llx", (unsigned long long)view_hash(&views.patches[i], &config));
        assert_string_equal(hash, json_string_value(json_array_get(hashes, (size_t)i)));
    }
    struct picture_shape shape = views_shape(&views, &config);
    assert_true(shape.lines == 4 && shape.columns == 4 && shape.crops == crops);
    views_free(&views);
    image_free(&image);
}

static void crops_and_their_pixels_are_those_of_the_reference(void **state)
{
    struct error err;
    struct model_config config;
    json_t *cases = pan_and_scan_cases("sizes");
    (void)state;
    assert_int_equal(config_read(&config, "tests/golden/gemma3-tiny", &err), 0);
    for (size_t i = 0; i < json_array_size(cases); i++)
        expect_case(&config, json_array_get(cases, i));
    json_decref(cases);
}

static void without_pan_and_scan_there_is_the_picture_alone(void **state)
{
    static const char *const folders[] = {"tests/golden/gemma3-tiny", "tests/golden/qwen25vl-tiny"};
    struct image image = draw(400, 100);
    (void)state;
    for (size_t i = 0; i < 2; i++) {
        struct error err;
        struct model_config config;
        struct views views;
        assert_int_equal(config_read(&config, folders[i], &err), 0);
        config.picture.crop_least = 20;
        assert_int_equal(views_make(&views, &image, &config, &err), 0);
        assert_int_equal(views.n, 1);
        assert_int_equal(views_shape(&views, &config).crops, 0);
        views_free(&views);
    }
    image_free(&image);
}

/* 9 pixels in 4 crops of 3: the last would begin behind the end. The reference fails, too. */
static void a_picture_too_small_for_its_crops_is_refused(void **state)
{
    const struct picture_config p = {.crops = true, .crop_most = 4, .crop_least = 1, .crop_ratio = 1.2};
    struct error err = {""};
    int w, h;
    (void)state;
    assert_int_equal(views_crops(&p, 9, 2, &w, &h, &err), -1);
    assert_string_equal(err.text,
                        "a picture of 9 x 2 pixels cannot be cut into 4 crops of 3 pixels (pan_and_scan_min_crop_size 1)");
    assert_int_equal(views_crops(&p, 2, 9, &w, &h, &err), -1);
    assert_int_equal(views_crops(&p, 10, 2, &w, &h, &err), 4);
    assert_int_equal(views_crops(&p, INT32_MAX, 1, &w, &h, &err), 4);
    assert_int_equal(w, 1 << 29);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(crops_and_their_pixels_are_those_of_the_reference),
        cmocka_unit_test(without_pan_and_scan_there_is_the_picture_alone),
        cmocka_unit_test(a_picture_too_small_for_its_crops_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
