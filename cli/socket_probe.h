/* socket_probe.h - what a plain TCP connection between the first and the last rank does: the yardstick of messages between ranks */
#ifndef CLI_SOCKET_PROBE_H
#define CLI_SOCKET_PROBE_H

#include "base/error.h"
#include "cluster/comm.h"

struct socket_probe {
    double seconds;          /* that one byte takes one way */
    double bytes_per_second; /* of a long message */
};

struct socket_line;

/* All ranks call these together; the ranks between the first and the last only wait. -1 on every rank, with the reason, when the
 * two cannot reach each other or a message takes more than 10 s. Close with NULL is legal. */
int socket_line_open(struct socket_line **line, struct comm *comm, struct error *err);
void socket_line_close(struct socket_line *line);

/* One round; `best` keeps the best of all rounds on every rank, and starts as zeros. */
int socket_line_sample(struct socket_line *line, struct socket_probe *best, struct error *err);

#endif
