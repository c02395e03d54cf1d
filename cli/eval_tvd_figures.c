/* eval_tvd_figures.c - distances at many positions to a mean, quantiles and a histogram */
#include <stdlib.h>

#include "base/memory.h"
#include "cli/eval_tvd.h"
#include "cli/values.h"

const double tvd_quantiles[TVD_QUANTILES] = {10, 25, 50, 75, 90};

static void row_add(struct tvd_figures *f, const struct divergence *row)
{
    int bin = (int)(row->total_variation * TVD_BINS);
    f->bins[bin < TVD_BINS ? bin : TVD_BINS - 1]++;
    f->same_best += row->same_best;
    f->positions++;
}

void tvd_figures_make(struct tvd_figures *figures, const struct tvd_answer *const *answers, int n,
                      const struct bootstrap_options *options)
{
    int room = 0, count = 0;
    *figures = (struct tvd_figures){0};
    for (int i = 0; i < n; i++)
        room += answers[i]->rows ? answers[i]->n : 0;
    double *distances = mem_new((size_t)room + 1, sizeof *distances);
    struct share *shares = mem_new((size_t)n + 1, sizeof *shares);
    for (int i = 0; i < n; i++) {
        if (!answers[i]->rows)
            continue;
        struct share *share = &shares[figures->answers++];
        share->below = answers[i]->n;
        for (int t = 0; t < answers[i]->n; t++) {
            row_add(figures, &answers[i]->rows[t]);
            share->above += distances[count++] = answers[i]->rows[t].total_variation;
        }
    }
    values_sort(distances, count);
    for (int i = 0; i < TVD_QUANTILES; i++)
        figures->quantiles[i] = values_percentile(distances, count, tvd_quantiles[i]);
    figures->same_best = count ? figures->same_best / count : 0;
    figures->mean = bootstrap_ratio(shares, figures->answers, options);
    free(shares);
    free(distances);
}
