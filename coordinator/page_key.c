/* page_key.c - a chain of hashes */
#include "coordinator/page_key.h"

#include <string.h>
#include <sys/random.h>
#include <xxhash.h>

#include "base/log.h"
#include "proto/step.h"

_Static_assert(sizeof((struct page_secret *)0)->bytes >= XXH3_SECRET_SIZE_MIN, "XXH3 wants so much of a secret");

void page_secret_draw(struct page_secret *secret)
{
    ssize_t got = getrandom(secret->bytes, sizeof secret->bytes, 0); /* so few bytes are never cut short */
    DEVICE_CHECK(got == sizeof secret->bytes, "the system gives no random numbers");
}

/* Which rows of which pictures the page has. */
static void pictures_hash(XXH3_state_t *state, const struct prompt *prompt, const struct prepared_picture *pictures, int first,
                          int n)
{
    for (int i = 0; i < prompt->n_pictures; i++) {
        const struct prompt_picture *p = &prompt->pictures[i];
        int from = p->first > first ? p->first : first;
        int to = p->first + p->count < first + n ? p->first + p->count : first + n;
        if (from >= to)
            continue;
        const int32_t rows[3] = {from - first, from - p->first, to - from};
        XXH3_128bits_update(state, rows, sizeof rows);
        XXH3_128bits_update(state, pictures[i].hash, sizeof pictures[i].hash);
    }
}

void page_keys_make(uint64_t (*keys)[2], int n, int page_positions, const struct prompt *prompt,
                    const struct prepared_picture *pictures, const struct page_secret *secret)
{
    size_t rows = (size_t)page_positions;
    XXH3_state_t *state = XXH3_createState();
    DEVICE_CHECK(state, "out of memory");
    for (int page = 0; page < n; page++) {
        int first = page * page_positions;
        XXH3_128bits_reset_withSecret(state, secret->bytes, sizeof secret->bytes);
        if (page)
            XXH3_128bits_update(state, keys[page - 1], sizeof *keys);
        XXH3_128bits_update(state, prompt->ids + first, rows * sizeof *prompt->ids);
        XXH3_128bits_update(state, prompt->positions + first, rows * sizeof *prompt->positions);
        pictures_hash(state, prompt, pictures, first, page_positions);
        XXH128_hash_t hash = XXH3_128bits_digest(state);
        step_key_of(keys[page], (const uint64_t[2]){hash.high64, hash.low64}, false);
    }
    XXH3_freeState(state);
}
