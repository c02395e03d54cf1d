/* rpc_flags.c - argp of a client's security */
#include "proto/rpc_flags.h"

#include "proto/rpc_address.h"

enum { KEY_CA = 4096, KEY_CERTIFICATE, KEY_KEY, KEY_TOKEN }; /* beyond any parent's keys */

static const struct argp_option flags[] = {
    {0, 0, 0, 0, "How the connection is secured:", 90},
    {"tls-ca", KEY_CA, "FILE", 0, "speak TLS; the server's certificate must be signed by one of these (PEM)", 90},
    {"tls-certificate", KEY_CERTIFICATE, "FILE", 0, "own certificate, for a server that asks for one (PEM)", 90},
    {"tls-key", KEY_KEY, "FILE", 0, "its key (PEM)", 90},
    {"token-file", KEY_TOKEN, "FILE", 0, "a file that holds the bearer token to show", 90},
    {0}};

static error_t flags_parse(int key, char *arg, struct argp_state *state)
{
    struct rpc_security_files *files = state->input;
    switch (key) {
    case KEY_CA:
        files->authorities = arg;
        return 0;
    case KEY_CERTIFICATE:
        files->certificate = arg;
        return 0;
    case KEY_KEY:
        files->key = arg;
        return 0;
    case KEY_TOKEN:
        files->token = arg;
        return 0;
    case ARGP_KEY_END:
        if (!files->certificate != !files->key)
            argp_error(state, "--tls-certificate and --tls-key come together");
        else if (files->certificate && !files->authorities)
            argp_error(state, "--tls-certificate is for TLS, which --tls-ca turns on");
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

const char *flag_address(const struct argp_state *state, const char *flag, const char *text)
{
    struct error err;
    if (rpc_address_check(text, &err))
        argp_error(state, "%s %s", flag, err.text);
    return text;
}

void flag_security(const struct argp_state *state, const struct rpc_security_files *files, const char *prefix)
{
    if (!files->certificate != !files->key)
        argp_error(state, "%stls-certificate and %stls-key come together", prefix, prefix);
    if (files->authorities && !files->certificate)
        argp_error(state, "%stls-client-ca is for TLS, which %stls-certificate turns on", prefix, prefix);
}

const struct argp rpc_client_argp = {.options = flags, .parser = flags_parse};

int rpc_channel_open_with(struct rpc_channel **channel, const char *address, const struct rpc_security_files *files,
                          struct error *err)
{
    struct rpc_security security;
    const struct rpc_options options = {.security = &security};
    *channel = NULL;
    if (rpc_security_read(&security, files, err) != 0)
        return -1;
    int result = rpc_channel_open(channel, address, &options, err);
    rpc_security_free(&security);
    return result;
}
