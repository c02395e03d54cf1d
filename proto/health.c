/* health.c - the messages of grpc.health.v1: from and to bytes */
#include "proto/health.h"

#include <stdlib.h>

#include "base/memory.h"
#include "proto/health.pb-c.h"
#include "proto/message.h"

int health_check_unpack(char service[HEALTH_SERVICE_MAX + 1], const void *data, size_t size, struct error *err)
{
    Grpc__Health__V1__HealthCheckRequest *m = message_unpack(&grpc__health__v1__health_check_request__descriptor, data, size, err);
    int result = m ? message_copy(service, HEALTH_SERVICE_MAX + 1, "service", m->service, err) : -1;
    grpc__health__v1__health_check_request__free_unpacked(m, NULL);
    return result;
}

static Grpc__Health__V1__HealthCheckResponse response_of(enum health_status status)
{
    Grpc__Health__V1__HealthCheckResponse m = GRPC__HEALTH__V1__HEALTH_CHECK_RESPONSE__INIT;
    m.status = (Grpc__Health__V1__HealthCheckResponse__ServingStatus)status;
    return m;
}

void health_status_pack(enum health_status status, struct rpc_bytes *bytes)
{
    Grpc__Health__V1__HealthCheckResponse m = response_of(status);
    message_pack(&m.base, bytes);
}

struct list_part {
    Grpc__Health__V1__HealthListResponse__StatusesEntry entry;
    Grpc__Health__V1__HealthCheckResponse response;
};

void health_list_pack(const struct health_entry *entries, int n, struct rpc_bytes *bytes)
{
    Grpc__Health__V1__HealthListResponse m = GRPC__HEALTH__V1__HEALTH_LIST_RESPONSE__INIT;
    struct list_part *parts = mem_new((size_t)n, sizeof *parts);
    m.n_statuses = (size_t)n;
    m.statuses = mem_new((size_t)n, sizeof(void *));
    for (int i = 0; i < n; i++) {
        grpc__health__v1__health_list_response__statuses_entry__init(&parts[i].entry);
        parts[i].response = response_of(entries[i].status);
        parts[i].entry.key = message_text(entries[i].service);
        parts[i].entry.value = &parts[i].response;
        m.statuses[i] = &parts[i].entry;
    }
    message_pack(&m.base, bytes);
    free(m.statuses);
    free(parts);
}
