/* fuzz_services.c - messages of KServe, reflection and health: the first byte says which. What is accepted of KServe is a question
 * that massv.proto can carry. */
#include "tests/fuzz/fuzz.h"

#include "proto/health.h"
#include "proto/kserve.h"
#include "proto/reflection.h"

static void infer(const uint8_t *data, size_t size)
{
    struct kserve_request request;
    struct rpc_bytes bytes;
    struct error err;
    if (kserve_request_unpack(&request, data, size, &err) == 0) {
        if (generate_request_pack(&request.asked, &bytes, &err) != 0)
            abort();
        free(bytes.data);
    }
    kserve_request_free(&request);
}

static void names(const uint8_t *data, size_t size)
{
    struct kserve_model model;
    struct error err;
    char service[HEALTH_SERVICE_MAX + 1];
    kserve_model_unpack(&model, data, size, &err);
    health_check_unpack(service, data, size, &err);
}

static void reflect(const uint8_t *data, size_t size)
{
    static struct reflection *reflection;
    struct rpc_bytes answer;
    struct error err;
    if (!reflection && reflection_open(&reflection, reflection_files(), &err) != 0)
        abort();
    if (reflection_answer(reflection, data, size, &answer, &err) == 0)
        free(answer.data);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static void (*const kinds[])(const uint8_t *data, size_t size) = {infer, names, reflect};
    if (size)
        kinds[data[0] % 3](data + 1, size - 1);
    return 0;
}
