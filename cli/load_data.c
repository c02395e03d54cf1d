/* load_data.c - questions to packed requests */
#include "cli/load_data.h"

#include <stdlib.h>

#include "base/memory.h"
#include "proto/questions.h"

int load_data_read(struct load_data *data, const char *path, const struct generate_request *like, struct error *err)
{
    struct questions questions;
    int result = 0;
    *data = (struct load_data){0};
    if (questions_read(&questions, path, 0, err))
        return -1;
    data->requests = mem_new((size_t)questions.n, sizeof *data->requests);
    for (int i = 0; !result && i < questions.n; i++) {
        result = question_pack(&questions.list[i], like, &data->requests[i], err);
        if (result)
            fail_in(err, "%s: line %d", path, questions.list[i].line);
        data->n += !result;
    }
    questions_free(&questions);
    if (result)
        load_data_free(data);
    return result;
}

void load_data_free(struct load_data *data)
{
    for (int i = 0; i < data->n; i++)
        free(data->requests[i].data);
    free(data->requests);
    *data = (struct load_data){0};
}
