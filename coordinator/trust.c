/* trust.c - certificates and tokens of the two ports */
#include "coordinator/trust.h"

#include <string.h>

#include "base/log.h"
#include "proto/step.h"

/* Can only this machine reach it? */
static bool address_is_local(const char *address)
{
    static const char *const local[] = {"unix:", "127.", "localhost:", "[::1]:"};
    for (size_t i = 0; i < sizeof local / sizeof *local; i++)
        if (strncmp(address, local[i], strlen(local[i])) == 0)
            return true;
    return false;
}

static int workers_check(const struct trust *trust, const struct coordinator_options *options, struct error *err)
{
    if (trust->workers.token || trust->workers.authorities || address_is_local(options->worker_listen))
        return 0;
    return fail(err,
                "--worker-listen %s: other machines reach this address and anybody could attach as a worker: give "
                "--worker-token-file or --worker-tls-client-ca",
                options->worker_listen);
}

static void tokens_in_the_clear(const struct trust *trust, const struct coordinator_options *options)
{
    for (int i = 0; i < options->n_listen; i++)
        if (trust->clients.token && !trust->clients.certificate && !address_is_local(options->listen[i]))
            log_line(LOG_WARNING, "--listen %s: without --tls-certificate the token crosses the network readable for all",
                     options->listen[i]);
}

int trust_read(struct trust *trust, const struct coordinator_options *options, struct error *err)
{
    *trust = (struct trust){0};
    if (rpc_security_read(&trust->clients, &options->clients, err) != 0 ||
        rpc_security_read(&trust->workers, &options->workers, err) != 0 ||
        rpc_security_environment(&trust->workers, GROUP_TOKEN_VARIABLE, err) != 0 || workers_check(trust, options, err) != 0) {
        trust_free(trust);
        return -1;
    }
    tokens_in_the_clear(trust, options);
    return 0;
}

void trust_free(struct trust *trust)
{
    rpc_security_free(&trust->clients);
    rpc_security_free(&trust->workers);
}
