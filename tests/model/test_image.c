/* test_image.c - picture files of every kind to upright RGB, the resize of Pillow, and files that are broken or lie */
#include "tests/check.h"

#include "base/random.h"
#include "model/image.h"
#include "tests/model/cases.h"
#include "tests/model/pictures.h"

enum { LIMIT = 1 << 22 };

static void expect_equal(const struct image *image, const uint8_t *rgb, int width, int height, const char *what)
{
    if (image->width != width || image->height != height)
        fail_msg("%s: %d x %d pixels, not %d x %d", what, image->width, image->height, width, height);
    for (int i = 0; i < width * height * 3; i++)
        if (image->rgb[i] != rgb[i])
            fail_msg("%s: byte %d is %d, not %d", what, i, image->rgb[i], rgb[i]);
}

static void expect_golden(struct safetensors *st, const char *name, int i, const struct image *image, const char *what)
{
    const struct tensor *t;
    uint8_t *want = case_tensor(st, name, i, &t);
    expect_equal(image, want, (int)t->shape[1], (int)t->shape[0], what);
    free(want);
}

static void check_folder(const char *folder, enum image_filter filter)
{
    json_t *cases = cases_read(folder);
    int pictures = 0;
    for (size_t k = 0; k < json_array_size(cases); k++) {
        const json_t *test = json_array_get(cases, k), *images = json_object_get(test, "images");
        struct safetensors *st = case_open(folder, test);
        for (size_t i = 0; i < json_array_size(images); i++, pictures++) {
            char path[200];
            snprintf(path, sizeof path, "tests/golden/images/%s", json_string_value(json_array_get(images, i)));
            struct image image, resized;
            struct error err;
            size_t size;
            unsigned char *bytes = case_file(path, &size);
            if (image_decode(&image, bytes, size, LIMIT, &err))
                fail_msg("%s: %s", path, err.text);
            expect_golden(st, "decoded", (int)i, &image, path);
            const struct tensor *t;
            free(case_tensor(st, "resized", (int)i, &t));
            assert_int_equal(image_resize(&resized, &image, (int)t->shape[1], (int)t->shape[0], filter, &err), 0);
            expect_golden(st, "resized", (int)i, &resized, path);
            image_free(&image);
            image_free(&resized);
            free(bytes);
        }
        safetensors_close(st);
    }
    assert_true(pictures >= 15);
    json_decref(cases);
}

static void every_golden_picture_decodes_and_resizes_exactly(void **state)
{
    (void)state;
    check_folder("qwen25vl-tiny", IMAGE_BICUBIC);
    check_folder("gemma3-tiny", IMAGE_BILINEAR);
}

/* CRC-32 of resized pictures whose bytes are a linear congruential sequence, computed by an independent program that is bit for bit
 * Pillow before version 13. */
static void resizes_have_the_sums_of_the_reference(void **state)
{
    (void)state;
    static const struct {
        int height, width, out_height, out_width;
        uint32_t bicubic, bilinear;
    } cases[] = {
        {33, 47, 28, 56, 0xf55021db, 0x5cc7c515},  {100, 60, 112, 56, 0x7a2f2152, 0xd9736c35},
        {60, 80, 56, 84, 0xb44a6b98, 0xe585f3b1},  {75, 100, 56, 84, 0xceb15636, 0xc02a406d},
        {20, 30, 96, 96, 0xd9c559f9, 0x3fbbc843},  {120, 160, 64, 64, 0xf3025360, 0x72653285},
        {150, 97, 84, 84, 0x183aedf8, 0x0c416151}, {56, 84, 56, 56, 0x9102aa8d, 0xcb3d2c92},
    };
    for (size_t k = 0; k < sizeof cases / sizeof *cases; k++) {
        struct image in = {cases[k].width, cases[k].height, malloc((size_t)(cases[k].width * cases[k].height * 3))}, out;
        uint32_t s = 1;
        for (int i = 0; i < in.width * in.height * 3; i++) {
            s = s * 1664525 + 1013904223;
            in.rgb[i] = (uint8_t)(s >> 24);
        }
        for (int filter = 0; filter < 2; filter++) {
            assert_int_equal(
                image_resize(&out, &in, cases[k].out_width, cases[k].out_height, filter ? IMAGE_BILINEAR : IMAGE_BICUBIC, NULL), 0);
            assert_int_equal(crc32_of(out.rgb, (size_t)(out.width * out.height * 3)),
                             filter ? cases[k].bilinear : cases[k].bicubic);
            image_free(&out);
        }
        image_free(&in);
    }
}

static void a_resize_to_nothing_is_an_error(void **state)
{
    (void)state;
    uint8_t pixel[3] = {1, 2, 3};
    const struct image in = {1, 1, pixel};
    struct image out;
    struct error err;
    assert_int_equal(image_resize(&out, &in, 0, 5, IMAGE_BICUBIC, &err), -1);
    assert_int_equal(image_resize(&out, &in, 5, -1, IMAGE_BICUBIC, &err), -1);
    assert_int_equal(image_resize(&out, &in, 3, 2, IMAGE_BICUBIC, &err), 0); /* one pixel fills anything */
    for (int i = 0; i < 18; i++)
        assert_int_equal(out.rgb[i], 1 + i % 3);
    image_free(&out);
}

static void expect_decoded(struct file file, const uint8_t *rgb, int width, int height, const char *what)
{
    struct image image;
    struct error err;
    if (image_decode(&image, file.bytes, file.size, LIMIT, &err))
        fail_msg("%s: %s", what, err.text);
    expect_equal(&image, rgb, width, height, what);
    image_free(&image);
    free(file.bytes);
}

/* Orientation says where row 0 and column 0 of the stored picture lie in the upright one (EXIF 2.3): top left, top right, bottom
 * right, bottom left, left top, right top, right bottom, left bottom. Stored here: a b c over d e f. */
static void all_eight_orientations_come_out_upright(void **state)
{
    (void)state;
    static const char *const upright[8] = {"abcdef", "cbafed", "fedcba", "defabc", "adbecf", "daebfc", "fcebda", "cfbead"};
    uint8_t stored[18], want[18];
    for (int i = 0; i < 18; i++)
        stored[i] = (uint8_t)(10 * (i / 3) + i % 3);
    for (int o = 1; o <= 8; o++) {
        struct png_kind kind = {3, 2, PNG_COLOR_TYPE_RGB, 8, PNG_INTERLACE_NONE, stored, 9, NULL, o};
        for (int i = 0; i < 6; i++)
            memcpy(want + 3 * i, stored + 3 * (upright[o - 1][i] - 'a'), 3);
        expect_decoded(png_file(&kind), want, o < 5 ? 3 : 2, o < 5 ? 2 : 3, "orientation");
    }
    struct png_kind silly = {3, 2, PNG_COLOR_TYPE_RGB, 8, PNG_INTERLACE_NONE, stored, 9, NULL, 77};
    expect_decoded(png_file(&silly), stored, 3, 2, "orientation 77");
}

static void every_kind_of_png_becomes_rgb(void **state)
{
    (void)state;
    /* 2 x 2 each, and what they are over white. */
    static const uint8_t bits[] = {0x40, 0x80}, quarter[] = {0x10, 0xb0}, rgb16[] = {1, 200, 2, 200, 3, 200, 4, 5, 6, 7, 8, 9};
    static const uint8_t bits_rgb[] = {0, 0, 0, 255, 255, 255, 255, 255, 255, 0, 0, 0};
    static const uint8_t quarter_rgb[] = {0, 0, 0, 85, 85, 85, 170, 170, 170, 255, 255, 255};
    static const uint8_t clear_rgb[] = {0, 0, 0, 255, 255, 255, 170, 170, 170, 255, 255, 255};
    static const uint8_t grey_alpha[] = {100, 255, 100, 0, 100, 128, 0, 1};
    static const uint8_t grey_alpha_rgb[] = {100, 100, 100, 255, 255, 255, 177, 177, 177, 254, 254, 254};
    static const uint8_t rgb16_rgb[] = {1, 2, 3, 4, 6, 8};
    static const png_color_16 clear = {.gray = 1};
    const struct png_kind one_bit = {2, 2, PNG_COLOR_TYPE_GRAY, 1, PNG_INTERLACE_NONE, bits, 1, NULL, 0};
    const struct png_kind two_bits = {2, 2, PNG_COLOR_TYPE_GRAY, 2, PNG_INTERLACE_ADAM7, quarter, 1, NULL, 0};
    const struct png_kind one_clear = {2, 2, PNG_COLOR_TYPE_GRAY, 2, PNG_INTERLACE_NONE, quarter, 1, &clear, 0};
    const struct png_kind alpha = {2, 2, PNG_COLOR_TYPE_GRAY_ALPHA, 8, PNG_INTERLACE_NONE, grey_alpha, 4, NULL, 0};
    const struct png_kind deep = {2, 1, PNG_COLOR_TYPE_RGB, 16, PNG_INTERLACE_NONE, rgb16, 12, NULL, 0};
    expect_decoded(png_file(&one_bit), bits_rgb, 2, 2, "1 bit");
    expect_decoded(png_file(&two_bits), quarter_rgb, 2, 2, "2 bits, interlaced");
    expect_decoded(png_file(&one_clear), clear_rgb, 2, 2, "2 bits, one clear");
    expect_decoded(png_file(&alpha), grey_alpha_rgb, 2, 2, "grey and alpha");
    expect_decoded(png_file(&deep), rgb16_rgb, 2, 1, "16 bits");
}

static void an_interlaced_png_is_the_same_picture(void **state)
{
    (void)state;
    uint8_t pixels[13 * 11 * 3];
    for (size_t i = 0; i < sizeof pixels; i++)
        pixels[i] = (uint8_t)(i * 37);
    const struct png_kind kind = {13, 11, PNG_COLOR_TYPE_RGB, 8, PNG_INTERLACE_ADAM7, pixels, 39, NULL, 0};
    expect_decoded(png_file(&kind), pixels, 13, 11, "interlaced");
}

static void webp_decodes_with_and_without_transparency(void **state)
{
    (void)state;
    uint8_t rgb[5 * 3 * 3], rgba[2 * 2 * 4] = {9, 8, 7, 255, 1, 2, 3, 0, 100, 100, 100, 128, 0, 255, 0, 64};
    static const uint8_t over_white[] = {9, 8, 7, 255, 255, 255, 177, 177, 177, 191, 255, 191};
    for (size_t i = 0; i < sizeof rgb; i++)
        rgb[i] = (uint8_t)(i * 11);
    expect_decoded(webp_file(5, 3, 3, rgb), rgb, 5, 3, "WebP");
    expect_decoded(webp_file(2, 2, 4, rgba), over_white, 2, 2, "WebP with alpha");
}

static void a_picture_of_one_pixel_decodes_in_every_format(void **state)
{
    (void)state;
    static const uint8_t pixel[3] = {128, 128, 128};
    const struct png_kind kind = {1, 1, PNG_COLOR_TYPE_RGB, 8, PNG_INTERLACE_NONE, pixel, 3, NULL, 0};
    expect_decoded(png_file(&kind), pixel, 1, 1, "PNG");
    expect_decoded(webp_file(1, 1, 3, pixel), pixel, 1, 1, "WebP");
    expect_decoded(jpeg_file(1, 1, 3, pixel), pixel, 1, 1, "JPEG"); /* mid-grey survives the DCT */
    expect_decoded(jpeg_file(1, 1, 1, pixel), pixel, 1, 1, "grey JPEG");
}

static void expect_refused(struct file file, int64_t limit, const char *why)
{
    struct image image = {.rgb = NULL};
    struct error err = {""};
    int rc = image_decode(&image, file.bytes, file.size, limit, &err);
    bool large = strstr(why, "at most");
    if (rc != (large ? IMAGE_TOO_LARGE : -1) || !strstr(err.text, why))
        fail_msg("%d, \"%s\" has no \"%s\"", rc, err.text, why);
    free(file.bytes);
}

static struct file file_of(const void *bytes, size_t size)
{
    struct file file = {malloc(size + 1), size};
    memcpy(file.bytes, bytes, size);
    return file;
}

static struct file png_of_size(uint32_t width, uint32_t height)
{
    static const uint8_t pixel[3] = {1, 2, 3};
    const struct png_kind kind = {1, 1, PNG_COLOR_TYPE_RGB, 8, PNG_INTERLACE_NONE, pixel, 3, NULL, 0};
    struct file file = png_file(&kind);
    png_lie(&file, width, height);
    return file;
}

static struct file jpeg_of_size(unsigned width, unsigned height)
{
    static const uint8_t pixels[64 * 3];
    struct file file = jpeg_file(8, 8, 3, pixels);
    jpeg_lie(&file, width, height);
    return file;
}

static void files_that_are_no_picture_are_named(void **state)
{
    (void)state;
    expect_refused(file_of("", 0), LIMIT, "the picture is empty (0 bytes)");
    expect_refused(file_of("\xff", 1), LIMIT, "no JPEG, PNG or WebP file (1 bytes, first ff 00 00 00)");
    expect_refused(file_of("GIF89a\1\0\1\0", 10), LIMIT, "no JPEG, PNG or WebP file (10 bytes, first 47 49 46 38)");
    expect_refused(file_of("<svg></svg>", 11), LIMIT, "no JPEG, PNG or WebP");
    expect_refused(file_of("\xff\xd8\xff", 3), LIMIT, "JPEG: ");
    expect_refused(file_of("\xff\xd8\xff\xd9", 4), LIMIT, "JPEG: ");
    expect_refused(file_of("\x89PNG\r\n\x1a\n", 8), LIMIT, "PNG: the file ends");
    expect_refused(file_of("RIFF\x04\0\0\0WEBP", 12), LIMIT, "WebP: ");
    expect_refused(file_of("RIFF\xff\xff\xff\xffWEBPVP8 \xff\xff\xff\xff", 20), LIMIT, "WebP: ");
}

static void sizes_are_checked_before_decoding(void **state)
{
    (void)state;
    expect_refused(png_of_size(0, 1), LIMIT, "PNG: ");
    expect_refused(png_of_size(1, 0), LIMIT, "PNG: ");
    expect_refused(png_of_size(0xffffffff, 1), LIMIT, "PNG: ");
    expect_refused(png_of_size(999999, 999999), LIMIT, "PNG: the picture has 999999 x 999999 pixels; at most 4194304");
    expect_refused(png_of_size(2000, 2000), LIMIT, "PNG: "); /* within the limit, but the data is not there */
    expect_refused(jpeg_of_size(0, 8), LIMIT, "JPEG: ");
    expect_refused(jpeg_of_size(8, 0), LIMIT, "JPEG: ");
    expect_refused(jpeg_of_size(65535, 65535), LIMIT, "JPEG: ");
    expect_refused(jpeg_of_size(65000, 65000), LIMIT, "JPEG: the picture has 65000 x 65000 pixels; at most 4194304");
    expect_refused(jpeg_of_size(2000, 2000), LIMIT, "JPEG: the file ends before the picture is complete");
    static const uint8_t pixels[4 * 4 * 4];
    expect_refused(webp_file(4, 4, 3, pixels), 15, "WebP: the picture has 4 x 4 pixels; at most 15 are accepted");
    expect_refused(jpeg_file(4, 4, 4, pixels), LIMIT, "JPEG: the picture has CMYK colours; convert it to RGB");
}

static const char *const files[] = {"clear.png", "deep.png",  "grey.jpg",  "grey.png",        "palette.png",
                                    "photo.jpg", "scene.png", "speck.png", "progressive.jpg", "turned.jpg"};

static struct file golden_picture(size_t i)
{
    char path[100];
    snprintf(path, sizeof path, "tests/golden/images/%s", files[i]);
    struct file file;
    file.bytes = case_file(path, &file.size);
    return file;
}

static void a_cut_file_is_an_error_that_says_so(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof files / sizeof *files; i++) {
        struct file whole = golden_picture(i);
        for (size_t part = 0; part < 8; part++) /* of eight; what follows the pixels may be missing */
            expect_refused(file_of(whole.bytes, whole.size * part / 8), LIMIT, part ? ": " : "empty");
        free(whole.bytes);
    }
    uint8_t noise[32 * 32 * 3];
    for (size_t i = 0; i < sizeof noise; i++) {
        uint32_t bits[4];
        random_bits(bits, 5, 0, i);
        noise[i] = (uint8_t)bits[0];
    }
    struct file webp = webp_file(32, 32, 3, noise);
    for (size_t part = 1; part < 16; part++)
        expect_refused(file_of(webp.bytes, webp.size * part / 16), LIMIT, "");
    free(webp.bytes);
}

/* Whatever the damage: a picture or an error, within the limit of pixels. The sanitizers watch. */
static void damaged_files_do_no_harm(void **state)
{
    (void)state;
    const uint64_t seed = 20261122;
    for (size_t i = 0; i < sizeof files / sizeof *files; i++) {
        struct file whole = golden_picture(i);
        for (uint64_t round = 0; round < 60; round++) {
            struct file file = file_of(whole.bytes, whole.size);
            for (uint64_t hit = 0; hit <= round % 8; hit++) {
                uint32_t bits[4];
                random_bits(bits, seed, i, round * 8 + hit);
                size_t span = bits[2] % 2 && file.size > 256 ? 256 : file.size; /* half of the hits go to the headers */
                file.bytes[bits[0] % span] = (unsigned char)bits[1];
            }
            struct image image = {.rgb = NULL};
            struct error err = {""};
            if (image_decode(&image, file.bytes, file.size, 1 << 20, &err))
                assert_true(err.text[0] && !image.rgb);
            else
                assert_true((int64_t)image.width * image.height <= 1 << 20);
            image_free(&image);
            free(file.bytes);
        }
        free(whole.bytes);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_golden_picture_decodes_and_resizes_exactly),
        cmocka_unit_test(resizes_have_the_sums_of_the_reference),
        cmocka_unit_test(a_resize_to_nothing_is_an_error),
        cmocka_unit_test(all_eight_orientations_come_out_upright),
        cmocka_unit_test(every_kind_of_png_becomes_rgb),
        cmocka_unit_test(an_interlaced_png_is_the_same_picture),
        cmocka_unit_test(webp_decodes_with_and_without_transparency),
        cmocka_unit_test(a_picture_of_one_pixel_decodes_in_every_format),
        cmocka_unit_test(files_that_are_no_picture_are_named),
        cmocka_unit_test(sizes_are_checked_before_decoding),
        cmocka_unit_test(a_cut_file_is_an_error_that_says_so),
        cmocka_unit_test(damaged_files_do_no_harm),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
