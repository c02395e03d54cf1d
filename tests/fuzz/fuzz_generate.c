/* fuzz_generate.c - messages of massv.proto: the first byte says which. What is accepted can be packed again. */
#include "tests/fuzz/fuzz.h"

#include "proto/generate.h"

static void request(const uint8_t *data, size_t size)
{
    struct generate_request request;
    struct rpc_bytes bytes;
    struct error err;
    if (generate_request_unpack(&request, data, size, &err))
        return;
    if (generate_request_pack(&request, &bytes, &err) == 0)
        free(bytes.data);
    generate_request_free(&request);
}

static void response(const uint8_t *data, size_t size)
{
    struct generate_response response;
    struct rpc_bytes bytes;
    struct error err;
    if (generate_response_unpack(&response, data, size, &err))
        return;
    generate_response_pack(&response, &bytes);
    free(bytes.data);
    generate_response_free(&response);
}

static void infos(const uint8_t *data, size_t size)
{
    struct server_info server;
    struct load_info load;
    struct model_info model;
    struct health_info health;
    struct error err;
    char id[GENERATE_NAME_MAX + 1];
    bool aborted;
    server_info_unpack(&server, data, size, &err);
    load_info_unpack(&load, data, size, &err);
    model_info_unpack(&model, data, size, &err);
    health_info_unpack(&health, data, size, &err);
    abort_request_unpack(id, data, size, &err);
    abort_response_unpack(&aborted, data, size, &err);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static void (*const kinds[])(const uint8_t *data, size_t size) = {request, response, infos};
    if (size)
        kinds[data[0] % 3](data + 1, size - 1);
    return 0;
}
