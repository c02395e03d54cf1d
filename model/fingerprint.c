/* fingerprint.c - which checkpoint this is, in 128 bits */
#include "model/fingerprint.h"

#include <stdio.h>
#include <xxhash.h>

#include "model/family.h"

/* Floats in hexadecimal: their bits, not their rounding. */
static int numbers_print(char *text, size_t size, const struct model_config *c)
{
    int n = snprintf(
        text, size,
        "%s layers %d d %d h %d g %d c %d ff %d vocabulary %d tied %d eps %a theta %a mrope %d %d %d positions %d image %d %d %d",
        c->family->model_type, c->layers, c->d, c->h, c->g, c->c, c->ff, c->vocabulary, c->tied, (double)c->norm_eps,
        (double)c->rope_theta, c->mrope_section[0], c->mrope_section[1], c->mrope_section[2], c->max_positions, c->image_id,
        c->vision_start_id, c->vision_end_id);
    XXH128_hash_t local = XXH3_128bits(c->local, sizeof c->local);
    return n + snprintf(text + n, size - (size_t)n, " factor %a window %d local %016llx theta %a scalar %d caps %a %a",
                        (double)c->rope_factor, c->window, (unsigned long long)local.low64, (double)c->local_theta, c->query_scalar,
                        (double)c->attention_cap, (double)c->score_cap);
}

int model_fingerprint(struct safetensors *st, const struct model_config *config, uint64_t hash[2], struct error *err)
{
    char text[1024];
    uint64_t tensors[2];
    if (safetensors_hash(st, "", 0, tensors, err) != 0)
        return fail_in(err, "fingerprint of %s", config->name);
    int n = numbers_print(text, sizeof text, config);
    n += snprintf(text + n, sizeof text - (size_t)n, " tensors %016llx%016llx", (unsigned long long)tensors[0],
                  (unsigned long long)tensors[1]);
    XXH128_hash_t sum = XXH3_128bits(text, (size_t)n);
    hash[0] = sum.high64;
    hash[1] = sum.low64;
    return 0;
}
