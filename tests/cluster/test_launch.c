/* test_launch.c - what mpirun is told, what is refused, and a real mpirun
 *
 * With arguments (ranks, hosts or "", interface, remote shell, program...) it starts that group and ends with its status, for the
 * tests in tests/system. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "tests/check.h"

#include "cluster/launch.h"
#include "cluster/process.h"

static const char *const worker[] = {"/opt/massv-worker", "--target", "a b", NULL};

/* All arguments with a space between them. */
static void join(char *text, size_t size, char *const *argv)
{
    text[0] = 0;
    for (size_t used = 0; *argv && used < size; argv++)
        used += (size_t)snprintf(text + used, size - used, "%s ", *argv);
}

static void assert_has(const char *text, const char *part)
{
    if (!strstr(text, part))
        print_error("no \"%s\" in: %s\n", part, text);
    assert_non_null(strstr(text, part));
}

static void local_group_uses_shared_memory(void **state)
{
    (void)state;
    struct launch launch;
    char text[2000];
    assert_int_equal(launch_argv(&launch, &(struct launch_options){.ranks = 4, .program = worker}, NULL), 0);
    join(text, sizeof text, launch.argv);
    assert_has(launch.argv[0], "/mpirun");
    assert_has(text, " --oversubscribe ");
    assert_has(text, " --bind-to none ");
    assert_has(text, " --mca mpi_yield_when_idle 1 ");
    assert_has(text, " --mca oob_tcp_keepalive_time 2 ");
    assert_has(text, " --mca opal_signal 7,8,11 ");
    assert_has(text, " -np 4 /opt/massv-worker --target a b ");
    assert_null(strstr(text, "--host"));
    join(text, sizeof text, launch.environment);
    assert_has(text, "OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1 ");
    launch_free(&launch);
}

static void group_on_hosts_names_interface_and_remote_shell(void **state)
{
    (void)state;
    const char *const exported[] = {"MASSV_A", "MASSV_B=2", NULL};
    const struct launch_options options = {.ranks = 3,
                                           .hosts = "h1:1,h2:2",
                                           .interface = "eth0",
                                           .remote_shell = "/opt/rsh.sh",
                                           .exported = exported,
                                           .program = worker};
    struct launch launch;
    char text[2000];
    assert_int_equal(launch_argv(&launch, &options, NULL), 0);
    join(text, sizeof text, launch.argv);
    assert_has(text, " --host h1:1,h2:2 ");
    assert_has(text, " --mca btl self,vader,tcp ");
    assert_has(text, " --mca btl_tcp_if_include eth0 ");
    assert_has(text, " --mca oob_tcp_if_include eth0 ");
    assert_has(text, " --mca plm_rsh_agent /opt/rsh.sh ");
    assert_has(text, " -x MASSV_A -x MASSV_B=2 -np 3 ");
    assert_null(strstr(text, "--oversubscribe"));
    launch_free(&launch);
}

static void hosts_that_are_no_list_are_refused_by_name(void **state)
{
    (void)state;
    static const char *const bad[] = {"",   "h1,,h2", "h1:0",  "h1:x", "h1:",           "h1:-1",
                                      ":2", "h1 h2",  "h1:1,", "-x:1", "h1:99999999999"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        struct launch launch;
        struct error err = {""};
        const struct launch_options options = {.ranks = 1, .hosts = bad[i], .program = worker};
        assert_int_equal(launch_argv(&launch, &options, &err), -1);
        assert_has(err.text, "name:ranks");
        launch_free(&launch);
    }
}

static void too_few_hosts_and_no_ranks_are_refused(void **state)
{
    (void)state;
    struct launch launch;
    struct error err = {""};
    assert_int_equal(launch_argv(&launch, &(struct launch_options){.ranks = 4, .hosts = "h1,h2:2", .program = worker}, &err), -1);
    assert_has(err.text, "take 3 ranks, but 4 are wanted");
    assert_int_equal(launch_argv(&launch, &(struct launch_options){.ranks = 0, .program = worker}, &err), -1);
    assert_has(err.text, "at least 1 rank, not 0");
    assert_int_equal(launch_argv(&launch, &(struct launch_options){.ranks = 1}, &err), -1);
    assert_has(err.text, "no program");
}

static void missing_mpirun_says_what_to_install(void **state)
{
    (void)state;
    char *path = strdup(getenv("PATH"));
    setenv("PATH", "/nowhere::/", 1);
    struct launch launch;
    struct error err = {""};
    assert_int_equal(launch_argv(&launch, &(struct launch_options){.ranks = 1, .program = worker}, &err), -1);
    assert_has(err.text, "openmpi-bin");
    setenv("PATH", path, 1);
    free(path);
}

static void mpirun_takes_these_arguments(void **state)
{
    (void)state;
    const char *const exported[] = {"MASSV_TEST=from us", NULL};
    const char *const script[] = {"sh", "-c", "echo \"$MASSV_TEST\"; exit 3", NULL};
    struct launch launch;
    assert_int_equal(launch_argv(&launch, &(struct launch_options){.ranks = 2, .exported = exported, .program = script}, NULL), 0);
    int ends[2], status = -1;
    assert_int_equal(pipe(ends), 0);
    struct process *process;
    const struct process_options options = {
        .argv = launch.argv, .environment = launch.environment, .output = ends[1], .error_output = ends[1]};
    assert_int_equal(process_spawn(&process, &options, NULL), 0);
    close(ends[1]);
    char text[4000] = "";
    size_t used = 0;
    for (ssize_t n; used + 1 < sizeof text && (n = read(ends[0], text + used, sizeof text - 1 - used)) > 0;)
        used += (size_t)n;
    close(ends[0]);
    assert_true(process_wait(process, 30, &status));
    assert_has(text, "from us");
    assert_int_equal(status, 3); /* the status of the rank that failed */
    process_close(process);
    launch_free(&launch);
}

static int launch_and_wait(char **args)
{
    const struct launch_options options = {.ranks = (int)strtol(args[0], NULL, 10),
                                           .hosts = args[1][0] ? args[1] : NULL,
                                           .interface = args[2],
                                           .remote_shell = args[3],
                                           .program = (const char *const *)args + 4};
    struct launch launch;
    struct process *process;
    struct error err;
    int status = 1;
    if (launch_argv(&launch, &options, &err) ||
        process_spawn(&process, &(struct process_options){.argv = launch.argv, .environment = launch.environment}, &err)) {
        fprintf(stderr, "%s\n", err.text);
        return 1;
    }
    if (!process_wait(process, 120, &status))
        status = process_stop(process, 5);
    process_close(process);
    launch_free(&launch);
    return status;
}

int main(int argc, char **argv)
{
    if (argc > 5)
        return launch_and_wait(argv + 1);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(local_group_uses_shared_memory),
        cmocka_unit_test(group_on_hosts_names_interface_and_remote_shell),
        cmocka_unit_test(hosts_that_are_no_list_are_refused_by_name),
        cmocka_unit_test(too_few_hosts_and_no_ranks_are_refused),
        cmocka_unit_test(missing_mpirun_says_what_to_install),
        cmocka_unit_test(mpirun_takes_these_arguments),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
