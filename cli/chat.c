/* chat.c - massv chat: a conversation in the terminal. The conversation is one growing request, sent whole for each answer;
 * pictures that come again cost the service a look at their hash.
 *
 * Lines are edited by the terminal itself, so that no library has to know about it. Ctrl-C cancels the answer that runs and keeps
 * what came of it; Ctrl-D ends. */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/flags.h"
#include "base/memory.h"
#include "base/signals.h"
#include "base/standard.h"
#include "cli/answer_print.h"
#include "cli/cli.h"
#include "cli/lines.h"
#include "cli/sampling_flags.h"
#include "proto/ask.h"
#include "proto/generate.h"
#include "proto/limit_flags.h"
#include "proto/rpc_flags.h"

enum { KEY_ADDRESS = 256, KEY_IMAGE, KEY_SYSTEM, KEY_MAX_TOKENS, KEY_DRAFT_TOKENS };

struct arguments {
    const char *address, *system;
    struct rpc_security_files security;
    struct sampling_flags sampling;
    struct cli_list images;
    int max_tokens, draft_tokens;
};

static const struct argp_option flags[] = {
    {"address", KEY_ADDRESS, "ADDR", 0, "the service to talk to", 0},
    {"image", KEY_IMAGE, "FILE", 0, "a picture for the first message (JPEG, PNG, WebP); may be repeated", 0},
    {"system", KEY_SYSTEM, "TEXT", 0, "system turn; default: the model family's", 0},
    {"max-tokens", KEY_MAX_TOKENS, "N", 0, "end each answer after N tokens; default 256", 0},
    {"draft-tokens", KEY_DRAFT_TOKENS, "K|auto", 0, "drafts per step, 0 to 16; 0 is without speculation; auto: as many as pay", 0},
    {0}};

static const char doc[] = "massv chat - a conversation in the terminal (/help there lists what it understands)\v"
                          "Example:\n  massv chat --address 127.0.0.1:50051 --image models/pictures/scene-00002.png";

static error_t arguments_parse(int key, char *arg, struct argp_state *state)
{
    struct arguments *a = state->input;
    switch (key) {
    case ARGP_KEY_INIT:
        state->child_inputs[0] = &a->security;
        state->child_inputs[1] = &a->sampling;
        return 0;
    case KEY_ADDRESS:
        a->address = flag_address(state, "--address", arg);
        return 0;
    case KEY_IMAGE:
        cli_list_add(state, "--image", arg, &a->images);
        return 0;
    case KEY_SYSTEM:
        a->system = cli_text(state, "--system", arg);
        return 0;
    case KEY_MAX_TOKENS:
        a->max_tokens = flag_number(state, "--max-tokens", arg, 1, 1 << 24);
        return 0;
    case KEY_DRAFT_TOKENS:
        a->draft_tokens = draft_tokens_flag(state, arg);
        return 0;
    case ARGP_KEY_END:
        if (!a->address)
            argp_error(state, "--address is missing");
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

struct chat {
    const struct arguments *arguments;
    struct rpc_channel *channel;
    struct generate_request request; /* the conversation so far */
    char **files;                    /* of its pictures */
    int waiting;                     /* the last pictures of the request, which belong to the next message */
    struct lines lines;
    bool over;
};

/* ---- the conversation ---- */

/* The turn takes text over. */
static void turn_add(struct chat *chat, const char *role, int pictures, char *text)
{
    struct generate_request *r = &chat->request;
    r->turns = mem_grow(r->turns, (size_t)r->n_turns + 1, sizeof *r->turns);
    struct generate_part *parts = mem_new((size_t)pictures + 1, sizeof *parts);
    parts[pictures].text = text;
    r->turns[r->n_turns++] = (struct generate_turn){mem_string(role), parts, pictures + 1};
}

/* Takes back the last message and its pictures. */
static void turn_drop(struct chat *chat)
{
    struct generate_request *r = &chat->request;
    struct generate_turn *turn = &r->turns[--r->n_turns];
    for (int i = 0; i < turn->n_parts; i++) {
        if (!turn->parts[i].text) {
            free(r->pictures[--r->n_pictures].bytes);
            free(chat->files[r->n_pictures]);
        }
        free(turn->parts[i].text);
    }
    free(turn->parts);
    free(turn->role);
}

static void conversation_free(struct chat *chat)
{
    for (int i = 0; i < chat->request.n_pictures; i++)
        free(chat->files[i]);
    free(chat->files);
    chat->files = NULL;
    generate_request_free(&chat->request);
}

static void chat_clear(struct chat *chat)
{
    const struct arguments *a = chat->arguments;
    conversation_free(chat);
    chat->request = (struct generate_request){
        .request_id = mem_string(""), .model = mem_string(""), .max_tokens = a->max_tokens, .draft_tokens = a->draft_tokens};
    chat->waiting = 0;
    sampling_flags_take(&chat->request, &a->sampling);
    if (a->system)
        turn_add(chat, "system", 0, mem_string(a->system));
}

static int picture_add(struct chat *chat, const char *path, struct error *err)
{
    struct generate_request *r = &chat->request;
    struct generate_picture picture = {0};
    if (ask_picture(&picture, path, err)) {
        free(picture.bytes);
        return -1;
    }
    r->pictures = mem_grow(r->pictures, (size_t)r->n_pictures + 1, sizeof *r->pictures);
    chat->files = mem_grow(chat->files, (size_t)r->n_pictures + 1, sizeof *chat->files);
    chat->files[r->n_pictures] = mem_string(path);
    r->pictures[r->n_pictures++] = picture;
    chat->waiting++;
    return 0;
}

/* ---- one answer ---- */

/* Reads and shows the answer to its end: 0, 1 when a signal ended it (SIGINT only the answer, others the chat, too), -1. */
static int answer_follow(struct chat *chat, struct rpc_stream *stream, struct answer *answer, enum rpc_status *status,
                         struct error *err)
{
    for (;;) {
        struct rpc_bytes message = {0};
        struct generate_response response;
        int got = rpc_stream_read(stream, 0.1, &message, status, err); /* s; how soon Ctrl-C is seen */
        int signal = signals_pending();
        chat->over |= signal && signal != SIGINT;
        int broken = got == 1 && generate_response_unpack(&response, message.data, message.size, err);
        free(message.data);
        if (broken)
            return -1;
        if (got == 1) {
            answer_add(answer, &response);
            answer_show(stdout, &response, MARKS_NONE);
            generate_response_free(&response);
            if (standard_flush(err))
                return -1;
        }
        if (signal)
            return 1;
        if (got == 0 || got == -1)
            return got;
    }
}

static int answer_get(struct chat *chat, struct answer *answer, struct error *err)
{
    struct rpc_bytes bytes;
    struct rpc_stream *stream = NULL;
    enum rpc_status status = RPC_OK;
    if (generate_request_pack(&chat->request, &bytes, err))
        return -1;
    int result = rpc_stream_open(&stream, chat->channel, GENERATE_PATH, bytes.data, bytes.size, 0, err);
    free(bytes.data);
    if (!result && (result = answer_follow(chat, stream, answer, &status, err)) == -1 && status != RPC_OK) {
        ask_name_picture((const char *const *)chat->files, chat->request.n_pictures, err);
        ask_failed(chat->arguments->address, status, err);
    }
    rpc_stream_close(stream);
    return result;
}

/* A message that got no answer is forgotten, so that the next one does not fail by it; of a cancelled answer stays what was shown.
 */
static void message_send(struct chat *chat, char *text)
{
    struct answer answer = {0};
    struct error err;
    turn_add(chat, "user", chat->waiting, text);
    chat->waiting = 0;
    int result = answer_get(chat, &answer, &err);
    if (answer.size)
        puts(result == 1 ? " [cancelled]" : "");
    if (result == -1)
        fprintf(stderr, "massv chat: %s (the message is forgotten)\n", err.text);
    if (result == -1 || (result == 1 && !answer.size))
        turn_drop(chat);
    else
        turn_add(chat, "assistant", 0, mem_string(answer.text ? answer.text : ""));
    answer_free(&answer);
}

/* ---- what a user types ---- */

static void do_image(struct chat *chat, const char *path)
{
    struct error err;
    if (!*path)
        fprintf(stderr, "/image FILE: which file?\n");
    else if (picture_add(chat, path, &err))
        fprintf(stderr, "%s\n", err.text);
    else
        fprintf(stderr, "%s goes with the next message\n", path);
}

static void do_clear(struct chat *chat, const char *rest)
{
    (void)rest;
    chat_clear(chat);
    fprintf(stderr, "the conversation is forgotten\n");
}

static void do_quit(struct chat *chat, const char *rest)
{
    (void)rest;
    chat->over = true;
}

static void do_help(struct chat *chat, const char *rest);

static const struct order {
    const char *name, *words;
    void (*run)(struct chat *chat, const char *rest);
} orders[] = {
    {"/image", "FILE: the picture goes with the next message", do_image},
    {"/clear", "forgets the conversation and its pictures", do_clear},
    {"/help", "these lines; Ctrl-C cancels an answer, Ctrl-D ends", do_help},
    {"/quit", "ends", do_quit},
    {0},
};

static void do_help(struct chat *chat, const char *rest)
{
    (void)chat;
    (void)rest;
    for (const struct order *o = orders; o->name; o++)
        fprintf(stderr, "  %-7s %s\n", o->name, o->words);
}

static void order_run(struct chat *chat, const char *line)
{
    size_t size = strcspn(line, " \t");
    for (const struct order *o = orders; o->name; o++)
        if (strlen(o->name) == size && strncmp(line, o->name, size) == 0) {
            o->run(chat, line + size + strspn(line + size, " \t"));
            return;
        }
    fprintf(stderr, "%.*s is not known; /help lists what is\n", (int)size, line);
}

/* The next line; NULL with `over` at the end, NULL without after Ctrl-C. */
static char *line_read(struct chat *chat, bool terminal)
{
    int signal;
    if (terminal) {
        fputs("> ", stdout);
        fflush(stdout);
    }
    char *line = lines_next(&chat->lines, &signal);
    chat->over |= !line && signal != SIGINT;
    if (!line && terminal)
        putchar('\n');
    return line;
}

static void chat_run(struct chat *chat)
{
    bool terminal = isatty(STDIN_FILENO) && isatty(STDOUT_FILENO);
    while (!chat->over) {
        char *line = line_read(chat, terminal);
        if (line && line[strspn(line, " \t\r")] && line[0] != '/') {
            message_send(chat, line);
            continue; /* the line belongs to the conversation now */
        }
        if (line && line[0] == '/')
            order_run(chat, line);
        free(line);
    }
}

static int chat_open(struct chat *chat, struct error *err)
{
    const struct arguments *a = chat->arguments;
    chat_clear(chat);
    for (int i = 0; i < a->images.n; i++)
        if (picture_add(chat, a->images.values[i], err))
            return -1;
    return rpc_channel_open_with(&chat->channel, a->address, &a->security, err);
}

int command_chat(struct comm *comm, int argc, char **argv)
{
    struct arguments a = {.draft_tokens = DRAFT_TOKENS_ABSENT};
    struct chat chat = {.arguments = &a, .lines = {.fd = STDIN_FILENO}};
    struct error err;
    const struct argp_child children[] = {{.argp = &rpc_client_argp}, {.argp = &sampling_flags_argp, .group = 3}, {0}};
    const struct argp argp = {.options = flags, .parser = arguments_parse, .doc = doc, .children = children};
    cli_parse(&argp, argc, argv, &a);
    signals_hold();
    int result = chat_open(&chat, &err);
    if (!result)
        chat_run(&chat);
    rpc_channel_close(chat.channel);
    conversation_free(&chat);
    lines_free(&chat.lines);
    return result ? cli_failed(comm, argv[0], &err) : CLI_DONE;
}
