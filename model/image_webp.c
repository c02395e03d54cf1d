/* image_webp.c - WebP through libwebp */
#include <stdlib.h>

#include <webp/decode.h>
#include <webp/demux.h>

#include "model/image_parts.h"

static const char *reason(VP8StatusCode status)
{
    switch (status) {
    case VP8_STATUS_OUT_OF_MEMORY:
        return "no memory";
    case VP8_STATUS_UNSUPPORTED_FEATURE:
        return "a feature that is not supported";
    case VP8_STATUS_NOT_ENOUGH_DATA:
    case VP8_STATUS_SUSPENDED:
        return "the file ends before the picture is complete";
    default:
        return "the data is broken";
    }
}

static void find_orientation(struct decoding *d)
{
    WebPData data = {d->bytes, d->size};
    WebPDemuxer *demuxer = WebPDemux(&data);
    WebPChunkIterator chunk;
    if (demuxer && WebPDemuxGetChunk(demuxer, "EXIF", 1, &chunk)) {
        d->orientation = exif_orientation(chunk.chunk.bytes, chunk.chunk.size);
        WebPDemuxReleaseChunkIterator(&chunk);
    }
    WebPDemuxDelete(demuxer);
}

static int read_pixels(WebPDecoderConfig *config, uint8_t *pixels, size_t depth, const struct image *image, struct decoding *d)
{
    config->output.colorspace = depth == 4 ? MODE_RGBA : MODE_RGB;
    config->output.is_external_memory = 1;
    config->output.u.RGBA.rgba = pixels;
    config->output.u.RGBA.stride = image->width * (int)depth;
    config->output.u.RGBA.size = (size_t)image->width * (size_t)image->height * depth;
    VP8StatusCode status = WebPDecode(d->bytes, d->size, config);
    WebPFreeDecBuffer(&config->output);
    return status == VP8_STATUS_OK ? 0 : fail(d->err, "%s", reason(status));
}

static int read_over_white(WebPDecoderConfig *config, struct image *image, struct decoding *d)
{
    size_t count = (size_t)image->width * (size_t)image->height;
    uint8_t *rgba = malloc(count * 4);
    if (!rgba)
        return fail(d->err, "no memory for a picture of %d x %d pixels", image->width, image->height);
    int rc = read_pixels(config, rgba, 4, image, d);
    if (!rc)
        image_flatten(image->rgb, rgba, count);
    free(rgba);
    return rc;
}

int image_decode_webp(struct image *image, struct decoding *d)
{
    WebPDecoderConfig config;
    if (!WebPInitDecoderConfig(&config))
        return fail(d->err, "libwebp has another version than its headers");
    VP8StatusCode status = WebPGetFeatures(d->bytes, d->size, &config.input);
    if (status != VP8_STATUS_OK)
        return fail(d->err, "%s", reason(status));
    if (config.input.has_animation)
        return fail(d->err, "the picture is animated; send one frame");
    if (image_allocate(image, config.input.width, config.input.height, d))
        return -1;
    find_orientation(d);
    return config.input.has_alpha ? read_over_white(&config, image, d) : read_pixels(&config, image->rgb, 3, image, d);
}
