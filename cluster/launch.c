/* launch.c - the arguments and the environment with which mpirun starts one worker group */
#include "cluster/launch.h"

#include <ctype.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/memory.h"

struct list {
    char **items; /* NULL-terminated, each its own allocation */
    size_t count;
};

static void list_add(struct list *list, const char *item)
{
    list->items = mem_grow(list->items, list->count + 2, sizeof *list->items);
    list->items[list->count++] = mem_string(item);
    list->items[list->count] = NULL;
}

static void list_add_all(struct list *list, const char *const *items)
{
    for (; items && *items; items++)
        list_add(list, *items);
}

static void list_add_mca(struct list *list, const char *name, const char *value)
{
    const char *const items[] = {"--mca", name, value, NULL};
    list_add_all(list, items);
}

static void list_free(char **items)
{
    for (char **item = items; item && *item; item++)
        free(*item);
    free(items);
}

/* The first executable of that name on PATH, or NULL. Owned by the caller. */
static char *find_on_path(const char *name)
{
    const char *path = getenv("PATH");
    while (path && *path) {
        size_t n = strcspn(path, ":");
        char *candidate = mem_format("%.*s/%s", (int)n, path, name);
        if (n && access(candidate, X_OK) == 0)
            return candidate;
        free(candidate);
        path += n + (path[n] == ':');
    }
    return NULL;
}

/* One "name" or "name:ranks" at `at`, up to the next comma; its ranks, or -1. */
static int host_ranks(const char *at, size_t length)
{
    size_t name = 0;
    while (name < length && (isalnum((unsigned char)at[name]) || strchr(".-_", at[name])))
        name++;
    if (name == 0 || at[0] == '-')
        return -1;
    if (name == length)
        return 1;
    int ranks = 0;
    for (size_t i = name + 1; i < length; i++) {
        if (!isdigit((unsigned char)at[i]) || ranks > 100000)
            return -1;
        ranks = ranks * 10 + (at[i] - '0');
    }
    return at[name] == ':' && ranks > 0 ? ranks : -1;
}

static int check_hosts(const char *hosts, int ranks, struct error *err)
{
    long offered = 0;
    for (const char *at = hosts;;) {
        size_t n = strcspn(at, ",");
        int more = host_ranks(at, n);
        if (more < 0)
            return fail(err, "hosts \"%s\": \"%.*s\" is not of the form name or name:ranks", hosts, (int)n, at);
        offered += more;
        if (!at[n])
            break;
        at += n + 1;
    }
    if (offered < ranks)
        return fail(err, "hosts \"%s\" take %ld ranks, but %d are wanted: write name:ranks for each host", hosts, offered, ranks);
    return 0;
}

static int check_options(const struct launch_options *o, struct error *err)
{
    if (o->ranks < 1)
        return fail(err, "a worker group has at least 1 rank, not %d", o->ranks);
    if (!o->program || !o->program[0])
        return fail(err, "no program for the ranks of the worker group");
    return o->hosts ? check_hosts(o->hosts, o->ranks, err) : 0;
}

/* Several machines: TCP between hosts, shared memory inside one. */
static void add_hosts(struct list *argv, const struct launch_options *o)
{
    list_add(argv, "--host");
    list_add(argv, o->hosts);
    list_add_mca(argv, "pml", "ob1");
    list_add_mca(argv, "btl", "self,vader,tcp");
    list_add_mca(argv, "orte_keep_fqdn_hostnames", "1"); /* else h1.a and h1.b are one host to mpirun, and ssh is asked for "h1" */
    if (o->interface) {
        list_add_mca(argv, "btl_tcp_if_include", o->interface);
        list_add_mca(argv, "oob_tcp_if_include", o->interface);
    }
    if (o->remote_shell)
        list_add_mca(argv, "plm_rsh_agent", o->remote_shell);
}

/* One machine. mpirun counts cores, not hardware threads or what a container may use, and refuses more ranks than that. */
static void add_local(struct list *argv)
{
    list_add(argv, "--oversubscribe");
    list_add_mca(argv, "pml", "ob1");
    list_add_mca(argv, "btl", "self,vader");
}

static void add_always(struct list *argv)
{
    /* A rank has threads of its own: bound to one core they would share it. */
    list_add(argv, "--bind-to");
    list_add(argv, "none");
    list_add_mca(argv, "mpi_yield_when_idle", "1");
    /* Open MPI prints a stack for these signals; SIGABRT (6) is left out: who aborts has said why, in one line. */
    list_add_mca(argv, "opal_signal", "7,8,11");
    /* Seconds: a host that is cut off ends the job after about 2 + 2 x 1, not never. */
    list_add_mca(argv, "oob_tcp_keepalive_time", "2");
    list_add_mca(argv, "oob_tcp_keepalive_intvl", "1");
    list_add_mca(argv, "oob_tcp_keepalive_probes", "2");
}

static void add_program(struct list *argv, const struct launch_options *o)
{
    for (const char *const *name = o->exported; name && *name; name++) {
        list_add(argv, "-x");
        list_add(argv, *name);
    }
    char *ranks = mem_format("%d", o->ranks);
    list_add(argv, "-np");
    list_add(argv, ranks);
    free(ranks);
    list_add_all(argv, o->program);
}

int launch_argv(struct launch *out, const struct launch_options *o, struct error *err)
{
    *out = (struct launch){0};
    if (check_options(o, err))
        return -1;
    char *mpirun = find_on_path("mpirun");
    if (!mpirun)
        return fail(err, "mpirun is not on PATH: install Open MPI (Debian: apt install openmpi-bin)");
    struct list argv = {0}, environment = {0};
    list_add(&argv, mpirun);
    free(mpirun);
    add_always(&argv);
    if (o->hosts)
        add_hosts(&argv, o);
    else
        add_local(&argv);
    add_program(&argv, o);
    /* Without these mpirun refuses to run for root, which is who runs containers and test machines. Nobody else is affected. */
    list_add(&environment, "OMPI_ALLOW_RUN_AS_ROOT=1");
    list_add(&environment, "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1");
    *out = (struct launch){.argv = argv.items, .environment = environment.items};
    return 0;
}

void launch_free(struct launch *launch)
{
    list_free(launch->argv);
    list_free(launch->environment);
    *launch = (struct launch){0};
}
