/* trust.c - certificates and tokens of the two ports */
#include "coordinator/trust.h"

#include "base/log.h"
#include "proto/rpc_address.h"
#include "proto/step.h"

static int workers_check(const struct trust *trust, const struct coordinator_options *options, struct error *err)
{
    if (trust->workers.token || trust->workers.authorities || rpc_address_is_local(options->worker_listen))
        return 0;
    return fail(err,
                "--worker-listen %s: other machines reach this address and anybody could attach as a worker: give "
                "--worker-token-file or --worker-tls-client-ca",
                options->worker_listen);
}

static void tokens_in_the_clear(const struct trust *trust, const struct coordinator_options *options)
{
    for (int i = 0; i < options->n_listen; i++)
        if (trust->clients.token && !trust->clients.certificate && !rpc_address_is_local(options->listen[i]))
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
