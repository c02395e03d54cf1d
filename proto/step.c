/* step.c - the worker stream's messages: from bytes */
#include "proto/step.h"

#include <limits.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "proto/generate.h"
#include "proto/message.h"
#include "proto/worker.pb-c.h"

_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "features travel as the little-endian floats of this machine");

enum {
    RANKS_MAX = 4096,
    PAGE_POSITIONS_MAX = 1 << 16,
    HEARTBEAT_MAX_MS = 600000,
    WIDTH_MAX = 1 << 20,
};

/* What an unpacked message points into: the protobuf message, and what has another shape there. */
struct step_owner {
    Massv__Worker__V1__FromGroup *from;
    Massv__Worker__V1__ToGroup *to;
    void *list;                    /* spans or answers */
    struct step_picture *pictures; /* of all spans */
    struct draft_weights *weights; /* of all drafts */
    struct logprobs *logprobs;     /* of all answers */
};

/* It becomes a word of a line that others read. */
static int group_name_take(char out[32], const char *name, struct error *err)
{
    if (name[strspn(name, "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ.-")])
        return fail(err, "group: \"%.40s\" has other characters than letters, digits, . and -", name);
    return message_copy(out, 32, "group", name, err);
}

static int hello_take(struct step_hello *to, const Massv__Worker__V1__Hello *m, struct error *err)
{
    if (message_copy(to->version, sizeof to->version, "version", m->version, err) ||
        message_copy(to->model, sizeof to->model, "model", m->model, err) ||
        message_copy(to->host, sizeof to->host, "host", m->host, err) ||
        message_copy(to->device, sizeof to->device, "device", m->device, err) || group_name_take(to->group, m->group, err) ||
        message_range("ranks", m->ranks, 1, RANKS_MAX, err) || message_range("pages", m->pages, 1, INT_MAX, err) ||
        message_range("page_positions", m->page_positions, 1, PAGE_POSITIONS_MAX, err) ||
        message_range("max_rows", m->max_rows, 1, INT_MAX, err))
        return message_within(err, "hello");
    to->protocol = m->protocol;
    to->model_hash[0] = m->model_high;
    to->model_hash[1] = m->model_low;
    to->ranks = (int)m->ranks;
    to->pages = (int)m->pages;
    to->page_positions = (int)m->page_positions;
    to->max_rows = (int)m->max_rows;
    return 0;
}

static int logprobs_take(struct logprobs *to, const Massv__Worker__V1__Logprobs *m, struct error *err)
{
    if (m->n_top_ids != m->n_top || m->n_top > SAMPLING_TOP_LOGPROBS)
        return fail(err, "top: %zu numbers for %zu ids, %d at most", m->n_top, m->n_top_ids, SAMPLING_TOP_LOGPROBS);
    if (message_not_negative("top_ids", m->top_ids, m->n_top_ids, err))
        return -1;
    to->chosen = m->chosen;
    to->n_top = (int)m->n_top;
    for (size_t i = 0; i < m->n_top; i++) {
        to->top_ids[i] = m->top_ids[i];
        to->top[i] = m->top[i];
    }
    return 0;
}

static int answer_take(struct step_answer *to, const Massv__Worker__V1__SpanVerdict *m, struct logprobs *logprobs,
                       struct error *err)
{
    if (message_range("accepted", m->accepted, 0, DRAFT_TOKENS_MAX, err) || message_range("next", m->next, -1, INT32_MAX, err))
        return -1;
    to->accepted = (int)m->accepted;
    to->next = m->next;
    if (!m->n_logprobs)
        return 0;
    if (m->n_logprobs != (size_t)m->accepted + 1)
        return fail(err, "logprobs: %zu elements for %u tokens", m->n_logprobs, m->accepted + 1);
    to->logprobs = logprobs;
    for (size_t i = 0; i < m->n_logprobs; i++)
        if (logprobs_take(&logprobs[i], m->logprobs[i], err))
            return message_within(err, "logprobs[%zu]", i);
    return 0;
}

static int verdict_take(struct step_verdict *to, const Massv__Worker__V1__Verdict *m, struct step_owner *owner, struct error *err)
{
    if (message_amount("compute_ms", m->compute_ms, err) || message_copy(to->error, sizeof to->error, "error", m->error, err))
        return message_within(err, "verdict");
    size_t n_logprobs = 0;
    for (size_t i = 0; i < m->n_spans; i++)
        n_logprobs += m->spans[i]->n_logprobs;
    struct logprobs *logprobs = owner->logprobs = mem_new(n_logprobs, sizeof *logprobs);
    to->answers = owner->list = mem_new(m->n_spans, sizeof *to->answers);
    for (size_t i = 0; i < m->n_spans; i++) {
        if (answer_take(&to->answers[i], m->spans[i], logprobs, err))
            return message_within(err, "verdict.spans[%zu]", i);
        logprobs += m->spans[i]->n_logprobs;
    }
    to->n_answers = (int)m->n_spans;
    to->step = m->step;
    to->compute_ms = m->compute_ms;
    return 0;
}

static int picture_take(struct step_picture *to, const Massv__Worker__V1__SpanPicture *m, int rows, struct error *err)
{
    if (message_range("first", m->first, 0, rows - 1, err) || message_range("count", m->count, 1, rows - (int64_t)m->first, err) ||
        message_range("picture_row", m->picture_row, 0, INT_MAX - (int64_t)m->count, err))
        return -1;
    to->hash[0] = m->high;
    to->hash[1] = m->low;
    to->first = (int)m->first;
    to->picture_row = (int)m->picture_row;
    to->count = (int)m->count;
    return 0;
}

static int span_check(const Massv__Worker__V1__Span *m, struct error *err)
{
    size_t n = m->n_ids;
    if (!n)
        return fail(err, "ids: empty");
    if (m->n_positions && m->n_positions != 3 * n)
        return fail(err, "positions: %zu elements are neither 0 nor 3 x %zu", m->n_positions, n);
    if (!isfinite(m->repetition_penalty) || m->repetition_penalty <= 0)
        return fail(err, "repetition_penalty: %g is not a finite number above 0", m->repetition_penalty);
    int64_t drafts_max = n - 1 < DRAFT_TOKENS_MAX ? (int64_t)n - 1 : DRAFT_TOKENS_MAX; /* the first row verifies the first draft */
    if (message_not_negative("ids", m->ids, n, err) || message_not_negative("positions", m->positions, m->n_positions, err) ||
        message_range("position", m->position, 0, INT32_MAX - (int64_t)n, err) ||
        message_range("length", m->length, 0, INT_MAX - (int64_t)n, err))
        return -1;
    if (m->n_banned_ids > SAMPLING_BANNED_IDS)
        return fail(err, "banned_ids: %zu ids are above %d", m->n_banned_ids, SAMPLING_BANNED_IDS);
    return message_not_negative("banned_ids", m->banned_ids, m->n_banned_ids, err) ||
                   message_range("banned_until", m->banned_until, 0, INT_MAX, err) ||
                   message_range("answered", m->answered, 0, (int64_t)m->length + (int64_t)n, err) ||
                   message_range("drafts", m->drafts, 0, drafts_max, err)
               ? -1
               : 0;
}

/* Keys are pairs of numbers. */
static int keys_check(const char *field, size_t n, struct error *err)
{
    return n % 2 ? fail(err, "%s: %zu numbers are no pairs", field, n) : 0;
}

static int span_pages_take(struct step_span *to, const Massv__Worker__V1__Span *m, struct error *err)
{
    if (keys_check("adopt", m->n_adopt, err) || keys_check("keep", m->n_keep, err))
        return -1;
    if (m->n_keep_pages != m->n_keep / 2)
        return fail(err, "keep_pages: %zu pages for %zu keys", m->n_keep_pages, m->n_keep / 2);
    if (message_not_negative("keep_pages", m->keep_pages, m->n_keep_pages, err))
        return -1;
    to->adopt = m->n_adopt ? (uint64_t(*)[2])m->adopt : NULL;
    to->n_adopt = (int)(m->n_adopt / 2);
    to->keep = m->n_keep ? (uint64_t(*)[2])m->keep : NULL;
    to->keep_pages = m->keep_pages;
    to->n_keep = (int)(m->n_keep / 2);
    return 0;
}

static int ids_ascend(const char *field, const int32_t *ids, size_t n, struct error *err)
{
    for (size_t i = 1; i < n; i++)
        if (ids[i] <= ids[i - 1])
            return fail(err, "%s: %d after %d, but they must ascend", field, ids[i], ids[i - 1]);
    return message_not_negative(field, ids, n, err);
}

static int sampling_check(const Massv__Worker__V1__Sampling *m, struct error *err)
{
    if (message_amount("temperature", m->temperature, err) || message_range("top_k", m->top_k, 0, INT_MAX, err) ||
        message_amount("top_p", m->top_p, err) || message_amount("min_p", m->min_p, err) ||
        message_finite("presence_penalty", m->presence_penalty, err) ||
        message_finite("frequency_penalty", m->frequency_penalty, err) ||
        message_range("top_logprobs", m->top_logprobs, 0, SAMPLING_TOP_LOGPROBS, err))
        return -1;
    if (m->n_bias_ids != m->n_bias || m->n_bias > SAMPLING_BIAS_IDS)
        return fail(err, "bias: %zu numbers for %zu ids, %d at most", m->n_bias, m->n_bias_ids, SAMPLING_BIAS_IDS);
    for (size_t i = 0; i < m->n_bias; i++)
        if (message_finite("bias", m->bias[i], err))
            return -1;
    return ids_ascend("bias_ids", m->bias_ids, m->n_bias_ids, err);
}

static int sampling_take(struct sampling *to, const Massv__Worker__V1__Span *span, struct error *err)
{
    const Massv__Worker__V1__Sampling *m = span->sampling;
    *to = (struct sampling){.repetition_penalty = span->repetition_penalty,
                            .banned_ids = span->banned_ids,
                            .n_banned = (int)span->n_banned_ids,
                            .banned_until = (int)span->banned_until};
    if (!m)
        return 0;
    if (sampling_check(m, err))
        return message_within(err, "sampling");
    to->temperature = m->temperature;
    to->top_k = (int)m->top_k;
    to->top_p = m->top_p;
    to->min_p = m->min_p;
    to->presence_penalty = m->presence_penalty;
    to->frequency_penalty = m->frequency_penalty;
    to->seed = m->seed;
    to->mode = m->rejection ? SAMPLING_REJECTION : SAMPLING_COUPLED;
    to->bias_ids = m->bias_ids;
    to->bias = m->bias;
    to->n_bias = (int)m->n_bias;
    to->logprobs = m->logprobs != 0;
    to->top_logprobs = (int)m->top_logprobs;
    return 0;
}

static int weights_take(struct draft_weights *to, const Massv__Worker__V1__DraftWeights *m, struct error *err)
{
    if (!m->n_ids || m->n_ids != m->n_weights || m->n_ids > SAMPLING_DRAFT_IDS)
        return fail(err, "weights: %zu numbers for %zu ids, 1 to %d", m->n_weights, m->n_ids, SAMPLING_DRAFT_IDS);
    if (ids_ascend("ids", m->ids, m->n_ids, err))
        return -1;
    to->n = (int)m->n_ids;
    for (size_t i = 0; i < m->n_ids; i++) {
        if (message_amount("weights", m->weights[i], err))
            return -1;
        to->ids[i] = m->ids[i];
        to->weight[i] = m->weights[i];
    }
    return 0;
}

/* The span's weights, if it has any, into `weights`. */
static int span_weights_take(struct step_span *to, const Massv__Worker__V1__Span *m, struct draft_weights *weights,
                             struct error *err)
{
    if (!m->n_draft_weights)
        return 0;
    if (m->n_draft_weights != m->drafts)
        return fail(err, "draft_weights: %zu elements for %u drafts", m->n_draft_weights, m->drafts);
    to->weights = weights;
    for (size_t i = 0; i < m->n_draft_weights; i++)
        if (weights_take(&weights[i], m->draft_weights[i], err))
            return message_within(err, "draft_weights[%zu]", i);
    return 0;
}

static int span_take(struct step_span *to, const Massv__Worker__V1__Span *m, struct step_picture *pictures,
                     struct draft_weights *weights, struct error *err)
{
    if (span_check(m, err))
        return -1;
    *to = (struct step_span){.sequence = m->sequence,
                             .n = (int)m->n_ids,
                             .ids = m->ids,
                             .positions = m->n_positions ? (int32_t(*)[3])m->positions : NULL,
                             .position = m->position,
                             .length = (int)m->length,
                             .generated = m->generated != 0,
                             .drafts = (int)m->drafts,
                             .want_token = m->want_token != 0,
                             .pictures = m->n_pictures ? pictures : NULL,
                             .n_pictures = (int)m->n_pictures,
                             .answered = (int)m->answered};
    if (sampling_take(&to->sampling, m, err) || span_weights_take(to, m, weights, err) || span_pages_take(to, m, err))
        return -1;
    for (size_t i = 0; i < m->n_pictures; i++)
        if (picture_take(&pictures[i], m->pictures[i], to->n, err))
            return message_within(err, "pictures[%zu]", i);
    return 0;
}

static int step_take(struct step *to, const Massv__Worker__V1__Step *m, struct step_owner *owner, struct error *err)
{
    size_t n_pictures = 0, n_weights = 0;
    if (keys_check("forget", m->n_forget, err))
        return message_within(err, "step");
    for (size_t i = 0; i < m->n_spans; i++) {
        n_pictures += m->spans[i]->n_pictures;
        n_weights += m->spans[i]->n_draft_weights;
    }
    struct step_picture *pictures = owner->pictures = mem_new(n_pictures, sizeof *pictures);
    struct draft_weights *weights = owner->weights = mem_new(n_weights, sizeof *weights);
    to->spans = owner->list = mem_new(m->n_spans, sizeof *to->spans);
    for (size_t i = 0; i < m->n_spans; i++) {
        if (span_take(&to->spans[i], m->spans[i], pictures, weights, err))
            return message_within(err, "step.spans[%zu]", i);
        weights += m->spans[i]->n_draft_weights;
        pictures += m->spans[i]->n_pictures;
    }
    to->id = m->id;
    to->n_spans = (int)m->n_spans;
    to->release = m->release;
    to->n_release = (int)m->n_release;
    to->forget = m->n_forget ? (uint64_t(*)[2])m->forget : NULL;
    to->n_forget = (int)(m->n_forget / 2);
    return 0;
}

static int piece_check(const Massv__Worker__V1__PicturePiece *m, struct error *err)
{
    size_t row = sizeof(float) * m->width, size = m->features.len;
    if (m->forget)
        return size ? fail(err, "features: %zu bytes beside forget", size) : 0;
    if (message_range("rows", m->rows, 1, INT_MAX, err) || message_range("width", m->width, 1, WIDTH_MAX, err) ||
        message_range("first", m->first, 0, (int64_t)m->rows - 1, err))
        return -1;
    if (!size || size % row)
        return fail(err, "features: %zu bytes are not a multiple of 4 x width %u", size, m->width);
    if (size / row > m->rows - m->first)
        return fail(err, "features: %zu rows after row %u are above the %u of the picture", size / row, m->first, m->rows);
    return 0;
}

static int piece_take(struct step_piece *to, const Massv__Worker__V1__PicturePiece *m, struct error *err)
{
    if (piece_check(m, err))
        return message_within(err, "picture");
    *to = (struct step_piece){.hash = {m->high, m->low}, .forget = m->forget != 0};
    if (to->forget)
        return 0;
    to->rows = (int)m->rows;
    to->width = (int)m->width;
    to->first = (int)m->first;
    to->n = (int)(m->features.len / (sizeof(float) * m->width));
    to->features = (const void *)m->features.data; /* protobuf-c allocated it by itself, so it is aligned */
    return 0;
}

static int from_group_take(struct step_message *message, struct step_owner *owner, struct error *err)
{
    const Massv__Worker__V1__FromGroup *m = owner->from;
    switch (m->message_case) {
    case MASSV__WORKER__V1__FROM_GROUP__MESSAGE_HELLO:
        message->kind = STEP_HELLO;
        return hello_take(&message->hello, m->hello, err);
    case MASSV__WORKER__V1__FROM_GROUP__MESSAGE_VERDICT:
        message->kind = STEP_VERDICT;
        return verdict_take(&message->verdict, m->verdict, owner, err);
    case MASSV__WORKER__V1__FROM_GROUP__MESSAGE_HEARTBEAT:
        message->kind = STEP_HEARTBEAT;
        message->heartbeat = m->heartbeat->step;
        return 0;
    default:
        return fail(err, "message: none of hello, verdict and heartbeat is there");
    }
}

static int to_group_take(struct step_message *message, struct step_owner *owner, struct error *err)
{
    const Massv__Worker__V1__ToGroup *m = owner->to;
    switch (m->message_case) {
    case MASSV__WORKER__V1__TO_GROUP__MESSAGE_WELCOME:
        message->kind = STEP_WELCOME;
        message->heartbeat_ms = (int)m->welcome->heartbeat_ms;
        return message_range("welcome.heartbeat_ms", m->welcome->heartbeat_ms, 1, HEARTBEAT_MAX_MS, err);
    case MASSV__WORKER__V1__TO_GROUP__MESSAGE_STEP:
        message->kind = STEP_STEP;
        return step_take(&message->step, m->step, owner, err);
    case MASSV__WORKER__V1__TO_GROUP__MESSAGE_PICTURE:
        message->kind = STEP_PIECE;
        return piece_take(&message->piece, m->picture, err);
    case MASSV__WORKER__V1__TO_GROUP__MESSAGE_HEARTBEAT:
        message->kind = STEP_HEARTBEAT;
        message->heartbeat = m->heartbeat->step;
        return 0;
    default:
        return fail(err, "message: none of welcome, step, picture and heartbeat is there");
    }
}

int step_message_unpack(struct step_message *message, const void *data, size_t size, bool from_group, struct error *err)
{
    *message = (struct step_message){0};
    struct step_owner *owner = mem_new(1, sizeof *owner);
    message->owner = owner;
    int result = -1;
    if (from_group) {
        owner->from = message_unpack(&massv__worker__v1__from_group__descriptor, data, size, err);
        if (owner->from)
            result = from_group_take(message, owner, err);
    } else {
        owner->to = message_unpack(&massv__worker__v1__to_group__descriptor, data, size, err);
        if (owner->to)
            result = to_group_take(message, owner, err);
    }
    if (result)
        step_message_free(message);
    return result;
}

void step_message_free(struct step_message *message)
{
    struct step_owner *owner = message->owner;
    if (owner) {
        massv__worker__v1__from_group__free_unpacked(owner->from, NULL);
        massv__worker__v1__to_group__free_unpacked(owner->to, NULL);
        free(owner->list);
        free(owner->pictures);
        free(owner->weights);
        free(owner->logprobs);
        free(owner);
    }
    *message = (struct step_message){0};
}
