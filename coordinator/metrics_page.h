/* metrics_page.h - the service's state over HTTP: GET /metrics for Prometheus, GET /health (200 while READY, else 503, and JSON
 * that says why). Plain HTTP without a password: it belongs on loopback or on a network of one's own. Threads of its own, one for
 * each of a bounded number of connections; they disturb nobody but the scheduler, for one copy of the counts. */
#ifndef COORDINATOR_METRICS_PAGE_H
#define COORDINATOR_METRICS_PAGE_H

#include "coordinator/health.h"
#include "coordinator/mailbox.h"
#include "coordinator/metrics_text.h"

struct metrics_page;

struct metrics_page_options {
    const char *address; /* host:port; port 0 chooses one */
    struct mailbox *mailbox;
    struct health *health;
    struct metrics_build build; /* its texts outlive the page */
};

int metrics_page_open(struct metrics_page **page, const struct metrics_page_options *options, struct error *err);
int metrics_page_port(const struct metrics_page *page);
/* Returns when nobody is being answered any more, within seconds; the scheduler must still run. NULL is legal. */
void metrics_page_close(struct metrics_page *page);

#endif
