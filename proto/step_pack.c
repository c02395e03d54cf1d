/* step_pack.c - the worker stream's messages: to bytes. Ids, positions and features are packed from where they lie. */
#include <assert.h>
#include <stdlib.h>

#include "base/memory.h"
#include "proto/message.h"
#include "proto/step.h"
#include "proto/worker.pb-c.h"

static void from_group_pack(Massv__Worker__V1__FromGroup *m, int which, struct rpc_bytes *bytes)
{
    m->message_case = (Massv__Worker__V1__FromGroup__MessageCase)which;
    message_pack(&m->base, bytes);
}

static void to_group_pack(Massv__Worker__V1__ToGroup *m, int which, struct rpc_bytes *bytes)
{
    m->message_case = (Massv__Worker__V1__ToGroup__MessageCase)which;
    message_pack(&m->base, bytes);
}

static void hello_pack(const struct step_hello *from, struct rpc_bytes *bytes)
{
    Massv__Worker__V1__Hello hello = MASSV__WORKER__V1__HELLO__INIT;
    Massv__Worker__V1__FromGroup m = MASSV__WORKER__V1__FROM_GROUP__INIT;
    hello.protocol = from->protocol;
    hello.version = message_text(from->version);
    hello.model_high = from->model_hash[0];
    hello.model_low = from->model_hash[1];
    hello.model = message_text(from->model);
    hello.ranks = (uint32_t)from->ranks;
    hello.pages = (uint32_t)from->pages;
    hello.page_positions = (uint32_t)from->page_positions;
    hello.max_rows = (uint32_t)from->max_rows;
    hello.host = message_text(from->host);
    hello.device = message_text(from->device);
    hello.group = message_text(from->group);
    m.hello = &hello;
    from_group_pack(&m, MASSV__WORKER__V1__FROM_GROUP__MESSAGE_HELLO, bytes);
}

/* Messages of one kind: pointers to them stand before them, in one allocation that is released with the list. */
static void *list_make(size_t n, size_t size, void ***list)
{
    *list = mem_new(n, sizeof **list + size);
    char *messages = (char *)(*list + n);
    for (size_t i = 0; i < n; i++)
        (*list)[i] = messages + i * size;
    return messages;
}

static Massv__Worker__V1__Logprobs **logprobs_make(const struct logprobs *from, size_t n)
{
    void **list;
    Massv__Worker__V1__Logprobs *to = list_make(n, sizeof *to, &list);
    for (size_t i = 0; i < n; i++) {
        massv__worker__v1__logprobs__init(&to[i]);
        to[i].chosen = from[i].chosen;
        to[i].n_top_ids = to[i].n_top = (size_t)from[i].n_top;
        to[i].top_ids = (int32_t *)from[i].top_ids;
        to[i].top = (float *)from[i].top;
    }
    return (Massv__Worker__V1__Logprobs **)list;
}

static void verdict_pack(const struct step_verdict *from, struct rpc_bytes *bytes)
{
    size_t n = (size_t)from->n_answers;
    Massv__Worker__V1__Verdict verdict = MASSV__WORKER__V1__VERDICT__INIT;
    Massv__Worker__V1__FromGroup m = MASSV__WORKER__V1__FROM_GROUP__INIT;
    Massv__Worker__V1__SpanVerdict *spans = mem_new(n, sizeof *spans);
    verdict.step = from->step;
    verdict.compute_ms = from->compute_ms;
    verdict.error = message_text(from->error);
    verdict.n_spans = n;
    verdict.spans = mem_new(n, sizeof *verdict.spans);
    for (size_t i = 0; i < n; i++) {
        massv__worker__v1__span_verdict__init(&spans[i]);
        spans[i].accepted = (uint32_t)from->answers[i].accepted;
        spans[i].next = from->answers[i].next;
        if (from->answers[i].logprobs) {
            spans[i].n_logprobs = (size_t)from->answers[i].accepted + 1;
            spans[i].logprobs = logprobs_make(from->answers[i].logprobs, spans[i].n_logprobs);
        }
        verdict.spans[i] = &spans[i];
    }
    m.verdict = &verdict;
    from_group_pack(&m, MASSV__WORKER__V1__FROM_GROUP__MESSAGE_VERDICT, bytes);
    for (size_t i = 0; i < n; i++)
        free(spans[i].logprobs);
    free(verdict.spans);
    free(spans);
}

static void heartbeat_pack(uint64_t step, bool from_group, struct rpc_bytes *bytes)
{
    Massv__Worker__V1__Heartbeat heartbeat = MASSV__WORKER__V1__HEARTBEAT__INIT;
    Massv__Worker__V1__FromGroup up = MASSV__WORKER__V1__FROM_GROUP__INIT;
    Massv__Worker__V1__ToGroup down = MASSV__WORKER__V1__TO_GROUP__INIT;
    heartbeat.step = step;
    up.heartbeat = down.heartbeat = &heartbeat;
    if (from_group)
        from_group_pack(&up, MASSV__WORKER__V1__FROM_GROUP__MESSAGE_HEARTBEAT, bytes);
    else
        to_group_pack(&down, MASSV__WORKER__V1__TO_GROUP__MESSAGE_HEARTBEAT, bytes);
}

static void welcome_pack(int heartbeat_ms, struct rpc_bytes *bytes)
{
    Massv__Worker__V1__Welcome welcome = MASSV__WORKER__V1__WELCOME__INIT;
    Massv__Worker__V1__ToGroup m = MASSV__WORKER__V1__TO_GROUP__INIT;
    welcome.heartbeat_ms = (uint32_t)heartbeat_ms;
    m.welcome = &welcome;
    to_group_pack(&m, MASSV__WORKER__V1__TO_GROUP__MESSAGE_WELCOME, bytes);
}

static Massv__Worker__V1__SpanPicture **pictures_make(const struct step_picture *from, size_t n)
{
    void **list;
    Massv__Worker__V1__SpanPicture *pictures = list_make(n, sizeof *pictures, &list);
    for (size_t i = 0; i < n; i++) {
        massv__worker__v1__span_picture__init(&pictures[i]);
        pictures[i].high = from[i].hash[0];
        pictures[i].low = from[i].hash[1];
        pictures[i].first = (uint32_t)from[i].first;
        pictures[i].picture_row = (uint32_t)from[i].picture_row;
        pictures[i].count = (uint32_t)from[i].count;
    }
    return (Massv__Worker__V1__SpanPicture **)list;
}

static Massv__Worker__V1__DraftWeights **weights_make(const struct draft_weights *from, size_t n)
{
    void **list;
    Massv__Worker__V1__DraftWeights *to = list_make(n, sizeof *to, &list);
    for (size_t i = 0; i < n; i++) {
        massv__worker__v1__draft_weights__init(&to[i]);
        to[i].n_ids = to[i].n_weights = (size_t)from[i].n;
        to[i].ids = (int32_t *)from[i].ids;
        to[i].weights = (float *)from[i].weight;
    }
    return (Massv__Worker__V1__DraftWeights **)list;
}

static void sampling_make(Massv__Worker__V1__Sampling *to, const struct sampling *from)
{
    massv__worker__v1__sampling__init(to);
    to->temperature = from->temperature;
    to->top_k = (uint32_t)from->top_k;
    to->top_p = from->top_p;
    to->min_p = from->min_p;
    to->presence_penalty = from->presence_penalty;
    to->frequency_penalty = from->frequency_penalty;
    to->seed = from->seed;
    to->rejection = from->mode == SAMPLING_REJECTION;
    to->n_bias_ids = to->n_bias = (size_t)from->n_bias;
    to->bias_ids = (int32_t *)from->bias_ids;
    to->bias = (float *)from->bias;
    to->logprobs = from->logprobs;
    to->top_logprobs = (uint32_t)from->top_logprobs;
}

/* sampling: room for the span's, which it needs unless it is greedy. */
static void span_make(Massv__Worker__V1__Span *to, Massv__Worker__V1__Sampling *sampling, const struct step_span *from)
{
    massv__worker__v1__span__init(to);
    to->sequence = from->sequence;
    to->n_ids = (size_t)from->n;
    to->ids = from->ids;
    to->n_positions = from->positions ? 3 * (size_t)from->n : 0;
    to->positions = from->positions ? from->positions[0] : NULL;
    to->position = from->position;
    to->length = (uint32_t)from->length;
    to->generated = from->generated;
    to->drafts = (uint32_t)from->drafts;
    to->want_token = from->want_token;
    to->n_pictures = (size_t)from->n_pictures;
    to->pictures = pictures_make(from->pictures, to->n_pictures);
    to->repetition_penalty = from->sampling.repetition_penalty;
    to->answered = (uint32_t)from->answered;
    to->n_banned_ids = (size_t)from->sampling.n_banned;
    to->banned_ids = (int32_t *)from->sampling.banned_ids;
    to->banned_until = (uint32_t)from->sampling.banned_until;
    sampling_make(sampling, &from->sampling);
    to->sampling = sampling_is_plain(&from->sampling, from->answered) ? NULL : sampling;
    to->n_draft_weights = from->weights ? (size_t)from->drafts : 0;
    to->draft_weights = from->weights ? weights_make(from->weights, to->n_draft_weights) : NULL;
    to->n_adopt = 2 * (size_t)from->n_adopt;
    to->adopt = from->n_adopt ? from->adopt[0] : NULL;
    to->n_keep = 2 * (size_t)from->n_keep;
    to->keep = from->n_keep ? from->keep[0] : NULL;
    to->n_keep_pages = (size_t)from->n_keep;
    to->keep_pages = from->keep_pages;
}

static void step_pack(const struct step *from, struct rpc_bytes *bytes)
{
    size_t n = (size_t)from->n_spans;
    Massv__Worker__V1__Step step = MASSV__WORKER__V1__STEP__INIT;
    Massv__Worker__V1__ToGroup m = MASSV__WORKER__V1__TO_GROUP__INIT;
    Massv__Worker__V1__Span *spans = mem_new(n, sizeof *spans);
    Massv__Worker__V1__Sampling *samplings = mem_new(n, sizeof *samplings);
    step.id = from->id;
    step.n_release = (size_t)from->n_release;
    step.release = from->release;
    step.n_forget = 2 * (size_t)from->n_forget;
    step.forget = from->n_forget ? from->forget[0] : NULL;
    step.n_spans = n;
    step.spans = mem_new(n, sizeof *step.spans);
    for (size_t i = 0; i < n; i++) {
        span_make(&spans[i], &samplings[i], &from->spans[i]);
        step.spans[i] = &spans[i];
    }
    m.step = &step;
    to_group_pack(&m, MASSV__WORKER__V1__TO_GROUP__MESSAGE_STEP, bytes);
    for (size_t i = 0; i < n; i++) {
        free(spans[i].pictures);
        free(spans[i].draft_weights);
    }
    free(samplings);
    free(step.spans);
    free(spans);
}

static void piece_pack(const struct step_piece *from, struct rpc_bytes *bytes)
{
    Massv__Worker__V1__PicturePiece piece = MASSV__WORKER__V1__PICTURE_PIECE__INIT;
    Massv__Worker__V1__ToGroup m = MASSV__WORKER__V1__TO_GROUP__INIT;
    piece.high = from->hash[0];
    piece.low = from->hash[1];
    piece.forget = from->forget;
    if (!from->forget) {
        piece.rows = (uint32_t)from->rows;
        piece.width = (uint32_t)from->width;
        piece.first = (uint32_t)from->first;
        piece.features.len = sizeof(float) * (size_t)from->n * (size_t)from->width;
        piece.features.data = (uint8_t *)from->features;
    }
    m.picture = &piece;
    to_group_pack(&m, MASSV__WORKER__V1__TO_GROUP__MESSAGE_PICTURE, bytes);
}

void step_message_pack(const struct step_message *message, bool from_group, struct rpc_bytes *bytes)
{
    bool up = message->kind == STEP_HELLO || message->kind == STEP_VERDICT;
    assert(message->kind == STEP_HEARTBEAT || up == from_group);
    (void)up;
    switch (message->kind) {
    case STEP_HELLO:
        hello_pack(&message->hello, bytes);
        return;
    case STEP_VERDICT:
        verdict_pack(&message->verdict, bytes);
        return;
    case STEP_HEARTBEAT:
        heartbeat_pack(message->heartbeat, from_group, bytes);
        return;
    case STEP_WELCOME:
        welcome_pack(message->heartbeat_ms, bytes);
        return;
    case STEP_STEP:
        step_pack(&message->step, bytes);
        return;
    case STEP_PIECE:
        piece_pack(&message->piece, bytes);
        return;
    }
}
