/* fuzz_step.c - messages between coordinator and worker, of either direction by the first byte. What is accepted can be packed
 * again. */
#include "tests/fuzz/fuzz.h"

#include "proto/step.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct step_message message;
    struct rpc_bytes bytes;
    struct error err;
    if (!size || step_message_unpack(&message, data + 1, size - 1, data[0] & 1, &err))
        return 0;
    step_message_pack(&message, data[0] & 1, &bytes);
    free(bytes.data);
    step_message_free(&message);
    return 0;
}
