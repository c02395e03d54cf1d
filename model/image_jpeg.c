/* image_jpeg.c - JPEG through libjpeg-turbo (islow DCT, fancy upsampling: its defaults, stated because pixels depend on them) */
#include <setjmp.h>
#include <stdio.h>
#include <string.h>

#include <jerror.h>
#include <jpeglib.h>

#include "model/image_parts.h"

enum { SCANS_MAX = 200 }; /* a progressive file of a few bytes a scan may make the decoder walk a large picture for minutes */

struct job {
    struct jpeg_decompress_struct jpeg; /* first: callbacks get a pointer to it */
    struct jpeg_error_mgr errors;
    struct jpeg_progress_mgr progress;
    jmp_buf jump;
    struct decoding *d;
    struct image *image;
};

_Noreturn static void stop(j_common_ptr jpeg)
{
    struct job *job = (struct job *)jpeg;
    char text[JMSG_LENGTH_MAX];
    jpeg->err->format_message(jpeg, text);
    fail(job->d->err, "%s", text);
    longjmp(job->jump, 1);
}

/* Warnings are passed over, as image programs do, but data that ends early is an error: the rest would be grey. */
static void warn(j_common_ptr jpeg, int level)
{
    if (level < 0 && (jpeg->err->msg_code == JWRN_JPEG_EOF || jpeg->err->msg_code == JWRN_HIT_MARKER)) {
        struct job *job = (struct job *)jpeg;
        fail(job->d->err, "the file ends before the picture is complete");
        longjmp(job->jump, 1);
    }
}

static void watch(j_common_ptr jpeg)
{
    struct job *job = (struct job *)jpeg;
    if (job->jpeg.input_scan_number > SCANS_MAX) {
        fail(job->d->err, "the file has more than %d scans", SCANS_MAX);
        longjmp(job->jump, 1);
    }
}

static void start(struct job *job)
{
    job->jpeg.err = jpeg_std_error(&job->errors);
    job->errors.error_exit = stop;
    job->errors.emit_message = warn;
    jpeg_create_decompress(&job->jpeg);
    job->progress.progress_monitor = watch;
    job->jpeg.progress = &job->progress;
    jpeg_mem_src(&job->jpeg, job->d->bytes, job->d->size);
    jpeg_save_markers(&job->jpeg, JPEG_APP0 + 1, 0xffff);
    jpeg_read_header(&job->jpeg, TRUE);
}

static void find_orientation(struct job *job)
{
    for (jpeg_saved_marker_ptr m = job->jpeg.marker_list; m; m = m->next)
        if (m->data_length > 6 && memcmp(m->data, "Exif\0", 6) == 0) {
            job->d->orientation = exif_orientation(m->data, m->data_length);
            return;
        }
}

static int read_rows(struct job *job)
{
    struct jpeg_decompress_struct *jpeg = &job->jpeg;
    if (jpeg->jpeg_color_space == JCS_CMYK || jpeg->jpeg_color_space == JCS_YCCK)
        return fail(job->d->err, "the picture has CMYK colours; convert it to RGB");
    if (image_allocate(job->image, jpeg->image_width, jpeg->image_height, job->d))
        return -1;
    jpeg->out_color_space = JCS_RGB;
    jpeg->dct_method = JDCT_ISLOW;
    jpeg->do_fancy_upsampling = TRUE;
    jpeg_start_decompress(jpeg);
    while (jpeg->output_scanline < jpeg->output_height) {
        JSAMPROW row = job->image->rgb + (size_t)jpeg->output_scanline * (size_t)job->image->width * 3;
        jpeg_read_scanlines(jpeg, &row, 1);
    }
    return 0;
}

static int decode(struct job *job)
{
    if (setjmp(job->jump))
        return -1;
    start(job);
    find_orientation(job);
    return read_rows(job);
}

int image_decode_jpeg(struct image *image, struct decoding *d)
{
    struct job job = {.d = d, .image = image};
    int rc = decode(&job);
    jpeg_destroy_decompress(&job.jpeg);
    return rc;
}
