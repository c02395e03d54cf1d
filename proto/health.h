/* health.h - the messages of health.proto (grpc.health.v1) */
#ifndef PROTO_HEALTH_H
#define PROTO_HEALTH_H

#include "proto/rpc.h"

#define HEALTH_V1_CHECK_PATH "/grpc.health.v1.Health/Check"
#define HEALTH_V1_LIST_PATH "/grpc.health.v1.Health/List"
#define HEALTH_V1_WATCH_PATH "/grpc.health.v1.Health/Watch"

enum { HEALTH_SERVICE_MAX = 255 }; /* bytes of a service's name */

enum health_status { HEALTH_UNKNOWN, HEALTH_SERVING, HEALTH_NOT_SERVING, HEALTH_SERVICE_UNKNOWN };

struct health_entry {
    const char *service;
    enum health_status status;
};

int health_check_unpack(char service[HEALTH_SERVICE_MAX + 1], const void *data, size_t size, struct error *err);
void health_status_pack(enum health_status status, struct rpc_bytes *bytes);
void health_list_pack(const struct health_entry *entries, int n, struct rpc_bytes *bytes);

#endif
