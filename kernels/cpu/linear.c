/* linear.c - cuts y = x @ W^T + b into work items; simd_linear.h computes them. Both classes of rows go the same way here. */
#include "kernels/cpu/linear.h"

#include <string.h>

struct linear_task {
    struct device *dev;
    struct linear_job job;
    const float *rows; /* x as the caller gave it (n, cols) */
    int cols;
    uint32_t *tiles; /* where its tiles go */
};

static uint32_t bits_of(float x)
{
    uint32_t bits;
    memcpy(&bits, &x, sizeof bits);
    return bits;
}

/* A tile of x transposed, so that the rows' numbers of one k lie together. */
static void tile_pack(void *arg, int tile, int worker)
{
    (void)worker;
    const struct linear_task *task = arg;
    const struct linear_job *job = &task->job;
    int first = tile_first(job->n, job->tiles, tile), m = tile_first(job->n, job->tiles, tile + 1) - first;
    int words = job->dot ? job->pairs : 2 * job->pairs;
    uint32_t *target = task->tiles + (size_t)first * (size_t)words;
    for (int i = 0; i < m; i++) {
        const float *x = task->rows + (size_t)(first + i) * (size_t)task->cols;
        uint32_t *column = target + i;
        if (job->dot)
            for (int pair = 0; pair < task->cols / 2; pair++, column += m)
                *column = bf16_from_f32(x[2 * pair]) | (uint32_t)bf16_from_f32(x[2 * pair + 1]) << 16;
        else
            for (int k = 0; k < task->cols; k++, column += m)
                *column = bits_of(x[k]);
        if (task->cols & 1) /* the pad beside the last column is zero, as in the weights */
            *column = job->dot ? bf16_from_f32(x[task->cols - 1]) : 0;
    }
}

static void item_compute(void *arg, int item, int worker)
{
    const struct linear_task *task = arg;
    task->dev->simd->linear_item(&task->job, item, device_worker(task->dev, worker));
}

/* Enough items to keep all threads busy to the end, few enough that each reads long runs of weights. */
static void items_plan(struct linear_job *job, int panel, int threads)
{
    int most = ITEM_OUTPUTS / panel, fair = job->panels / (threads * 4);
    int least = most < 4 ? most : 4; /* panels that one row takes at once */
    job->panels_per_item = fair > most ? most : fair < least ? least : fair / least * least;
    job->panel_items = (job->panels + job->panels_per_item - 1) / job->panels_per_item;
    job->tiles_per_item = ITEM_ROWS / TILE_ROWS;
}

void linear_reserve(struct device *dev, int n, int cols)
{
    device_scratch(dev, SCRATCH_ROWS, (size_t)n * (size_t)((cols + 1) / 2) * 2 * sizeof(uint32_t));
    device_reserve(dev, LINEAR_SCRATCH);
}

void linear(struct device *dev, float *y, const float *x, struct rows n, const struct matrix *w, const float *b)
{
    struct linear_task task = {.dev = dev, .rows = x, .cols = w->cols};
    struct linear_job *job = &task.job;
    *job = (struct linear_job){.weights = w->data,
                               .dtype = w->dtype,
                               .rows = w->rows,
                               .pairs = w->pairs,
                               .panels = w->panels,
                               .panel_bytes = w->panel_bytes,
                               .n = n.prompt + n.generated,
                               .y = y,
                               .bias = b};
    if (!job->n)
        return;
    job->dot = dev->bf16_dot && w->dtype == DTYPE_BF16;
    job->tiles = (job->n + TILE_ROWS - 1) / TILE_ROWS;
    items_plan(job, w->panel, dev->threads);
    size_t numbers = (size_t)job->n * (size_t)w->pairs * 2;
    task.tiles = device_scratch(dev, SCRATCH_ROWS, numbers * sizeof *task.tiles);
    job->x = task.tiles;
    device_reserve(dev, LINEAR_SCRATCH);
    device_run(dev, job->tiles, numbers, tile_pack, &task);
    int row_items = (job->tiles + job->tiles_per_item - 1) / job->tiles_per_item;
    device_run(dev, job->panel_items * row_items, numbers * (size_t)w->rows, item_compute, &task);
}
