/* chat_template.c - finds the default system text in a template that is not run
 *
 * Checkpoints of one architecture differ in it (Qwen2.5-Instruct names its maker, Qwen2.5-VL does not), and a model answers best to
 * the text that it was trained with. It stands as a literal between <|im_start|>system and <|im_end|>, in the open or inside a
 * Jinja string. */
#include "model/chat_template.h"

#include <errno.h>
#include <jansson.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/memory.h"

#define SYSTEM_START "<|im_start|>system"
#define SYSTEM_END "<|im_end|>"

enum { TEMPLATE_LIMIT = 1 << 20 }; /* bytes of a .jinja file */

/* The whole file, or NULL with *err where it is there but cannot be read. */
static char *text_load(const char *path, int *status, struct error *err)
{
    FILE *file = fopen(path, "rb");
    if (!file) {
        *status = errno == ENOENT ? 0 : fail(err, "%s: %s", path, strerror(errno));
        return NULL;
    }
    char *text = mem_new(TEMPLATE_LIMIT + 1, 1);
    size_t n = fread(text, 1, TEMPLATE_LIMIT + 1, file);
    if (ferror(file) || n > TEMPLATE_LIMIT) {
        *status = fail(err, "%s: cannot be read, or is larger than %d bytes", path, TEMPLATE_LIMIT);
        free(text);
        text = NULL;
    }
    fclose(file);
    return text;
}

/* The member chat_template of a JSON file, or NULL. */
static char *member_load(const char *path, int *status, struct error *err)
{
    json_error_t where;
    if (access(path, F_OK) && errno == ENOENT)
        return NULL;
    json_t *root = json_load_file(path, JSON_REJECT_DUPLICATES, &where);
    if (!root) {
        *status = fail(err, "%s: line %d: %s", path, where.line, where.text);
        return NULL;
    }
    const char *text = json_string_value(json_object_get(root, "chat_template"));
    char *copy = text ? mem_string(text) : NULL;
    json_decref(root);
    return copy;
}

static char *template_load(const char *dir, int *status, struct error *err)
{
    static const struct {
        const char *name;
        char *(*load)(const char *path, int *status, struct error *err);
    } places[] = {{"chat_template.jinja", text_load}, {"chat_template.json", member_load}, {"tokenizer_config.json", member_load}};
    char *text = NULL;
    for (size_t i = 0; i < sizeof places / sizeof *places && !text && *status == 0; i++) {
        char *path = mem_format("%s/%s", dir, places[i].name);
        text = places[i].load(path, status, err);
        free(path);
    }
    return text;
}

/* A line feed, as it is or as a Jinja string writes it; 0 where neither stands. */
static size_t line_feed(const char *at)
{
    return *at == '\n' ? 1 : strncmp(at, "\\n", 2) == 0 ? 2 : 0;
}

static bool is_literal(const char *text, size_t n)
{
    return !memchr(text, '{', n) && !memmem(text, n, "' +", 3) && !memmem(text, n, "\" +", 3);
}

int chat_template_system(char *text, size_t size, const char *dir, struct error *err)
{
    int status = 0;
    char *chat = template_load(dir, &status, err);
    if (chat)
        *text = 0; /* a template without a default writes no system turn */
    for (const char *at = chat; at && (at = strstr(at, SYSTEM_START));) {
        at += strlen(SYSTEM_START);
        size_t feed = line_feed(at);
        const char *start = at + feed, *end = strstr(start, SYSTEM_END);
        if (!end)
            break;
        size_t n = (size_t)(end - start);
        if (!feed || !is_literal(start, n))
            continue;
        if (n >= size)
            status =
                fail(err, "%s: the system text of the chat template has %zu bytes; at most %zu are supported", dir, n, size - 1);
        else
            snprintf(text, size, "%.*s", (int)n, start);
        break;
    }
    free(chat);
    return status;
}
