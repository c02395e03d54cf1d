/* top.c - massv top: a service at a glance, second by second. It asks the three questions of massv.v1.Control and needs no other
 * port. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <termios.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/flags.h"
#include "base/memory.h"
#include "base/signals.h"
#include "base/standard.h"
#include "cli/cli.h"
#include "cli/top_view.h"
#include "proto/rpc_flags.h"

static const double ANSWER_SECONDS = 5, LOOK_SECONDS = 0.05; /* for a question; how soon a key or a signal is seen */

enum { KEY_ADDRESS = 256, KEY_ONCE, KEY_JSON, KEY_INTERVAL };

struct arguments {
    const char *address;
    struct rpc_security_files security;
    float interval;
    bool once, json;
};

static const struct argp_option flags[] = {
    {"address", KEY_ADDRESS, "ADDR", 0, "the service to look at", 0},
    {"interval", KEY_INTERVAL, "S", 0, "seconds between two looks, over which rates are taken; default 1", 0},
    {"once", KEY_ONCE, 0, 0, "print one picture of an interval, and end; without a terminal this is the default", 0},
    {"json", KEY_JSON, 0, 0, "the same as one JSON object", 0},
    {0}};

static const char doc[] = "massv top - watch a running service\v"
                          "q or Ctrl-C ends it.\n\n"
                          "Example:\n  massv top --address 127.0.0.1:50051";

static error_t arguments_parse(int key, char *arg, struct argp_state *state)
{
    struct arguments *a = state->input;
    switch (key) {
    case ARGP_KEY_INIT:
        state->child_inputs[0] = &a->security;
        return 0;
    case KEY_ADDRESS:
        a->address = flag_address(state, "--address", arg);
        return 0;
    case KEY_INTERVAL:
        a->interval = flag_real(state, "--interval", arg, 0.1f, 3600);
        return 0;
    case KEY_JSON:
        a->json = true;
        return 0;
    case KEY_ONCE:
        a->once = true;
        return 0;
    case ARGP_KEY_END:
        if (!a->address)
            argp_error(state, "--address is missing");
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

/* ---- the service ---- */

static int question_ask(struct rpc_channel *channel, const char *path, struct rpc_bytes *reply, struct error *err)
{
    enum rpc_status status = RPC_OK;
    if (rpc_unary(channel, path, "", 0, ANSWER_SECONDS, reply, &status, err) == 0)
        return 0;
    return fail_in(err, "%s", rpc_status_name(status));
}

static int look_take(struct rpc_channel *channel, struct top_look *look, struct error *err)
{
    struct rpc_bytes server = {0}, model = {0}, health = {0};
    int result = question_ask(channel, SERVER_INFO_PATH, &server, err) || question_ask(channel, MODEL_INFO_PATH, &model, err) ||
                         question_ask(channel, HEALTH_PATH, &health, err) ||
                         server_info_unpack(&look->server, server.data, server.size, err) ||
                         model_info_unpack(&look->model, model.data, model.size, err) ||
                         health_info_unpack(&look->health, health.data, health.size, err)
                     ? -1
                     : 0;
    look->at = clock_seconds();
    free(server.data);
    free(model.data);
    free(health.data);
    return result;
}

/* ---- the terminal ---- */

struct screen {
    struct termios before;
    bool own;
};

/* A page of its own without a cursor, keys as they are pressed. Ctrl-Z is off: it would leave the terminal so. */
static void screen_take(struct screen *screen)
{
    struct termios raw;
    if (tcgetattr(STDIN_FILENO, &screen->before) != 0)
        return;
    raw = screen->before;
    raw.c_lflag &= ~(tcflag_t)(ICANON | ECHO);
    raw.c_cc[VMIN] = raw.c_cc[VTIME] = 0;
    raw.c_cc[VSUSP] = _POSIX_VDISABLE;
    screen->own = tcsetattr(STDIN_FILENO, TCSANOW, &raw) == 0;
    fputs("\033[?1049h\033[?25l", stdout);
}

static void screen_give(const struct screen *screen)
{
    if (!screen->own)
        return;
    fputs("\033[?25h\033[?1049l", stdout);
    fflush(stdout);
    tcsetattr(STDIN_FILENO, TCSANOW, &screen->before);
}

static struct top_size screen_size(void)
{
    struct winsize size;
    if (ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) != 0 || !size.ws_row || !size.ws_col)
        return (struct top_size){24, 80};
    return (struct top_size){size.ws_row - 1, size.ws_col};
}

/* Waits; true when the user wants to go: a signal, q, or no terminal any more. */
static bool screen_wait(double seconds)
{
    double until = clock_seconds() + seconds;
    do {
        char key;
        ssize_t n = read(STDIN_FILENO, &key, 1);
        if (signals_pending() || (n == 1 && (key == 'q' || key == 'Q')) || (n < 0 && errno != EAGAIN && errno != EINTR))
            return true;
        clock_sleep(LOOK_SECONDS);
    } while (clock_seconds() < until);
    return false;
}

static int screen_draw(const struct arguments *a, const struct top_look *before, const struct top_look *now, const char *trouble,
                       struct error *err)
{
    fputs("\033[H", stdout);
    top_print(stdout, a->address, before, now, trouble, screen_size(), "\033[K\r\n");
    fputs("\033[J", stdout);
    return standard_flush(err);
}

/* A service that does not answer is shown as it was, with the reason: it may come back. */
static int screen_follow(const struct arguments *a, struct rpc_channel *channel, struct top_look looks[2], struct error *err)
{
    struct error silence;
    int now = 0, result = screen_draw(a, &looks[0], &looks[0], NULL, err);
    while (!result && !screen_wait(a->interval)) {
        if (look_take(channel, &looks[1 - now], &silence) != 0) {
            result = screen_draw(a, &looks[now], &looks[now], silence.text, err);
            continue;
        }
        now = 1 - now;
        result = screen_draw(a, &looks[1 - now], &looks[now], NULL, err);
    }
    return result;
}

/* ---- the command ---- */

static int once(const struct arguments *a, struct rpc_channel *channel, struct top_look looks[2], struct error *err)
{
    clock_sleep(a->interval);
    if (look_take(channel, &looks[1], err) != 0)
        return -1;
    if (a->json)
        top_json(stdout, &looks[0], &looks[1]);
    else
        top_print(stdout, a->address, &looks[0], &looks[1], NULL, (struct top_size){1000, 500}, "\n");
    return 0;
}

static int top(const struct arguments *a, struct error *err)
{
    struct rpc_channel *channel;
    struct screen screen = {.own = false};
    if (rpc_channel_open_with(&channel, a->address, &a->security, err) != 0)
        return -1;
    struct top_look *looks = mem_new(2, sizeof *looks);
    int result = look_take(channel, &looks[0], err);
    if (result == 0 && (a->once || a->json || !isatty(STDIN_FILENO) || !isatty(STDOUT_FILENO))) {
        result = once(a, channel, looks, err);
    } else if (result == 0) {
        screen_take(&screen);
        result = screen_follow(a, channel, looks, err);
        screen_give(&screen);
    }
    free(looks);
    rpc_channel_close(channel);
    return result ? fail_in(err, "%s", a->address) : 0;
}

int command_top(struct comm *comm, int argc, char **argv)
{
    struct arguments a = {.interval = 1};
    struct error err;
    const struct argp_child children[] = {{.argp = &rpc_client_argp}, {0}};
    const struct argp argp = {.options = flags, .parser = arguments_parse, .doc = doc, .children = children};
    cli_parse(&argp, argc, argv, &a);
    signals_hold();
    return top(&a, &err) ? cli_failed(comm, argv[0], &err) : CLI_DONE;
}
