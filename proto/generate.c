/* generate.c - GenerateRequest: from and to bytes. Both ways pass the same checks, so a client learns at home what a server would
 * refuse. */
#include "proto/generate.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "proto/generate_sampling.h"
#include "proto/message.h"

enum { STOP_IDS_LIMIT = 1024, STOP_STRINGS_LIMIT = 16, STOP_STRING_BYTES = 1024 };

/* ---- checks ---- */

static int name_check(const char *field, const char *text, struct error *err)
{
    char out[GENERATE_NAME_MAX + 1];
    return message_copy(out, sizeof out, field, text, err);
}

static int turn_check(const Massv__V1__Turn *turn, size_t *pictures, struct error *err)
{
    if (strcmp(turn->role, "system") && strcmp(turn->role, "user") && strcmp(turn->role, "assistant"))
        return fail(err, "role: \"%.40s\" is not system, user or assistant", turn->role);
    if (!turn->n_parts)
        return fail(err, "parts: empty");
    for (size_t i = 0; i < turn->n_parts; i++) {
        const Massv__V1__Part *part = turn->parts[i];
        if (part->content_case == MASSV__V1__PART__CONTENT__NOT_SET)
            return fail(err, "parts[%zu]: neither text nor picture", i);
        if (part->content_case == MASSV__V1__PART__CONTENT_PICTURE && !part->picture)
            return fail(err, "parts[%zu].picture: false has no meaning; give text instead", i);
        *pictures += part->content_case == MASSV__V1__PART__CONTENT_PICTURE;
    }
    return 0;
}

static int conversation_check(const Massv__V1__Conversation *conversation, size_t n_media, struct error *err)
{
    size_t pictures = 0;
    if (!conversation->n_turns)
        return fail(err, "conversation.turns: empty");
    for (size_t i = 0; i < conversation->n_turns; i++)
        if (turn_check(conversation->turns[i], &pictures, err))
            return message_within(err, "conversation.turns[%zu]", i);
    if (pictures != n_media)
        return fail(err, "media: %zu items for %zu pictures of the conversation", n_media, pictures);
    return 0;
}

static int input_check(const Massv__V1__GenerateRequest *m, struct error *err)
{
    switch (m->input_case) {
    case MASSV__V1__GENERATE_REQUEST__INPUT_PROMPT:
        return *m->prompt ? 0 : fail(err, "prompt: empty");
    case MASSV__V1__GENERATE_REQUEST__INPUT_TOKEN_IDS:
        if (!m->token_ids->n_ids)
            return fail(err, "token_ids.ids: empty");
        return message_not_negative("token_ids.ids", m->token_ids->ids, m->token_ids->n_ids, err);
    case MASSV__V1__GENERATE_REQUEST__INPUT_CONVERSATION:
        return conversation_check(m->conversation, m->n_media, err);
    default:
        return fail(err, "input: one of prompt, token_ids and conversation must be there");
    }
}

static int media_check(const Massv__V1__GenerateRequest *m, struct error *err)
{
    for (size_t i = 0; i < m->n_media; i++)
        if (!m->media[i]->raw_bytes.len)
            return fail(err, "media[%zu].raw_bytes: empty", i);
    return 0;
}

static int stop_strings_check(char *const *strings, size_t n, struct error *err)
{
    if (n > STOP_STRINGS_LIMIT)
        return fail(err, "stopping.stop_strings: %zu strings are above %d", n, STOP_STRINGS_LIMIT);
    for (size_t i = 0; i < n; i++) {
        if (!*strings[i])
            return fail(err, "stopping.stop_strings[%zu]: empty", i);
        if (strlen(strings[i]) > STOP_STRING_BYTES)
            return fail(err, "stopping.stop_strings[%zu]: %zu bytes are above %d", i, strlen(strings[i]), STOP_STRING_BYTES);
    }
    return 0;
}

static int stopping_check(const Massv__V1__Stopping *stopping, struct error *err)
{
    bool given = stopping->max_tokens_presence_case;
    if (given && message_range("stopping.max_tokens", stopping->max_tokens, 1, GENERATE_TOKENS_MAX, err))
        return -1;
    if (given && stopping->min_tokens > stopping->max_tokens)
        return fail(err, "stopping.min_tokens: %u is above %u, the stopping.max_tokens of this request", stopping->min_tokens,
                    stopping->max_tokens);
    if (message_range("stopping.min_tokens", stopping->min_tokens, 0, GENERATE_TOKENS_MAX, err) ||
        stop_strings_check(stopping->stop_strings, stopping->n_stop_strings, err))
        return -1;
    if (stopping->n_stop_token_ids > STOP_IDS_LIMIT)
        return fail(err, "stopping.stop_token_ids: %zu ids are above %d", stopping->n_stop_token_ids, STOP_IDS_LIMIT);
    return message_not_negative("stopping.stop_token_ids", stopping->stop_token_ids, stopping->n_stop_token_ids, err);
}

static int request_check(const Massv__V1__GenerateRequest *m, struct error *err)
{
    const Massv__V1__Speculation *speculation = m->speculation;
    if (name_check("request_id", m->request_id, err) || name_check("model", m->model, err) || input_check(m, err) ||
        media_check(m, err) || generate_sampling_check(m->sampling, m->response, err) ||
        (m->stopping && stopping_check(m->stopping, err)))
        return -1;
    if (m->response && m->response->n_presence_case && message_range("response.n", m->response->n, 1, GENERATE_OUTPUTS_MAX, err))
        return -1;
    if (speculation && speculation->draft_tokens_presence_case == MASSV__V1__SPECULATION__DRAFT_TOKENS_PRESENCE_DRAFT_TOKENS)
        return message_range("speculation.draft_tokens", speculation->draft_tokens, 0, DRAFT_TOKENS_MAX, err);
    return 0;
}

/* ---- from bytes: what protobuf-c allocated (with malloc) is taken over, not copied ---- */

static char *text_steal(char **text)
{
    char *stolen = *text == protobuf_c_empty_string ? mem_string("") : *text;
    *text = (char *)protobuf_c_empty_string;
    return stolen;
}

static int32_t *ids_steal(int32_t **ids, size_t *count, int *n)
{
    int32_t *stolen = *ids;
    *n = (int)*count;
    *ids = NULL;
    *count = 0;
    return stolen;
}

static void strings_steal(struct generate_request *request, Massv__V1__Stopping *stopping)
{
    request->stop_strings = stopping->stop_strings;
    request->n_stop_strings = (int)stopping->n_stop_strings;
    stopping->stop_strings = NULL;
    stopping->n_stop_strings = 0;
}

static void turns_steal(struct generate_request *request, Massv__V1__Conversation *conversation)
{
    request->n_turns = (int)conversation->n_turns;
    request->turns = mem_new(conversation->n_turns, sizeof *request->turns);
    for (size_t i = 0; i < conversation->n_turns; i++) {
        Massv__V1__Turn *from = conversation->turns[i];
        struct generate_turn *to = &request->turns[i];
        to->role = text_steal(&from->role);
        to->n_parts = (int)from->n_parts;
        to->parts = mem_new(from->n_parts, sizeof *to->parts);
        for (size_t k = 0; k < from->n_parts; k++)
            if (from->parts[k]->content_case == MASSV__V1__PART__CONTENT_TEXT)
                to->parts[k].text = text_steal(&from->parts[k]->text);
    }
}

static void pictures_steal(struct generate_request *request, Massv__V1__GenerateRequest *m)
{
    request->n_pictures = (int)m->n_media;
    request->pictures = mem_new(m->n_media, sizeof *request->pictures);
    for (size_t i = 0; i < m->n_media; i++) {
        ProtobufCBinaryData *bytes = &m->media[i]->raw_bytes;
        request->pictures[i] = (struct generate_picture){bytes->data, bytes->len};
        *bytes = (ProtobufCBinaryData){0, NULL};
    }
}

static int draft_tokens_take(const Massv__V1__Speculation *m)
{
    if (m && m->draft_tokens_presence_case == MASSV__V1__SPECULATION__DRAFT_TOKENS_PRESENCE_DRAFT_TOKENS)
        return (int)m->draft_tokens;
    bool given = m && m->draft_tokens_presence_case == MASSV__V1__SPECULATION__DRAFT_TOKENS_PRESENCE_AUTO_DRAFT_TOKENS;
    return given && m->auto_draft_tokens ? DRAFT_TOKENS_AUTO : DRAFT_TOKENS_ABSENT;
}

static void parameters_take(struct generate_request *request, const Massv__V1__GenerateRequest *m)
{
    request->draft_tokens = draft_tokens_take(m->speculation);
    generate_sampling_take(request, m->sampling, m->response);
    if (m->stopping && m->stopping->max_tokens_presence_case)
        request->max_tokens = (int)m->stopping->max_tokens;
    request->min_tokens = m->stopping ? (int)m->stopping->min_tokens : 0;
    request->ignore_eos = m->stopping && m->stopping->ignore_eos;
    request->drafts = m->response && m->response->drafts;
    request->n_outputs = m->response && m->response->n_presence_case ? (int)m->response->n : 0;
}

int generate_request_unpack(struct generate_request *request, const void *data, size_t size, struct error *err)
{
    *request = (struct generate_request){0};
    Massv__V1__GenerateRequest *m = message_unpack(&massv__v1__generate_request__descriptor, data, size, err);
    if (!m)
        return -1;
    int result = request_check(m, err);
    if (!result) {
        request->request_id = text_steal(&m->request_id);
        request->model = text_steal(&m->model);
        if (m->input_case == MASSV__V1__GENERATE_REQUEST__INPUT_PROMPT)
            request->prompt = text_steal(&m->prompt);
        else if (m->input_case == MASSV__V1__GENERATE_REQUEST__INPUT_TOKEN_IDS)
            request->ids = ids_steal(&m->token_ids->ids, &m->token_ids->n_ids, &request->n_ids);
        else
            turns_steal(request, m->conversation);
        if (m->stopping) {
            strings_steal(request, m->stopping);
            request->stop_ids = ids_steal(&m->stopping->stop_token_ids, &m->stopping->n_stop_token_ids, &request->n_stop_ids);
        }
        pictures_steal(request, m);
        parameters_take(request, m);
    }
    massv__v1__generate_request__free_unpacked(m, NULL);
    return result;
}

void generate_request_free(struct generate_request *request)
{
    for (int i = 0; i < request->n_turns; i++) {
        for (int k = 0; k < request->turns[i].n_parts; k++)
            free(request->turns[i].parts[k].text);
        free(request->turns[i].parts);
        free(request->turns[i].role);
    }
    for (int i = 0; i < request->n_pictures; i++)
        free(request->pictures[i].bytes);
    for (int i = 0; i < request->n_stop_strings; i++)
        free(request->stop_strings[i]);
    free(request->stop_strings);
    free(request->turns);
    free(request->pictures);
    free(request->request_id);
    free(request->model);
    free(request->prompt);
    free(request->ids);
    free(request->stop_ids);
    generate_sampling_free(request);
    *request = (struct generate_request){0};
}

/* ---- to bytes ---- */

struct packer { /* the parts of a message that is being put together */
    Massv__V1__GenerateRequest message;
    Massv__V1__TokenIds ids;
    Massv__V1__Conversation conversation;
    Massv__V1__Sampling sampling;
    Massv__V1__Stopping stopping;
    Massv__V1__ResponseOptions response;
    Massv__V1__Speculation speculation;
};

static Massv__V1__Turn *turn_make(const struct generate_turn *turn)
{
    size_t n = (size_t)turn->n_parts;
    Massv__V1__Turn *out = mem_new(1, sizeof *out);
    massv__v1__turn__init(out);
    out->role = message_text(turn->role);
    out->n_parts = n;
    out->parts = mem_new(n, sizeof *out->parts);
    Massv__V1__Part *parts = mem_new(n, sizeof *parts); /* released through parts[0] */
    for (size_t i = 0; i < n; i++) {
        massv__v1__part__init(&parts[i]);
        bool text = turn->parts[i].text != NULL;
        parts[i].content_case = text ? MASSV__V1__PART__CONTENT_TEXT : MASSV__V1__PART__CONTENT_PICTURE;
        if (text)
            parts[i].text = turn->parts[i].text;
        else
            parts[i].picture = 1;
        out->parts[i] = &parts[i];
    }
    if (!n)
        free(parts);
    return out;
}

static void conversation_make(struct packer *p, const struct generate_request *request)
{
    size_t n = (size_t)request->n_turns;
    p->conversation.n_turns = n;
    p->conversation.turns = mem_new(n, sizeof *p->conversation.turns);
    for (size_t i = 0; i < n; i++)
        p->conversation.turns[i] = turn_make(&request->turns[i]);
    p->message.input_case = MASSV__V1__GENERATE_REQUEST__INPUT_CONVERSATION;
    p->message.conversation = &p->conversation;
}

static int input_make(struct packer *p, const struct generate_request *request, struct error *err)
{
    if ((request->prompt != NULL) + (request->ids != NULL) + (request->turns != NULL) != 1)
        return fail(err, "input: exactly one of prompt, token_ids and conversation must be there");
    if (request->prompt) {
        p->message.input_case = MASSV__V1__GENERATE_REQUEST__INPUT_PROMPT;
        p->message.prompt = request->prompt;
    } else if (request->ids) {
        p->message.input_case = MASSV__V1__GENERATE_REQUEST__INPUT_TOKEN_IDS;
        p->message.token_ids = &p->ids;
        p->ids.ids = request->ids;
        p->ids.n_ids = (size_t)request->n_ids;
    } else {
        conversation_make(p, request);
    }
    return 0;
}

static void media_make(struct packer *p, const struct generate_request *request)
{
    size_t n = (size_t)request->n_pictures;
    p->message.n_media = n;
    p->message.media = mem_new(n, sizeof *p->message.media);
    for (size_t i = 0; i < n; i++) {
        Massv__V1__MediaItem *item = mem_new(1, sizeof *item);
        massv__v1__media_item__init(item);
        item->raw_bytes = (ProtobufCBinaryData){request->pictures[i].size, request->pictures[i].bytes};
        p->message.media[i] = item;
    }
}

static void parameters_make(struct packer *p, const struct generate_request *request)
{
    generate_sampling_make(&p->sampling, &p->response, request);
    if (request->max_tokens) {
        p->stopping.max_tokens_presence_case = MASSV__V1__STOPPING__MAX_TOKENS_PRESENCE_MAX_TOKENS;
        p->stopping.max_tokens = (uint32_t)request->max_tokens;
    }
    if (request->draft_tokens >= 0) {
        p->speculation.draft_tokens_presence_case = MASSV__V1__SPECULATION__DRAFT_TOKENS_PRESENCE_DRAFT_TOKENS;
        p->speculation.draft_tokens = (uint32_t)request->draft_tokens;
    } else if (request->draft_tokens == DRAFT_TOKENS_AUTO) {
        p->speculation.draft_tokens_presence_case = MASSV__V1__SPECULATION__DRAFT_TOKENS_PRESENCE_AUTO_DRAFT_TOKENS;
        p->speculation.auto_draft_tokens = true;
    }
    p->stopping.stop_token_ids = request->stop_ids;
    p->stopping.n_stop_token_ids = (size_t)request->n_stop_ids;
    p->stopping.stop_strings = request->stop_strings;
    p->stopping.n_stop_strings = (size_t)request->n_stop_strings;
    p->stopping.min_tokens = (uint32_t)request->min_tokens;
    p->stopping.ignore_eos = request->ignore_eos;
    p->response.drafts = request->drafts;
    if (request->n_outputs) {
        p->response.n_presence_case = MASSV__V1__RESPONSE_OPTIONS__N_PRESENCE_N;
        p->response.n = (uint32_t)request->n_outputs;
    }
}

static void packer_init(struct packer *p)
{
    massv__v1__generate_request__init(&p->message);
    massv__v1__token_ids__init(&p->ids);
    massv__v1__conversation__init(&p->conversation);
    massv__v1__sampling__init(&p->sampling);
    massv__v1__stopping__init(&p->stopping);
    massv__v1__response_options__init(&p->response);
    massv__v1__speculation__init(&p->speculation);
    p->message.sampling = &p->sampling;
    p->message.stopping = &p->stopping;
    p->message.response = &p->response;
    p->message.speculation = &p->speculation;
}

static void packer_free(struct packer *p)
{
    for (size_t i = 0; i < p->conversation.n_turns; i++) {
        Massv__V1__Turn *turn = p->conversation.turns[i];
        if (turn->n_parts)
            free(turn->parts[0]);
        free(turn->parts);
        free(turn);
    }
    for (size_t i = 0; i < p->message.n_media; i++)
        free(p->message.media[i]);
    free(p->conversation.turns);
    free(p->message.media);
    generate_sampling_unmake(&p->sampling);
}

/* Fills and checks; packer_free follows in any case. */
static int packer_fill(struct packer *p, const struct generate_request *request, struct error *err)
{
    packer_init(p);
    p->message.request_id = message_text(request->request_id);
    p->message.model = message_text(request->model);
    parameters_make(p, request);
    media_make(p, request);
    return input_make(p, request, err) || request_check(&p->message, err) ? -1 : 0;
}

int generate_request_check(const struct generate_request *request, struct error *err)
{
    struct packer p;
    int result = packer_fill(&p, request, err);
    packer_free(&p);
    return result;
}

int generate_request_pack(const struct generate_request *request, struct rpc_bytes *bytes, struct error *err)
{
    struct packer p;
    *bytes = (struct rpc_bytes){NULL, 0};
    int result = packer_fill(&p, request, err);
    if (!result) {
        message_pack(&p.message.base, bytes);
        result = message_check(&massv__v1__generate_request__descriptor, bytes->data, bytes->size, err);
    }
    if (result) {
        free(bytes->data);
        *bytes = (struct rpc_bytes){NULL, 0};
    }
    packer_free(&p);
    return result;
}
