/* load_data.c - lines of JSON to packed requests */
#include "cli/load_data.h"

#include <errno.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "proto/ask.h"

/* path, which stands beside the file that names it. */
static char *path_beside(const char *file, const char *path)
{
    const char *slash = strrchr(file, '/');
    if (*path == '/' || !slash)
        return mem_string(path);
    return mem_format("%.*s/%s", (int)(slash - file), file, path);
}

static int request_fill(struct generate_turn *turn, struct generate_picture *picture, const json_t *line, const char *file,
                        struct error *err)
{
    const json_t *prompt = json_object_get(line, "prompt"), *image = json_object_get(line, "image");
    if (!json_is_string(prompt))
        return fail(err, "prompt: a string is wanted");
    if (image && !json_is_null(image) && !json_is_string(image))
        return fail(err, "image: a path or null is wanted");
    if (json_is_string(image)) {
        char *path = path_beside(file, json_string_value(image));
        int broken = ask_picture(picture, path, err);
        free(path);
        if (broken)
            return -1;
        turn->n_parts++; /* the picture, before the text */
    }
    turn->parts[turn->n_parts++].text = (char *)(uintptr_t)json_string_value(prompt); /* only read */
    return 0;
}

static int request_pack(struct rpc_bytes *bytes, const json_t *line, const char *file, const struct generate_request *like,
                        struct error *err)
{
    struct generate_part parts[2] = {{0}};
    char role[] = "user";
    struct generate_turn turn = {role, parts, 0};
    struct generate_picture picture = {0};
    struct generate_request request = *like;
    int result = request_fill(&turn, &picture, line, file, err);
    request.turns = &turn;
    request.n_turns = 1;
    request.pictures = &picture;
    request.n_pictures = picture.size > 0;
    if (!result)
        result = generate_request_pack(&request, bytes, err);
    free(picture.bytes);
    return result;
}

static int line_take(struct load_data *data, const char *text, const char *file, const struct generate_request *like,
                     struct error *err)
{
    json_error_t at;
    json_t *line = json_loads(text, 0, &at);
    if (!line)
        return fail(err, "not JSON: %s", at.text);
    data->requests = mem_grow(data->requests, (size_t)data->n + 1, sizeof *data->requests);
    int result = request_pack(&data->requests[data->n], line, file, like, err);
    data->n += !result;
    json_decref(line);
    return result;
}

int load_data_read(struct load_data *data, const char *path, const struct generate_request *like, struct error *err)
{
    char *text = NULL;
    size_t room = 0;
    int result = 0;
    *data = (struct load_data){0};
    FILE *f = fopen(path, "r");
    if (!f)
        return fail(err, "%s: %s", path, strerror(errno));
    for (int number = 1; !result && getline(&text, &room, f) >= 0; number++)
        if (text[strspn(text, " \t\r\n")] && (result = line_take(data, text, path, like, err)))
            fail_in(err, "%s: line %d", path, number);
    if (!result && ferror(f))
        result = fail(err, "%s: cannot be read: is it a file?", path);
    else if (!result && !data->n)
        result = fail(err, "%s: has no line; a JSON object with a prompt is wanted on each", path);
    free(text);
    fclose(f);
    if (result)
        load_data_free(data);
    return result;
}

void load_data_free(struct load_data *data)
{
    for (int i = 0; i < data->n; i++)
        free(data->requests[i].data);
    free(data->requests);
    *data = (struct load_data){0};
}
