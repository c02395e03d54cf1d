/* batch.c - checks samples and lays out their rows */
#include "train/batch.h"

#include <stdlib.h>
#include <string.h>

#include "model/family.h"
#include "model/rotary.h"
#include "train/network_parts.h"

static bool is_resampler(const struct network *net)
{
    return net->projector.queries > 0;
}

int train_sample_supervised(const struct train_sample *sample)
{
    int count = 0;
    for (int t = 0; t < sample->n; t++)
        count += sample->labels[t] != TRAIN_UNSUPERVISED;
    return count;
}

/* ---- checks ---- */

static int pictures_check(const struct network *net, const struct train_sample *s, int i, struct error *err)
{
    int end = 0;
    for (int p = 0; p < s->n_pictures; p++) {
        const struct train_picture *picture = &s->pictures[p];
        int tokens = network_picture_tokens(net, picture->rows);
        if (picture->rows < 1)
            return fail(err, "sample %d: picture %d has no features", i, p);
        if (picture->first < end || picture->first > s->n - tokens)
            return fail(err, "sample %d: picture %d of %d tokens at %d must stand behind the one before it and within %d tokens", i,
                        p, tokens, picture->first, s->n);
        end = picture->first + tokens;
    }
    return 0;
}

static int ids_check(const struct network *net, const struct train_sample *s, int i, struct error *err)
{
    int picture = 0, vocabulary = net->config.vocabulary;
    for (int t = 0; t < s->n; t++) {
        if (picture < s->n_pictures && t == s->pictures[picture].first) {
            t += network_picture_tokens(net, s->pictures[picture++].rows) - 1;
            continue;
        }
        if (s->ids[t] < 0 || s->ids[t] >= vocabulary)
            return fail(err, "sample %d: id %d at %d is outside the vocabulary of %d", i, (int)s->ids[t], t, vocabulary);
    }
    for (int t = 0; t < s->n; t++)
        if (s->labels[t] != TRAIN_UNSUPERVISED && (!t || s->labels[t] < 0 || s->labels[t] >= vocabulary))
            return fail(err, "sample %d: label %d at %d must be an id below %d, and not at the first place", i, (int)s->labels[t],
                        t, vocabulary);
    return 0;
}

static int soft_check(const struct train_sample *s, int i, int soft_k, int common, struct error *err)
{
    if (s->soft_k != soft_k || soft_k < 1)
        return fail(err, "sample %d: %d soft labels a token; this loss wants at least 1, and as many in all samples of a call", i,
                    s->soft_k);
    for (size_t j = 0, count = (size_t)train_sample_supervised(s) * (size_t)soft_k; j < count; j++)
        if (s->soft_ids[j] >= common || !(s->soft_probs[j] >= 0 && s->soft_probs[j] <= 1))
            return fail(err, "sample %d: soft label %d with probability %g must be below %d, between 0 and 1", i,
                        (int)s->soft_ids[j], (double)s->soft_probs[j], common);
    return 0;
}

/* Checks all samples and counts what they need. */
static int batch_count(struct batch *b, const struct network *net, const struct train_sample *samples, int n,
                       const struct train_objective *objective, struct error *err)
{
    int common = objective->common ? objective->common : net->config.vocabulary;
    if (common < 1 || common > net->config.vocabulary)
        return fail(err, "common vocabulary of %d ids: the drafter has %d", common, net->config.vocabulary);
    b->samples = n;
    b->n = b->pictures = b->feature_rows = b->tokens = b->n_scored = 0;
    b->soft_k = objective->loss == LOSS_CE || !n ? 0 : samples[0].soft_k;
    b->cross_pairs = 0;
    for (int i = 0; i < n; i++) {
        const struct train_sample *s = &samples[i];
        if (s->n < 1)
            return fail(err, "sample %d: it has no tokens", i);
        if (pictures_check(net, s, i, err) || ids_check(net, s, i, err) ||
            (objective->loss != LOSS_CE && soft_check(s, i, b->soft_k, common, err)))
            return -1;
        b->n += s->n;
        b->n_scored += train_sample_supervised(s);
        b->pictures += s->n_pictures;
        for (int p = 0; p < s->n_pictures; p++) {
            b->feature_rows += s->pictures[p].rows;
            b->tokens += network_picture_tokens(net, s->pictures[p].rows);
            b->cross_pairs += (double)net->projector.queries * (double)s->pictures[p].rows;
        }
    }
    b->cross_rows = is_resampler(net) ? b->tokens + b->feature_rows : 0;
    return 0;
}

/* ---- layout ---- */

/* Cuts a block, or none yet (NULL), into columns; its bytes. */
static size_t columns_lay(struct batch_columns *c, const struct batch *b, const struct model_config *m, void *block)
{
    size_t n = (size_t)b->n, tokens = (size_t)b->tokens, scored = (size_t)b->n_scored, soft = scored * (size_t)b->soft_k;
    size_t cross = (size_t)b->cross_rows, angles = n * (size_t)(m->c / 2), resampled = cross ? tokens : 0;
    size_t keys = cross ? (size_t)b->feature_rows : 0, pictures = cross ? (size_t)b->pictures + 1 : 0;
    size_t local = m->window ? n : 0, local_angles = m->window ? angles : 0;
    const struct {
        void *column; /* of pointers to 4-byte numbers */
        size_t count;
    } columns[] = {{&c->ids, n},
                   {&c->table, n},
                   {&c->first, n},
                   {&c->last, n},
                   {&c->local_first, local},
                   {&c->bound, (size_t)b->samples + 1},
                   {&c->place, tokens},
                   {&c->scored, scored},
                   {&c->labels, scored},
                   {&c->soft_ids, soft},
                   {&c->soft_probs, soft},
                   {&c->global.cosine, angles},
                   {&c->global.sine, angles},
                   {&c->global.reverse, angles},
                   {&c->local.cosine, local_angles},
                   {&c->local.sine, local_angles},
                   {&c->local.reverse, local_angles},
                   {&c->cross.query, resampled},
                   {&c->cross.query_row, resampled},
                   {&c->cross.key_row, keys},
                   {&c->cross.first, cross},
                   {&c->cross.last, cross},
                   {&c->cross_bound, pictures}};
    size_t at = 0;
    for (size_t i = 0; i < sizeof columns / sizeof *columns; i++) {
        void *column = (char *)block + at;
        if (block)
            memcpy(columns[i].column, &column, sizeof column);
        at += (columns[i].count * 4 + 63) / 64 * 64;
    }
    return at;
}

static int batch_reserve(struct batch *b, const struct network *net, struct error *err)
{
    size_t bytes = columns_lay(&b->host, b, &net->config, NULL);
    if (bytes > b->bytes) {
        batch_free(b, net);
        b->host_block = malloc(bytes);
        b->device_block = net->k->alloc(net->dev, bytes);
        if (!b->host_block || !b->device_block)
            return fail(err, "no memory for a batch of %d rows", b->n);
        b->bytes = bytes;
    }
    columns_lay(&b->host, b, &net->config, b->host_block);
    columns_lay(&b->device, b, &net->config, b->device_block);
    return 0;
}

struct place { /* how far the layout has come */
    int row, token, scored, feature_row, cross, picture;
};

static void row_angles(const struct batch_angles *a, int row, const struct model_config *m, const float *frequency,
                       const int32_t position[3])
{
    size_t half = (size_t)(m->c / 2), at = (size_t)row * half;
    rotary_angles(a->cosine + at, a->sine + at, m, frequency, position);
    for (size_t j = at; j < at + half; j++)
        a->reverse[j] = -a->sine[j];
}

/* A row sees what is before it in its sample and itself; in local layers the last `window` of these. */
static void sample_rows(struct batch *b, const struct network *net, const struct train_sample *s, struct place *at)
{
    struct batch_columns *c = &b->host;
    int begin = at->row, window = net->config.window;
    for (int t = 0; t < s->n; t++, at->row++) {
        c->ids[at->row] = c->table[at->row] = s->ids[t];
        c->first[at->row] = begin;
        c->last[at->row] = at->row + 1;
        row_angles(&c->global, at->row, &net->config, net->frequency, s->positions[t]);
        if (window) {
            c->local_first[at->row] = t >= window ? at->row + 1 - window : begin;
            row_angles(&c->local, at->row, &net->config, net->local_frequency, s->positions[t]);
        }
        if (s->labels[t] == TRAIN_UNSUPERVISED)
            continue;
        c->scored[at->scored] = at->row - 1;
        c->labels[at->scored++] = s->labels[t];
    }
}

static void picture_cross(struct batch *b, int tokens, int rows, struct place *at)
{
    projector_cross_picture(&b->host.cross, tokens, rows, at->cross, at->token, at->feature_row);
    b->host.cross_bound[at->picture] = at->cross;
    at->cross += tokens + rows;
    b->host.cross_bound[at->picture + 1] = at->cross;
}

/* Where the family has it so, the rows of a picture see each other both ways. */
static void sample_pictures(struct batch *b, const struct network *net, const struct train_sample *s, int begin, struct place *at)
{
    for (int p = 0; p < s->n_pictures; p++, at->picture++) {
        int tokens = network_picture_tokens(net, s->pictures[p].rows), first = begin + s->pictures[p].first;
        if (is_resampler(net))
            picture_cross(b, tokens, s->pictures[p].rows, at);
        for (int i = 0; i < tokens; i++) {
            b->host.ids[first + i] = 0; /* any row: it is replaced */
            b->host.table[first + i] = -1;
            b->host.place[at->token++] = first + i;
            if (net->config.family->pictures_whole)
                b->host.last[first + i] = first + tokens;
        }
        at->feature_row += s->pictures[p].rows;
    }
}

static void pairs_count(struct batch *b, bool local)
{
    const struct batch_columns *c = &b->host;
    b->pairs = b->local_pairs = 0;
    for (int r = 0; r < b->n; r++) {
        b->pairs += c->last[r] - c->first[r];
        b->local_pairs += local ? c->last[r] - c->local_first[r] : 0;
    }
}

int batch_make(struct batch *b, const struct network *net, const struct train_sample *samples, int n,
               const struct train_objective *objective, struct error *err)
{
    struct place at = {0};
    if (batch_count(b, net, samples, n, objective, err) || batch_reserve(b, net, err))
        return -1;
    for (int i = 0; i < n; i++) {
        const struct train_sample *s = &samples[i];
        size_t soft = (size_t)at.scored * (size_t)b->soft_k, begin = (size_t)at.row;
        b->host.bound[i] = at.row;
        sample_rows(b, net, s, &at);
        sample_pictures(b, net, s, (int)begin, &at);
        size_t count = (size_t)at.scored * (size_t)b->soft_k - soft;
        if (count) {
            memcpy(b->host.soft_ids + soft, s->soft_ids, count * sizeof *s->soft_ids);
            memcpy(b->host.soft_probs + soft, s->soft_probs, count * sizeof *s->soft_probs);
        }
    }
    b->host.bound[n] = at.row;
    pairs_count(b, net->config.window);
    net->k->upload(net->dev, b->device_block, b->host_block, columns_lay(&b->host, b, &net->config, NULL));
    return 0;
}

void batch_free(struct batch *b, const struct network *net)
{
    free(b->host_block);
    net->k->free(net->dev, b->device_block);
    b->host_block = b->device_block = NULL;
    b->bytes = 0;
}
