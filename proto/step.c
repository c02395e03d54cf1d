/* step.c - the worker stream's messages: from bytes */
#include "proto/step.h"

#include <limits.h>
#include <math.h>
#include <stdlib.h>

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
};

static int hello_take(struct step_hello *to, const Massv__Worker__V1__Hello *m, struct error *err)
{
    if (message_copy(to->version, sizeof to->version, "version", m->version, err) ||
        message_copy(to->model, sizeof to->model, "model", m->model, err) ||
        message_copy(to->host, sizeof to->host, "host", m->host, err) ||
        message_copy(to->device, sizeof to->device, "device", m->device, err) ||
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

static int answer_take(struct step_answer *to, const Massv__Worker__V1__SpanVerdict *m, struct error *err)
{
    if (message_range("accepted", m->accepted, 0, DRAFT_TOKENS_MAX, err) || message_range("next", m->next, -1, INT32_MAX, err))
        return -1;
    to->accepted = (int)m->accepted;
    to->next = m->next;
    return 0;
}

static int verdict_take(struct step_verdict *to, const Massv__Worker__V1__Verdict *m, struct step_owner *owner, struct error *err)
{
    if (message_amount("compute_ms", m->compute_ms, err) || message_copy(to->error, sizeof to->error, "error", m->error, err))
        return message_within(err, "verdict");
    to->answers = owner->list = mem_new(m->n_spans, sizeof *to->answers);
    for (size_t i = 0; i < m->n_spans; i++)
        if (answer_take(&to->answers[i], m->spans[i], err))
            return message_within(err, "verdict.spans[%zu]", i);
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
    return message_range("drafts", m->drafts, 0, drafts_max, err);
}

static int span_take(struct step_span *to, const Massv__Worker__V1__Span *m, struct step_picture *pictures, struct error *err)
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
                             .repetition_penalty = m->repetition_penalty};
    for (size_t i = 0; i < m->n_pictures; i++)
        if (picture_take(&pictures[i], m->pictures[i], to->n, err))
            return message_within(err, "pictures[%zu]", i);
    return 0;
}

static int step_take(struct step *to, const Massv__Worker__V1__Step *m, struct step_owner *owner, struct error *err)
{
    size_t n_pictures = 0;
    for (size_t i = 0; i < m->n_spans; i++)
        n_pictures += m->spans[i]->n_pictures;
    struct step_picture *pictures = owner->pictures = mem_new(n_pictures, sizeof *pictures);
    to->spans = owner->list = mem_new(m->n_spans, sizeof *to->spans);
    for (size_t i = 0; i < m->n_spans; i++) {
        if (span_take(&to->spans[i], m->spans[i], pictures, err))
            return message_within(err, "step.spans[%zu]", i);
        pictures += m->spans[i]->n_pictures;
    }
    to->id = m->id;
    to->n_spans = (int)m->n_spans;
    to->release = m->release;
    to->n_release = (int)m->n_release;
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
        free(owner);
    }
    *message = (struct step_message){0};
}
