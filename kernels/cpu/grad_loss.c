/* grad_loss.c - rows of scores become their gradients: cross entropy, and the two distances to soft labels */
#include "kernels/cpu/grad.h"

#include <math.h>
#include <string.h>

struct loss_job {
    const struct device *dev;
    float *loss, *x;
    int d, common;
    const int32_t *labels;
    const struct grad_soft_labels *p;
    float scale;
    float *before; /* (n, k) scores of the soft labels */
};

static float *row_of(const struct loss_job *j, int r)
{
    return j->x + (size_t)r * (size_t)j->d;
}

static void cross_entropy_row(void *arg, int r, int worker)
{
    (void)worker;
    const struct loss_job *j = arg;
    float *x = row_of(j, r), score = x[j->labels[r]];
    j->loss[r] = j->dev->simd->softmax(x, j->d, 1.0f) - score;
    j->dev->simd->scale(x, j->scale, (size_t)j->d);
    x[j->labels[r]] -= j->scale;
}

void grad_cross_entropy(struct device *dev, float *loss, float *x, int n, int d, const int32_t *labels, float scale)
{
    struct loss_job job = {.dev = dev, .loss = loss, .x = x, .d = d, .labels = labels, .scale = scale};
    device_run(dev, n, (size_t)n * (size_t)d * 4, cross_entropy_row, &job);
}

/* With sum p = P: the gradient by score j is P q_j - p_j. */
static void kl_row(void *arg, int r, int worker)
{
    (void)worker;
    const struct loss_job *j = arg;
    size_t first = (size_t)r * (size_t)j->p->k;
    const int32_t *ids = j->p->ids + first;
    const float *p = j->p->probs + first;
    float *x = row_of(j, r), *before = j->before + first;
    for (int i = 0; i < j->p->k; i++)
        before[i] = ids[i] >= 0 ? x[ids[i]] : 0;
    float whole = j->dev->simd->softmax(x, j->common, 1.0f);
    double loss = 0, mass = 0;
    for (int i = 0; i < j->p->k; i++)
        if (ids[i] >= 0 && p[i] > 0) {
            loss += (double)p[i] * (log((double)p[i]) - ((double)before[i] - (double)whole));
            mass += (double)p[i];
        }
    j->loss[r] = (float)loss;
    j->dev->simd->scale(x, j->scale * (float)mass, (size_t)j->common);
    for (int i = 0; i < j->p->k; i++)
        if (ids[i] >= 0)
            x[ids[i]] -= j->scale * p[i];
    memset(x + j->common, 0, (size_t)(j->d - j->common) * sizeof *x);
}

/* The gradient by q_i is -1 where q_i < p_i, 0 where it is above, -1/2 where they are equal; by score j it is q_j (that of q_j -
 * the mean of all under q). */
static void tvd_row(void *arg, int r, int worker)
{
    (void)worker;
    const struct loss_job *j = arg;
    const int32_t *ids = j->p->ids + (size_t)r * (size_t)j->p->k;
    const float *p = j->p->probs + (size_t)r * (size_t)j->p->k;
    float *x = row_of(j, r), *own = j->before + (size_t)r * (size_t)j->p->k;
    double loss = 1, mean = 0;
    j->dev->simd->softmax(x, j->common, 1.0f);
    for (int i = 0; i < j->p->k; i++) {
        own[i] = 0;
        if (ids[i] < 0)
            continue;
        float q = x[ids[i]], slope = q < p[i] ? -1.0f : q > p[i] ? 0.0f : -0.5f;
        loss += fabs((double)p[i] - (double)q) - (double)q;
        mean += (double)slope * (double)q;
        own[i] = slope * q * j->scale;
    }
    j->loss[r] = (float)(0.5 * loss);
    j->dev->simd->scale(x, -(float)mean * j->scale, (size_t)j->common);
    for (int i = 0; i < j->p->k; i++)
        if (ids[i] >= 0)
            x[ids[i]] += own[i];
    memset(x + j->common, 0, (size_t)(j->d - j->common) * sizeof *x);
}

static void soft_run(struct device *dev, struct loss_job job, int n, pool_task *row)
{
    job.dev = dev;
    job.before = device_scratch(dev, SCRATCH_PLAN, ((size_t)n * (size_t)job.p->k + 1) * sizeof(float));
    device_run(dev, n, (size_t)n * (size_t)job.d * 4, row, &job);
}

void grad_kl(struct device *dev, float *loss, float *x, int n, int d, int common, const struct grad_soft_labels *p, float scale)
{
    soft_run(dev, (struct loss_job){.loss = loss, .x = x, .d = d, .common = common, .p = p, .scale = scale}, n, kl_row);
}

void grad_tvd(struct device *dev, float *loss, float *x, int n, int d, int common, const struct grad_soft_labels *p, float scale)
{
    soft_run(dev, (struct loss_job){.loss = loss, .x = x, .d = d, .common = common, .p = p, .scale = scale}, n, tvd_row);
}
