/* main.c - massv-coordinator: the one program of a service that clients and worker groups talk to */
#include <signal.h>

#include "base/log.h"
#include "base/memory.h"
#include "base/standard.h"
#include "coordinator/serve.h"

/* Threads inherit the mask: signals come to sigwait in serve.c alone. A client that went away must not end the service. */
static void signals_block(void)
{
    sigset_t signals;
    sigemptyset(&signals);
    sigaddset(&signals, SIGTERM);
    sigaddset(&signals, SIGINT);
    pthread_sigmask(SIG_BLOCK, &signals, NULL);
    signal(SIGPIPE, SIG_IGN);
}

int main(int argc, char **argv)
{
    struct coordinator_options options;
    struct error err;
    standard_hold();
    mem_few_pools();
    log_name("coordinator", -1);
    coordinator_options_parse(&options, argc, argv);
    signals_block();
    if (serve(&options, &err) != 0) {
        log_line(LOG_ERROR, "%s", err.text);
        return 1;
    }
    return 0;
}
