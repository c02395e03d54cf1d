/* top_view.h - what `massv top` shows of a service: two looks at it, and the rates between them */
#ifndef CLI_TOP_VIEW_H
#define CLI_TOP_VIEW_H

#include <stdio.h>

#include "proto/generate.h"

struct top_look {
    double at; /* clock_seconds */
    struct server_info server;
    struct model_info model;
    struct health_info health;
};

struct top_size {
    int lines, columns;
};

/* Lines cut to the size, each ended by `end`; as many groups as there is room for. trouble: why there is no newer look, or NULL. */
void top_print(FILE *out, const char *address, const struct top_look *before, const struct top_look *now, const char *trouble,
               struct top_size size, const char *end);

/* One JSON object. */
void top_json(FILE *out, const struct top_look *before, const struct top_look *now);

#endif
