/* fuzz_config.c - config.json, generation_config.json, preprocessor_config.json, chat_template.json: the first byte says which one
 * is foreign, and of which family the others are */
#include "tests/fuzz/fuzz.h"

#include "model/config.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const char *const folders[] = {"qwen25vl-tiny", "gemma3-tiny"};
    static const char *const names[] = {"config.json", "generation_config.json", "preprocessor_config.json", "chat_template.json"};
    enum { NAMES = sizeof names / sizeof *names };
    struct model_config config;
    struct error err;
    char from[128];
    if (!size)
        return 0;
    for (int i = 0; i < NAMES; i++) {
        snprintf(from, sizeof from, "tests/golden/%s/%s", folders[data[0] / NAMES % 2], names[i]);
        if (data[0] % NAMES == i)
            fuzz_file(names[i], data + 1, size - 1);
        else
            fuzz_copy(names[i], from);
    }
    config_read(&config, fuzz_folder(), &err);
    return 0;
}
