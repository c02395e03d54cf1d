/* generate_info.c - the messages of the Control service: from and to bytes */
#include <limits.h>
#include <stdio.h>
#include <string.h>

#include "proto/generate_activity.h"
#include "proto/massv.pb-c.h"
#include "proto/message.h"

enum { INFO_DEVICES = sizeof(((struct server_info *)0)->group_devices) / sizeof((struct server_info *)0)->group_devices[0] };

#define COPY(field) message_copy(info->field, sizeof info->field, #field, m->field, err)
#define COUNT(field) message_range(#field, m->field, 0, INT_MAX, err)

void server_info_pack(const struct server_info *info, struct rpc_bytes *bytes)
{
    Massv__V1__ServerInfo m = MASSV__V1__SERVER_INFO__INIT;
    char *devices[INFO_DEVICES];
    struct activity_message activity;
    m.version = message_text(info->version);
    m.groups = (uint32_t)info->groups;
    m.ranks_per_group = (uint32_t)info->ranks_per_group;
    m.kv_positions = (uint64_t)info->kv_positions;
    m.running = (uint32_t)info->running;
    m.waiting = (uint32_t)info->waiting;
    m.auto_draft_tokens = info->draft_tokens == DRAFT_TOKENS_AUTO;
    m.draft_tokens = m.auto_draft_tokens ? 0 : (uint32_t)info->draft_tokens;
    m.preemptions = info->preemptions;
    m.device = message_text(info->device);
    m.n_group_devices = info->groups < INFO_DEVICES ? (size_t)info->groups : INFO_DEVICES;
    for (size_t i = 0; i < m.n_group_devices; i++)
        devices[i] = message_text(info->group_devices[i]);
    m.group_devices = devices;
    activity_put(&activity, &info->activity);
    m.activity = &activity.activity;
    message_pack(&m.base, bytes);
}

static int server_info_take(struct server_info *info, const Massv__V1__ServerInfo *m, struct error *err)
{
    if (COPY(version) || COPY(device) || COUNT(groups) || COUNT(ranks_per_group) || COUNT(running) || COUNT(waiting) ||
        message_range("draft_tokens", m->draft_tokens, 0, DRAFT_TOKENS_MAX, err))
        return -1;
    if (m->kv_positions > INT64_MAX)
        return fail(err, "kv_positions: %llu is above %lld", (unsigned long long)m->kv_positions, (long long)INT64_MAX);
    info->groups = (int)m->groups;
    info->ranks_per_group = (int)m->ranks_per_group;
    info->kv_positions = (int64_t)m->kv_positions;
    info->running = (int)m->running;
    info->waiting = (int)m->waiting;
    info->draft_tokens = m->auto_draft_tokens ? DRAFT_TOKENS_AUTO : (int)m->draft_tokens;
    info->preemptions = m->preemptions;
    for (size_t i = 0; i < m->n_group_devices && i < INFO_DEVICES; i++)
        if (message_copy(info->group_devices[i], sizeof info->group_devices[i], "group_devices", m->group_devices[i], err))
            return -1;
    return activity_take(&info->activity, m->activity, err);
}

int server_info_unpack(struct server_info *info, const void *data, size_t size, struct error *err)
{
    *info = (struct server_info){0};
    Massv__V1__ServerInfo *m = message_unpack(&massv__v1__server_info__descriptor, data, size, err);
    int result = m ? server_info_take(info, m, err) : -1;
    massv__v1__server_info__free_unpacked(m, NULL);
    return result;
}

void load_info_pack(const struct load_info *info, struct rpc_bytes *bytes)
{
    Massv__V1__Load m = MASSV__V1__LOAD__INIT;
    m.running = (uint32_t)info->running;
    m.max_running = (uint32_t)info->max_running;
    m.waiting = (uint32_t)info->waiting;
    m.max_waiting = (uint32_t)info->max_waiting;
    m.kv_positions = (uint64_t)info->kv_positions;
    m.kv_positions_reserved = (uint64_t)info->kv_positions_reserved;
    m.kv_positions_cached = (uint64_t)info->kv_positions_cached;
    message_pack(&m.base, bytes);
}

static int load_info_take(struct load_info *info, const Massv__V1__Load *m, struct error *err)
{
    if (COUNT(running) || COUNT(max_running) || COUNT(waiting) || COUNT(max_waiting))
        return -1;
    if (m->kv_positions > INT64_MAX)
        return fail(err, "kv_positions: %llu is above %lld", (unsigned long long)m->kv_positions, (long long)INT64_MAX);
    if (m->kv_positions_reserved > m->kv_positions)
        return fail(err, "kv_positions_reserved: %llu is above the %llu that there are",
                    (unsigned long long)m->kv_positions_reserved, (unsigned long long)m->kv_positions);
    if (m->kv_positions_cached > m->kv_positions - m->kv_positions_reserved)
        return fail(err, "kv_positions_cached: %llu is above the %llu that are not reserved",
                    (unsigned long long)m->kv_positions_cached, (unsigned long long)(m->kv_positions - m->kv_positions_reserved));
    *info = (struct load_info){.running = (int)m->running,
                               .max_running = (int)m->max_running,
                               .waiting = (int)m->waiting,
                               .max_waiting = (int)m->max_waiting,
                               .kv_positions = (int64_t)m->kv_positions,
                               .kv_positions_reserved = (int64_t)m->kv_positions_reserved,
                               .kv_positions_cached = (int64_t)m->kv_positions_cached};
    return 0;
}

int load_info_unpack(struct load_info *info, const void *data, size_t size, struct error *err)
{
    *info = (struct load_info){0};
    Massv__V1__Load *m = message_unpack(&massv__v1__load__descriptor, data, size, err);
    int result = m ? load_info_take(info, m, err) : -1;
    massv__v1__load__free_unpacked(m, NULL);
    return result;
}

void model_info_pack(const struct model_info *info, struct rpc_bytes *bytes)
{
    Massv__V1__ModelInfo m = MASSV__V1__MODEL_INFO__INIT;
    m.model = message_text(info->model);
    m.family = message_text(info->family);
    m.drafter = message_text(info->drafter);
    m.drafter_kind = message_text(info->drafter_kind);
    m.max_positions = (uint32_t)info->max_positions;
    m.vocabulary = (uint32_t)info->vocabulary;
    m.fingerprint = message_text(info->fingerprint);
    message_pack(&m.base, bytes);
}

int model_info_unpack(struct model_info *info, const void *data, size_t size, struct error *err)
{
    *info = (struct model_info){0};
    Massv__V1__ModelInfo *m = message_unpack(&massv__v1__model_info__descriptor, data, size, err);
    if (!m)
        return -1;
    int result = COPY(model) || COPY(family) || COPY(drafter) || COPY(drafter_kind) || COPY(fingerprint) || COUNT(max_positions) ||
                 COUNT(vocabulary);
    info->max_positions = result ? 0 : (int)m->max_positions;
    info->vocabulary = result ? 0 : (int)m->vocabulary;
    massv__v1__model_info__free_unpacked(m, NULL);
    return result ? -1 : 0;
}

void health_info_pack(const struct health_info *info, struct rpc_bytes *bytes)
{
    Massv__V1__HealthResponse m = MASSV__V1__HEALTH_RESPONSE__INIT;
    char *reason = message_text(info->reason);
    m.state = message_text(info->state);
    m.n_reasons = *reason != 0;
    m.reasons = &reason;
    message_pack(&m.base, bytes);
}

static int health_info_take(struct health_info *info, const Massv__V1__HealthResponse *m, struct error *err)
{
    static const char *const states[] = {"STARTING", "READY", "DRAINING", "NOT_READY"};
    size_t n = sizeof states / sizeof *states, state = 0, used = 0;
    while (state < n && strcmp(m->state, states[state]))
        state++;
    if (state == n)
        return fail(err, "state: \"%.40s\" is not STARTING, READY, DRAINING or NOT_READY", m->state);
    snprintf(info->state, sizeof info->state, "%s", states[state]);
    for (size_t i = 0; i < m->n_reasons; i++) {
        const char *comma = i ? "; " : "";
        if (message_copy(info->reason + used, sizeof info->reason - used, "reasons", comma, err))
            return -1;
        used += strlen(comma);
        if (message_copy(info->reason + used, sizeof info->reason - used, "reasons", m->reasons[i], err))
            return -1;
        used += strlen(m->reasons[i]);
    }
    return 0;
}

int health_info_unpack(struct health_info *info, const void *data, size_t size, struct error *err)
{
    *info = (struct health_info){{0}, {0}};
    Massv__V1__HealthResponse *m = message_unpack(&massv__v1__health_response__descriptor, data, size, err);
    int result = m ? health_info_take(info, m, err) : -1;
    massv__v1__health_response__free_unpacked(m, NULL);
    return result;
}

void abort_request_pack(const char *request_id, struct rpc_bytes *bytes)
{
    Massv__V1__AbortRequest m = MASSV__V1__ABORT_REQUEST__INIT;
    m.request_id = message_text(request_id);
    message_pack(&m.base, bytes);
}

int abort_request_unpack(char request_id[GENERATE_NAME_MAX + 1], const void *data, size_t size, struct error *err)
{
    Massv__V1__AbortRequest *m = message_unpack(&massv__v1__abort_request__descriptor, data, size, err);
    if (!m)
        return -1;
    int result = *m->request_id ? message_copy(request_id, GENERATE_NAME_MAX + 1, "request_id", m->request_id, err)
                                : fail(err, "request_id: empty");
    massv__v1__abort_request__free_unpacked(m, NULL);
    return result;
}

void abort_response_pack(bool aborted, struct rpc_bytes *bytes)
{
    Massv__V1__AbortResponse m = MASSV__V1__ABORT_RESPONSE__INIT;
    m.aborted = aborted;
    message_pack(&m.base, bytes);
}

int abort_response_unpack(bool *aborted, const void *data, size_t size, struct error *err)
{
    Massv__V1__AbortResponse *m = message_unpack(&massv__v1__abort_response__descriptor, data, size, err);
    if (!m)
        return -1;
    *aborted = m->aborted != 0;
    massv__v1__abort_response__free_unpacked(m, NULL);
    return 0;
}
