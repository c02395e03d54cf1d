/* product.c - the three products of a linear layer, y = x W^T, dx = dy W and dw += dy^T x, cut into work items.
 *
 * All are c = a b with b packed into panels once per call: a call has hundreds of rows, so that packing is a small part of it.
 * simd_product.h computes the parts. */
#include "kernels/cpu/grad.h"

enum {
    PACK_ROWS = 256,            /* of b that one item packs */
    PACK_FLOATS = 8 << 20,      /* most that is packed at once: wider products go by groups of columns */
    PART_ROWS = 40 * TILE_ROWS, /* most rows of c in an item: with a chunk of k they stay in the second-level cache */
    PART_LEAST = 4 * TILE_ROWS,
};

struct product_task {
    struct device *dev;
    struct product_job job;
    struct product_source source;
    float *packed;
    int m, pack_items; /* pack_items: of one panel */
    int panels, panels_per_item, panel_items;
    int rows_per_item;
};

static int smaller(int a, int b)
{
    return a < b ? a : b;
}

static void pack_item(void *arg, int item, int worker)
{
    (void)worker;
    const struct product_task *t = arg;
    int row = item % t->pack_items * PACK_ROWS, n = smaller(t->job.k - row, PACK_ROWS);
    t->dev->simd->product_pack(t->packed, t->job.k, t->job.columns, item / t->pack_items, row, n, &t->source);
}

static void part_item(void *arg, int item, int worker)
{
    (void)worker;
    const struct product_task *t = arg;
    int panel = item % t->panel_items * t->panels_per_item, row = item / t->panel_items * t->rows_per_item;
    t->dev->simd->product_part(&t->job, row, smaller(row + t->rows_per_item, t->m), panel,
                               smaller(panel + t->panels_per_item, t->panels));
}

/* Items of at most ITEM_OUTPUTS columns and PART_ROWS rows, and several for each thread where there is work for them. */
static void items_plan(struct product_task *t)
{
    int most = ITEM_OUTPUTS / t->dev->simd->panel;
    t->panels = t->dev->simd->product_panels(t->job.columns);
    t->panel_items = (t->panels + most - 1) / most;
    t->panels_per_item = (t->panels + t->panel_items - 1) / t->panel_items;
    int row_items = (4 * t->dev->threads + t->panel_items - 1) / t->panel_items, rows = (t->m + row_items - 1) / row_items;
    rows = (rows + TILE_ROWS - 1) / TILE_ROWS * TILE_ROWS;
    t->rows_per_item = rows < PART_LEAST ? PART_LEAST : smaller(rows, PART_ROWS);
    t->pack_items = (t->job.k + PACK_ROWS - 1) / PACK_ROWS;
}

/* Columns of a pass begin where a panel does. */
static int columns_of_pass(const struct device *dev, int columns, int k)
{
    int panel = dev->simd->panel, most = PACK_FLOATS / (k > 0 ? k : 1) / panel * panel;
    return smaller(columns, most > panel ? most : panel);
}

/* c (m, columns) of job, whose b is source's. */
static void product(struct device *dev, const struct product_job *job, int m, const struct product_source *source)
{
    int step = columns_of_pass(dev, job->columns, job->k);
    if (m <= 0)
        return;
    for (int first = 0; first < job->columns; first += step) {
        struct product_task t = {.dev = dev, .job = *job, .source = *source, .m = m};
        size_t skipped = (size_t)first * source->column_step * dtype_size(source->dtype);
        t.source.p = (const char *)source->p + skipped;
        t.job.columns = smaller(step, job->columns - first);
        t.job.b_rows = job->k;
        t.job.c = job->c + first;
        t.job.bias = job->bias ? job->bias + first : NULL;
        size_t floats = (size_t)job->k * (((size_t)t.job.columns + 15) / 16 * 16);
        t.job.b = t.packed = device_scratch(dev, SCRATCH_ROWS, floats * sizeof(float));
        items_plan(&t);
        device_run(dev, t.panels * t.pack_items, floats, pack_item, &t);
        int items = t.panel_items * ((m + t.rows_per_item - 1) / t.rows_per_item);
        device_run(dev, items, floats * (size_t)m, part_item, &t);
    }
}

void product_linear(struct device *dev, float *y, const float *x, int n, const struct grad_weights *w, const float *b)
{
    size_t rows = (size_t)w->rows, cols = (size_t)w->cols;
    const struct product_source source = {.p = w->p, .dtype = w->dtype, .row_step = 1, .column_step = cols};
    const struct product_job job = {
        .c = y, .c_stride = rows, .a = x, .a_row = cols, .a_col = 1, .bias = b, .columns = w->rows, .k = w->cols};
    product(dev, &job, n, &source);
}

void product_linear_input(struct device *dev, float *dx, const float *dy, int n, const struct grad_weights *w, bool add)
{
    size_t rows = (size_t)w->rows, cols = (size_t)w->cols;
    const struct product_source source = {.p = w->p, .dtype = w->dtype, .row_step = cols, .column_step = 1};
    const struct product_job job = {
        .c = dx, .c_stride = cols, .a = dy, .a_row = rows, .a_col = 1, .add = add, .columns = w->cols, .k = w->rows};
    product(dev, &job, n, &source);
}

void product_linear_weights(struct device *dev, float *dw, float *db, const float *dy, const float *x, int n, int rows, int cols)
{
    const struct product_source source = {.p = x, .dtype = DTYPE_F32, .row_step = (size_t)cols, .column_step = 1};
    const struct product_job job = {
        .c = dw, .c_stride = (size_t)cols, .a = dy, .a_row = 1, .a_col = (size_t)rows, .add = true, .columns = cols, .k = n};
    product(dev, &job, rows, &source);
    if (db)
        grad_rows_sum(dev, db, dy, n, rows);
}
