/* metrics_text.h - all metrics as one text in Prometheus' exposition format 0.0.4 */
#ifndef COORDINATOR_METRICS_TEXT_H
#define COORDINATOR_METRICS_TEXT_H

#include "coordinator/metrics.h"

#define METRICS_CONTENT_TYPE "text/plain; version=0.0.4; charset=utf-8"

/* What does not change. */
struct metrics_build {
    const char *version, *model, *drafter, *drafter_kind; /* drafter "" without one */
};

/* malloc'ed; *size without the 0 behind it. healthy: the service is READY. */
char *metrics_text(const struct metrics *metrics, const struct metrics_build *build, bool healthy, size_t *size);

#endif
