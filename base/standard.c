/* standard.c - the three standard descriptors */
#include "base/standard.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

void standard_hold(void)
{
    for (int fd = STDIN_FILENO; fd <= STDERR_FILENO; fd++)
        if (fcntl(fd, F_GETFD) < 0)
            (void)open("/dev/null", fd == STDIN_FILENO ? O_WRONLY : O_RDONLY); /* gets the lowest free number: fd */
}

int standard_flush(struct error *err)
{
    if (fflush(stdout))
        return fail(err, "standard output: %s", strerror(errno));
    return ferror(stdout) ? fail(err, "standard output: an earlier write failed") : 0;
}
