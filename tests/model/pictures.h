/* pictures.h - small picture files of every kind, written in memory for tests of the decoders */
#ifndef TESTS_MODEL_PICTURES_H
#define TESTS_MODEL_PICTURES_H

#include "tests/check.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <jpeglib.h>
#include <png.h>
#include <webp/encode.h>

struct file {
    unsigned char *bytes;
    size_t size;
};

/* A PNG to write; rows are width * channels samples of depth bits, packed as PNG packs them. */
struct png_kind {
    int width, height, colour, depth;
    int interlace;             /* PNG_INTERLACE_... */
    const unsigned char *rows; /* (height, stride) */
    size_t stride;
    const png_color_16 *clear; /* the transparent colour, or NULL */
    int orientation;           /* eXIf, 0 = none */
};

static inline void file_append(png_structp png, png_bytep bytes, size_t size)
{
    struct file *file = png_get_io_ptr(png);
    file->bytes = realloc(file->bytes, file->size + size);
    memcpy(file->bytes + file->size, bytes, size);
    file->size += size;
}

static inline void file_flush(png_structp png)
{
    (void)png;
}

/* A TIFF head and one entry: Orientation, SHORT. */
static inline void exif_block(unsigned char block[26], int orientation)
{
    static const unsigned char form[26] = {'M', 'M', 0, 42, 0, 0, 0, 8, 0, 1, 0x01, 0x12, 0, 3, 0, 0, 0, 1};
    memcpy(block, form, sizeof form);
    block[19] = (unsigned char)orientation;
}

static inline struct file png_file(const struct png_kind *kind)
{
    struct file file = {NULL, 0};
    png_structp png = png_create_write_struct(PNG_LIBPNG_VER_STRING, NULL, NULL, NULL);
    png_infop info = png_create_info_struct(png);
    png_set_write_fn(png, &file, file_append, file_flush);
    png_set_IHDR(png, info, (png_uint_32)kind->width, (png_uint_32)kind->height, kind->depth, kind->colour, kind->interlace,
                 PNG_COMPRESSION_TYPE_DEFAULT, PNG_FILTER_TYPE_DEFAULT);
    if (kind->clear)
        png_set_tRNS(png, info, NULL, 0, kind->clear);
    unsigned char block[26];
    exif_block(block, kind->orientation);
    if (kind->orientation)
        png_set_eXIf_1(png, info, sizeof block, block);
    png_write_info(png, info);
    int passes = png_set_interlace_handling(png);
    for (int pass = 0; pass < passes; pass++)
        for (int y = 0; y < kind->height; y++)
            png_write_row(png, kind->rows + (size_t)y * kind->stride);
    png_write_end(png, NULL);
    png_destroy_write_struct(&png, &info);
    return file;
}

/* channels: 1 grey, 3 RGB, 4 CMYK. */
static inline struct file jpeg_file(int width, int height, int channels, const unsigned char *pixels)
{
    struct jpeg_compress_struct jpeg;
    struct jpeg_error_mgr errors;
    struct file file = {NULL, 0};
    unsigned long size = 0;
    jpeg.err = jpeg_std_error(&errors);
    jpeg_create_compress(&jpeg);
    jpeg_mem_dest(&jpeg, &file.bytes, &size);
    jpeg.image_width = (JDIMENSION)width;
    jpeg.image_height = (JDIMENSION)height;
    jpeg.input_components = channels;
    jpeg.in_color_space = channels == 1 ? JCS_GRAYSCALE : channels == 3 ? JCS_RGB : JCS_CMYK;
    jpeg_set_defaults(&jpeg);
    jpeg_start_compress(&jpeg, TRUE);
    while (jpeg.next_scanline < jpeg.image_height) {
        JSAMPROW row = (JSAMPROW)(uintptr_t)(pixels + (size_t)jpeg.next_scanline * (size_t)(width * channels));
        jpeg_write_scanlines(&jpeg, &row, 1);
    }
    jpeg_finish_compress(&jpeg);
    jpeg_destroy_compress(&jpeg);
    file.size = size;
    return file;
}

/* Lossless: pixels come back as they were. channels 3 or 4. */
static inline struct file webp_file(int width, int height, int channels, const unsigned char *pixels)
{
    struct file file;
    uint8_t *bytes;
    file.size = channels == 4 ? WebPEncodeLosslessRGBA(pixels, width, height, 4 * width, &bytes)
                              : WebPEncodeLosslessRGB(pixels, width, height, 3 * width, &bytes);
    file.bytes = malloc(file.size);
    memcpy(file.bytes, bytes, file.size);
    WebPFree(bytes);
    return file;
}

/* CRC-32 of PNG and zlib, to lie in a chunk without being caught by its sum. */
static inline uint32_t crc32_of(const unsigned char *bytes, size_t size)
{
    uint32_t crc = UINT32_MAX;
    for (size_t i = 0; i < size; i++) {
        crc ^= bytes[i];
        for (int bit = 0; bit < 8; bit++)
            crc = crc >> 1 ^ (crc & 1 ? 0xedb88320u : 0);
    }
    return ~crc;
}

static inline void put_big_endian(unsigned char *to, uint32_t value)
{
    for (int i = 0; i < 4; i++)
        to[i] = (unsigned char)(value >> (24 - 8 * i));
}

/* Lets a PNG say another size, with a right sum. */
static inline void png_lie(struct file *file, uint32_t width, uint32_t height)
{
    put_big_endian(file->bytes + 16, width);
    put_big_endian(file->bytes + 20, height);
    put_big_endian(file->bytes + 29, crc32_of(file->bytes + 12, 17));
}

/* Lets a JPEG say another size: the fields of its frame header. */
static inline void jpeg_lie(struct file *file, unsigned width, unsigned height)
{
    for (size_t at = 2; at + 9 < file->size; at += 2 + (size_t)(file->bytes[at + 2] << 8 | file->bytes[at + 3]))
        if (file->bytes[at + 1] == 0xc0 || file->bytes[at + 1] == 0xc2) {
            unsigned char size[4] = {(unsigned char)(height >> 8), (unsigned char)height, (unsigned char)(width >> 8),
                                     (unsigned char)width};
            memcpy(file->bytes + at + 5, size, sizeof size);
            return;
        }
    assert_true(0);
}

#endif
