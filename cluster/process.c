/* process.c - a child process and the promise that it ends */
#include "cluster/process.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/pidfd.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/memory.h"

extern char **environ;

struct process {
    pid_t pid;
    int handle; /* pidfd: readable when the child has ended */
    bool ended;
    int status;
};

static bool same_name(const char *a, const char *b)
{
    size_t n = strcspn(a, "=");
    return strncmp(a, b, n) == 0 && b[n] == '=';
}

static bool is_replaced(const char *entry, char *const *over)
{
    for (; over && *over; over++)
        if (same_name(*over, entry))
            return true;
    return false;
}

/* This process's environment without what `over` replaces, and `over`. Only the array is new. */
static char **environment_over(char *const *over)
{
    size_t n = 0, m = 0;
    while (environ[n])
        n++;
    while (over && over[m])
        m++;
    char **all = mem_new(n + m + 1, sizeof *all);
    size_t used = 0;
    for (size_t i = 0; i < n; i++)
        if (!is_replaced(environ[i], over))
            all[used++] = environ[i];
    for (size_t i = 0; i < m; i++)
        all[used++] = over[i];
    return all;
}

/* Between fork and exec: only what is allowed in the child of a process with threads. Returns only when exec failed. */
static void child_exec(const struct process_options *options, char **environment, pid_t parent)
{
    sigset_t none;
    sigemptyset(&none);
    setpgid(0, 0);
    prctl(PR_SET_PDEATHSIG, SIGTERM);
    if (getppid() != parent)
        _exit(1); /* the parent ended before the line above */
    int null = open("/dev/null", O_RDONLY);
    if (null < 0 || dup2(null, STDIN_FILENO) < 0)
        return;
    if (options->output && dup2(options->output, STDOUT_FILENO) < 0)
        return;
    if (options->error_output && dup2(options->error_output, STDERR_FILENO) < 0)
        return;
    signal(SIGPIPE, SIG_DFL); /* an ignored signal would stay ignored */
    sigprocmask(SIG_SETMASK, &none, NULL);
    execvpe(options->argv[0], options->argv, environment);
}

/* The error number of a failed exec comes through the pipe; a successful one closes it. */
static int exec_result(int from)
{
    int code = 0;
    ssize_t n;
    while ((n = read(from, &code, sizeof code)) < 0 && errno == EINTR)
        ;
    return n == (ssize_t)sizeof code ? code : 0;
}

static pid_t spawn_child(const struct process_options *options, char **environment, int *exec_error)
{
    int report[2];
    if (pipe2(report, O_CLOEXEC))
        return -1;
    pid_t parent = getpid(), pid = fork();
    if (pid == 0) {
        child_exec(options, environment, parent);
        int code = errno;
        _exit(write(report[1], &code, sizeof code) < 0 ? 126 : 127);
    }
    int fork_error = errno;
    close(report[1]);
    *exec_error = pid > 0 ? exec_result(report[0]) : 0;
    close(report[0]);
    errno = fork_error;
    return pid;
}

int process_spawn(struct process **process, const struct process_options *options, struct error *err)
{
    char **environment = environment_over(options->environment);
    int exec_error = 0;
    pid_t pid = spawn_child(options, environment, &exec_error);
    free(environment);
    if (pid < 0)
        return fail(err, "cannot start %s: %s", options->argv[0], strerror(errno));
    if (exec_error) {
        waitpid(pid, NULL, 0);
        return fail(err, "cannot execute %s: %s", options->argv[0], strerror(exec_error));
    }
    struct process *p = mem_new(1, sizeof *p);
    *p = (struct process){.pid = pid, .handle = pidfd_open(pid, 0)};
    if (p->handle < 0) {
        int rc = fail(err, "cannot watch %s: pidfd_open: %s (Linux 5.3 or later is needed)", options->argv[0], strerror(errno));
        kill(-pid, SIGKILL);
        waitpid(pid, NULL, 0);
        free(p);
        return rc;
    }
    *process = p;
    return 0;
}

pid_t process_id(const struct process *p)
{
    return p->pid;
}

/* Takes the status of a child that has ended, if it has, and ends what it left in its group. The group first: once the child is
 * reaped its number may belong to somebody else. */
static bool process_reap(struct process *p)
{
    siginfo_t end = {0};
    if (p->ended || waitid(P_PID, (id_t)p->pid, &end, WEXITED | WNOHANG | WNOWAIT) || end.si_pid != p->pid)
        return p->ended;
    kill(-p->pid, SIGKILL);
    waitpid(p->pid, NULL, 0);
    p->ended = true;
    p->status = end.si_code == CLD_EXITED ? end.si_status : 128 + end.si_status;
    return true;
}

bool process_wait(struct process *p, double timeout, int *status)
{
    double until = clock_seconds() + timeout;
    while (!process_reap(p)) {
        double left = timeout < 0 ? 3600 : until - clock_seconds();
        if (left <= 0)
            return false;
        struct pollfd end = {.fd = p->handle, .events = POLLIN};
        poll(&end, 1, (int)((left < 3600 ? left : 3600) * 1000) + 1);
    }
    if (status)
        *status = p->status;
    return true;
}

void process_signal(const struct process *p, int signal)
{
    if (!p->ended)
        kill(p->pid, signal);
}

int process_stop(struct process *p, double grace)
{
    int status;
    if (process_wait(p, 0, &status))
        return status;
    kill(p->pid, SIGTERM);
    if (process_wait(p, grace, &status))
        return status;
    kill(-p->pid, SIGKILL); /* not reaped yet, so the number is still this group's */
    process_wait(p, -1, &status);
    return status;
}

void process_close(struct process *p)
{
    if (!p)
        return;
    process_stop(p, 0);
    close(p->handle);
    free(p);
}
