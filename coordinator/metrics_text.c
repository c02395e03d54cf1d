/* metrics_text.c - struct metrics to text */
#include "coordinator/metrics_text.h"

#include <inttypes.h>
#include <stdio.h>

#include "base/log.h"
#include "coordinator/metrics_table.h"

static void put_head(FILE *out, const char *name, enum metric_type type, const char *help)
{
    static const char *const types[] = {[METRIC_COUNTER] = "counter", [METRIC_GAUGE] = "gauge", [METRIC_HISTOGRAM] = "histogram"};
    fprintf(out, "# HELP " METRICS_PREFIX "%s %s\n# TYPE " METRICS_PREFIX "%s %s\n", name, help, name, types[type]);
}

/* What a peer or a file was called may contain anything. */
static void put_label(FILE *out, const char *label, const char *value)
{
    fprintf(out, "%s=\"", label);
    for (; *value; value++) {
        if (*value == '\n')
            fputs("\\n", out);
        else if (*value == '"' || *value == '\\')
            fprintf(out, "\\%c", *value);
        else
            fputc(*value, out);
    }
    fputc('"', out);
}

/* labels: "" or "group=\"0\"". */
static void put_histogram(FILE *out, const char *name, const struct histogram *histogram, const char *labels)
{
    const char *comma = *labels ? "," : "", *open = *labels ? "{" : "", *close = *labels ? "}" : "";
    const struct scale *scale = histogram->scale;
    uint64_t below = 0;
    for (int i = 0; i < scale->n; i++) {
        below += histogram->counts[i];
        fprintf(out, METRICS_PREFIX "%s_bucket{%s%sle=\"%g\"} %" PRIu64 "\n", name, labels, comma, scale->bounds[i], below);
    }
    below += histogram->counts[scale->n];
    fprintf(out, METRICS_PREFIX "%s_bucket{%s%sle=\"+Inf\"} %" PRIu64 "\n", name, labels, comma, below);
    fprintf(out, METRICS_PREFIX "%s_sum%s%s%s %.12g\n", name, open, labels, close, histogram->sum);
    fprintf(out, METRICS_PREFIX "%s_count%s%s%s %" PRIu64 "\n", name, open, labels, close, below);
}

/* One counter a label value. */
static void put_counters(FILE *out, const struct metric *metric, const uint64_t *values)
{
    for (int i = 0; i < metric->n; i++) {
        if (!metric->names)
            fprintf(out, METRICS_PREFIX "%s{%s=\"%d\"} %" PRIu64 "\n", metric->name, metric->label, i, values[i]);
        else if (metric->names[i])
            fprintf(out, METRICS_PREFIX "%s{%s=\"%s\"} %" PRIu64 "\n", metric->name, metric->label, metric->names[i], values[i]);
    }
}

static void put_samples(FILE *out, const struct metric *metric, const void *base, const char *labels)
{
    const void *value = (const char *)base + metric->offset;
    const char *open = *labels ? "{" : "", *close = *labels ? "}" : "";
    if (metric->type == METRIC_HISTOGRAM)
        put_histogram(out, metric->name, value, labels);
    else if (metric->label)
        put_counters(out, metric, value);
    else if (metric->type == METRIC_COUNTER)
        fprintf(out, METRICS_PREFIX "%s%s%s%s %" PRIu64 "\n", metric->name, open, labels, close, *(const uint64_t *)value);
    else
        fprintf(out, METRICS_PREFIX "%s%s%s%s %.12g\n", metric->name, open, labels, close, *(const double *)value);
}

/* The names of a group stand in one metric alone: another group may take its place, and the counts there go on. */
static void put_groups(FILE *out, const struct metrics *metrics)
{
    put_head(out, "group_attached", METRIC_GAUGE, "1 while the worker group in this place is attached, 0 since it was lost.");
    for (int i = 0; i < METRICS_GROUPS && metrics->groups[i].used; i++) {
        const struct metrics_group *group = &metrics->groups[i];
        fprintf(out, METRICS_PREFIX "group_attached{group=\"%d\",ranks=\"%d\",", i, group->ranks);
        put_label(out, "host", group->host);
        fputc(',', out);
        put_label(out, "device", group->device);
        fprintf(out, "} %g\n", group->attached);
    }
    for (const struct metric *metric = metric_group_table; metric->name; metric++) {
        put_head(out, metric->name, metric->type, metric->help);
        for (int i = 0; i < METRICS_GROUPS && metrics->groups[i].used; i++) {
            char labels[16];
            snprintf(labels, sizeof labels, "group=\"%d\"", i);
            put_samples(out, metric, &metrics->groups[i], labels);
        }
    }
}

static void put_service(FILE *out, const struct metrics_build *build, bool healthy)
{
    put_head(out, "engine_healthy", METRIC_GAUGE, "1 while the service is READY, else 0.");
    fprintf(out, METRICS_PREFIX "engine_healthy %d\n", healthy);
    put_head(out, "build_info", METRIC_GAUGE, "Always 1; what runs here stands in the labels.");
    fputs(METRICS_PREFIX "build_info{", out);
    put_label(out, "version", build->version);
    fputc(',', out);
    put_label(out, "model", build->model);
    fputc(',', out);
    put_label(out, "drafter", build->drafter);
    fputc(',', out);
    put_label(out, "drafter_kind", build->drafter_kind);
    fputs("} 1\n", out);
}

char *metrics_text(const struct metrics *metrics, const struct metrics_build *build, bool healthy, size_t *size)
{
    char *text = NULL;
    FILE *out = open_memstream(&text, size);
    DEVICE_CHECK(out, "out of memory: the text of the metrics");
    put_service(out, build, healthy);
    for (const struct metric *metric = metric_table; metric->name; metric++) {
        put_head(out, metric->name, metric->type, metric->help);
        put_samples(out, metric, metrics, "");
    }
    put_groups(out, metrics);
    DEVICE_CHECK(fclose(out) == 0, "out of memory: the text of the metrics");
    return text;
}
