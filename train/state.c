/* state.c - what a run leaves on disk, written and read */
#include "train/state.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"

enum { STATE_PARTS = 3, STATE_NAME = 320 };

static const struct {
    enum network_part part;
    const char *prefix;
} parts[STATE_PARTS] = {{NETWORK_VALUE, "value/"}, {NETWORK_MOMENT1, "moment1/"}, {NETWORK_MOMENT2, "moment2/"}};

char *state_path(const char *run)
{
    return mem_format("%s/state.safetensors", run);
}

/* ---- writing ---- */

struct writing {
    const struct network *network;
    struct tensor *tensors; /* (n) and the number of steps behind them */
    struct piece {
        int parameter;
        enum network_part part;
    } * pieces; /* (n) */
    int n;
};

static void parameter_add(struct writing *w, int i)
{
    const struct network_parameter p = network_parameter(w->network, i);
    for (int j = 0; j < STATE_PARTS && p.trained; j++) {
        struct tensor *t = &w->tensors[w->n];
        *t = (struct tensor){.name = mem_format("%s%s", parts[j].prefix, p.name),
                             .dtype = DTYPE_F32,
                             .dims = p.dims,
                             .bytes = p.count * sizeof(float)};
        memcpy(t->shape, p.shape, (size_t)p.dims * sizeof *t->shape);
        w->pieces[w->n++] = (struct piece){i, parts[j].part};
    }
}

static void piece_read(void *user, int i, void *data)
{
    const struct writing *w = user;
    int64_t steps = network_steps(w->network);
    if (i < w->n)
        network_read(w->network, w->pieces[i].parameter, w->pieces[i].part, data);
    else
        memcpy(data, &steps, sizeof steps);
}

int state_write(const struct network *network, const char *run, struct error *err)
{
    size_t most = (size_t)(STATE_PARTS * network_parameters(network));
    struct writing w = {network, mem_new(most + 1, sizeof *w.tensors), mem_new(most, sizeof *w.pieces), 0};
    for (int i = 0; i < network_parameters(network); i++)
        parameter_add(&w, i);
    w.tensors[w.n] = (struct tensor){.name = "steps", .dtype = DTYPE_I64, .dims = 1, .shape = {1}, .bytes = sizeof(int64_t)};
    char *path = state_path(run);
    int result = safetensors_write_each(path, w.tensors, w.n + 1, piece_read, &w, err);
    free(path);
    for (int i = 0; i < w.n; i++)
        free((char *)(uintptr_t)w.tensors[i].name); /* made here; const to everybody else */
    free(w.tensors);
    free(w.pieces);
    return result;
}

/* ---- reading ---- */

/* A parameter's part, where the state has it: 1; 0 where it has not; -1 where it is another's. */
static int part_read(struct safetensors *st, struct network *network, int i, int j, struct error *err)
{
    char name[STATE_NAME];
    const struct network_parameter p = network_parameter(network, i);
    snprintf(name, sizeof name, "%s%s", parts[j].prefix, p.name);
    const struct tensor *t = safetensors_find(st, name);
    if (!t)
        return 0;
    bool fits =
        t->dtype == DTYPE_F32 && t->dims == p.dims && t->shape[0] == p.shape[0] && (p.dims == 1 || t->shape[1] == p.shape[1]);
    if (!fits)
        return fail(err, "%s has not the shape of this drafter's", name);
    float *numbers = malloc(t->bytes);
    if (!numbers)
        return fail(err, "no memory for %s", name);
    int64_t rows, cols;
    tensor_matrix(t, &rows, &cols);
    int result = safetensors_read(st, t, 0, rows, 0, cols, numbers, err) ? -1 : 1;
    if (result > 0)
        network_write(network, i, parts[j].part, numbers);
    free(numbers);
    return result;
}

static int steps_read(struct safetensors *st, struct network *network, struct error *err)
{
    int64_t steps;
    const struct tensor *t = safetensors_find(st, "steps");
    if (!t || t->dtype != DTYPE_I64 || t->bytes != sizeof steps)
        return fail(err, "has no number of steps: not a state of massv-train");
    if (safetensors_read(st, t, 0, 1, 0, 1, &steps, err))
        return -1;
    network_set_steps(network, steps);
    return 0;
}

static int all_read(struct safetensors *st, struct network *network, struct error *err)
{
    for (int i = 0; i < network_parameters(network); i++)
        for (int j = 0; j < STATE_PARTS && network_parameter(network, i).trained; j++) {
            int found = part_read(st, network, i, j, err);
            if (found <= 0)
                return found ? -1
                             : fail(err, "has no %s%s: another drafter's", parts[j].prefix, network_parameter(network, i).name);
        }
    return steps_read(st, network, err);
}

static int values_read(struct safetensors *st, struct network *network, struct error *err)
{
    int found = 0, wanted = 0;
    for (int i = 0; i < network_parameters(network); i++) {
        int one = part_read(st, network, i, 0, err);
        if (one < 0)
            return -1;
        const struct network_parameter p = network_parameter(network, i);
        if (one && !p.trained) /* would be in no state of the new run */
            return fail(err, "%s was trained there and stays as it is here: export that run, and name the checkpoint as --drafter",
                        p.name);
        found += one;
    }
    for (int i = 0; i < safetensors_count(st); i++)
        wanted += strncmp(safetensors_at(st, i)->name, parts[0].prefix, strlen(parts[0].prefix)) == 0;
    if (found != wanted)
        return fail(err, "only %d of its %d trained tensors are in this drafter: another projector, or another model", found,
                    wanted);
    return 0;
}

static int state_open(struct safetensors **st, char **path, const char *run, struct error *err)
{
    *path = state_path(run);
    return safetensors_open(st, *path, err);
}

int state_read(struct network *network, const char *run, struct error *err)
{
    char *path;
    struct safetensors *st = NULL;
    int result = state_open(&st, &path, run, err);
    if (!result && all_read(st, network, err))
        result = fail_in(err, "%s", path);
    safetensors_close(st);
    free(path);
    return result;
}

int state_begin(struct network *network, const char *run, struct error *err)
{
    char *path;
    struct safetensors *st = NULL;
    int result = state_open(&st, &path, run, err);
    if (!result && values_read(st, network, err))
        result = fail_in(err, "%s", path);
    safetensors_close(st);
    free(path);
    return result;
}

const struct tensor *state_value(const struct safetensors *state, const char *name)
{
    char full[STATE_NAME];
    snprintf(full, sizeof full, "value/%s", name);
    return safetensors_find(state, full);
}
