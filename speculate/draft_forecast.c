/* draft_forecast.c - forecasts of steps, and what came of them */
#include "speculate/draft_length_parts.h"

#include <math.h>

enum {
    PROMPTS = 4096,      /* rows of prompts after which what they took counts e times less */
    PROMPTS_PRIOR = 256, /* rows that took nothing */
    TALLY = 64,          /* steps after which a tally counts e times less */
    TALLY_PRIOR = 16,    /* steps that went as foreseen, which a tally begins with */
    TALLY_QUIET = 2048,  /* steps without drafts after which what those with drafts have shown counts e times less */
    LATELY = 512         /* steps after which rows and tokens count e times less */
};
static const double OUTLIER = 3; /* times the forecast that a step counts at most: another process had the core */

void draft_forecast_make(struct draft_length *length, const struct draft_record *all, const struct draft_costs *costs,
                         const struct draft_candidate *candidates, int n)
{
    struct draft_forecast *forecast = &length->forecast;
    int rows = n;
    const struct draft_forecast before = *forecast;
    *forecast = (struct draft_forecast){
        .requests = n, .tokens = draft_step_tokens(all, candidates, n), .ms = draft_step_ms(costs, candidates, n)};
    for (int i = 0; i < n; i++) {
        const struct draft_candidate *c = &candidates[i];
        rows += c->k;
        forecast->drafts = forecast->drafts || c->k;
        forecast->catch_up_ms += c->k && c->behind > ACCEPTANCE_POSITIONS ? c->behind * costs->catch_up_row : 0;
        if (c->probed)
            forecast->ms = 0;
    }
    forecast->reads = forecast->drafts || (!length->quiet && draft_anyone_open(candidates, n));
    forecast->steady = forecast->drafts == before.drafts && n == before.requests;
    if (!cost_curve_knows(costs->target, rows))
        forecast->ms = 0; /* a guess that fails says nothing of forecasts */
}

static void tally_add(struct draft_tally *tally, double keep, double earned, double took)
{
    *tally = (struct draft_tally){tally->earned * keep + earned, tally->took * keep + took};
}

static void prompts_add(struct draft_prompts *prompts, double keep, double rows, double ms)
{
    *prompts = (struct draft_prompts){prompts->rows * keep + rows, prompts->ms * keep + ms};
}

void draft_length_learn(struct draft_length *length, const struct draft_outcome *outcome)
{
    const struct draft_forecast *forecast = &length->forecast;
    double took = outcome->ms - forecast->catch_up_ms, most = OUTLIER * forecast->ms;
    double forgotten = exp(-1.0 / TALLY_QUIET), lately = exp(-1.0 / LATELY);
    length->tokens = length->tokens * lately + outcome->tokens;
    length->rows = length->rows * lately + outcome->prompt_rows;
    if (!forecast->drafts)
        tally_add(&length->with, forgotten, 0, 0);
    if (!forecast->reads)
        prompts_add(&length->prompts_with, forgotten, 0, 0);
    if (!(forecast->ms > 0) || took <= 0)
        return;
    took = took < most ? took : most;
    if (outcome->prompt_rows)
        prompts_add(forecast->reads ? &length->prompts_with : &length->prompts_without,
                    exp(-(double)outcome->prompt_rows / PROMPTS), outcome->prompt_rows, took - forecast->ms);
    else if (forecast->steady)
        tally_add(forecast->drafts ? &length->with : &length->without, exp(-1.0 / TALLY),
                  outcome->tokens * forecast->ms / forecast->tokens, took);
}

double draft_rate_corrected(const struct draft_length *length, const struct draft_choice *choice)
{
    const struct draft_tally *tally = choice->rounds ? &length->with : &length->without;
    const struct draft_prompts *prompts = choice->rounds ? &length->prompts_with : &length->prompts_without;
    if (!(choice->rate > 0))
        return 0;
    double prior = TALLY_PRIOR * choice->ms, rate = choice->rate * (tally->earned + prior) / (tally->took + prior);
    double row_ms = prompts->ms / (prompts->rows + PROMPTS_PRIOR), rows = length->rows / (length->tokens + 1);
    return rate > 0 && row_ms > 0 ? 1 / (1 / rate + row_ms * rows) : rate;
}
