/* image_png.c - PNG through libpng: every kind becomes 8-bit RGB or RGBA on reading */
#include <setjmp.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include <png.h>

#include "model/image_parts.h"

struct job {
    png_structp png;
    png_infop info;
    jmp_buf jump;
    struct decoding *d;
    struct image *image;
    size_t at;
    uint8_t *rgba; /* (height, width, 4) where there is transparency */
};

_Noreturn static void stop(png_structp png, png_const_charp text)
{
    struct job *job = png_get_error_ptr(png);
    fail(job->d->err, "%s", text);
    longjmp(job->jump, 1);
}

static void warn(png_structp png, png_const_charp text)
{
    (void)png;
    (void)text; /* about chunks that the picture does not need */
}

static void feed(png_structp png, png_bytep out, size_t size)
{
    struct job *job = png_get_io_ptr(png);
    if (size > job->d->size - job->at)
        png_error(png, "the file ends before the picture is complete");
    memcpy(out, job->d->bytes + job->at, size);
    job->at += size;
}

static void find_orientation(struct job *job)
{
    png_bytep block;
    png_uint_32 size;
    if (png_get_eXIf_1(job->png, job->info, &size, &block))
        job->d->orientation = exif_orientation(block, size);
}

/* Asks for 8-bit RGB, or RGBA where the file has any transparency; returns whether it has. */
static bool ask_for_rgb(struct job *job)
{
    png_set_expand(job->png);   /* palette, few bits, a transparent colour */
    png_set_strip_16(job->png); /* the high byte */
    png_set_gray_to_rgb(job->png);
    return png_get_color_type(job->png, job->info) & PNG_COLOR_MASK_ALPHA || png_get_valid(job->png, job->info, PNG_INFO_tRNS);
}

static int read_rows(struct job *job)
{
    if (image_allocate(job->image, png_get_image_width(job->png, job->info), png_get_image_height(job->png, job->info), job->d))
        return -1;
    size_t width = (size_t)job->image->width, height = (size_t)job->image->height;
    bool clear = ask_for_rgb(job);
    int passes = png_set_interlace_handling(job->png);
    png_read_update_info(job->png, job->info);
    size_t stride = width * (clear ? 4 : 3);
    if (png_get_rowbytes(job->png, job->info) != stride)
        return fail(job->d->err, "rows of %zu bytes where %zu were expected", png_get_rowbytes(job->png, job->info), stride);
    if (clear && !(job->rgba = malloc(stride * height)))
        return fail(job->d->err, "no memory for a picture of %zu x %zu pixels", width, height);
    for (int pass = 0; pass < passes; pass++)
        for (size_t y = 0; y < height; y++)
            png_read_row(job->png, (clear ? job->rgba : job->image->rgb) + y * stride, NULL);
    if (clear)
        image_flatten(job->image->rgb, job->rgba, width * height);
    return 0;
}

static int decode(struct job *job)
{
    if (setjmp(job->jump))
        return -1;
    job->png = png_create_read_struct(PNG_LIBPNG_VER_STRING, job, stop, warn);
    job->info = job->png ? png_create_info_struct(job->png) : NULL;
    if (!job->info)
        return fail(job->d->err, "no memory to read the picture");
    png_set_read_fn(job->png, job, feed);
    png_read_info(job->png, job->info);
    find_orientation(job);
    return read_rows(job);
}

int image_decode_png(struct image *image, struct decoding *d)
{
    struct job job = {.d = d, .image = image};
    int rc = decode(&job);
    png_destroy_read_struct(&job.png, &job.info, NULL);
    free(job.rgba);
    return rc;
}
