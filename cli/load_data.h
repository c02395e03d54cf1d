/* load_data.h - the questions of a load test, packed */
#ifndef CLI_LOAD_DATA_H
#define CLI_LOAD_DATA_H

#include "proto/generate.h"

struct load_data {
    struct rpc_bytes *requests; /* (n) packed GenerateRequests */
    int n;
};

/* path: a file of questions.h. like: the parameters of every request. An error names the file and the line. */
int load_data_read(struct load_data *data, const char *path, const struct generate_request *like, struct error *err);
void load_data_free(struct load_data *data);

#endif
