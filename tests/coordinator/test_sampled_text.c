/* test_sampled_text.c - a drafter and a worker's engine answer 20,000 times in each mode: the first three tokens must be
 * distributed as the target's probabilities multiply, penalties by what stands before each token included */
#include "tests/coordinator/target.h"

#include <limits.h>
#include <math.h>

#include "worker/engine.h"

enum { IDS = 4, TOKENS = 3, DRAFTS = 2, CELLS = IDS * IDS * IDS, PROMPT = 6, BATCH = 32 };
#if defined __SANITIZE_THREAD__ || defined __SANITIZE_ADDRESS__
enum { REQUESTS = 1600, FREEDOM = 20 }; /* what sanitizers see shows early, and a step takes up to seventy times as long */
#else
enum { REQUESTS = 20000, FREEDOM = 40 }; /* cells that are likely enough to be looked at alone */
#endif

/* Four ids share all of the probability that counts; the models' scores say how. */
static const int32_t ids[IDS] = {31, 77, 205, 410};
static const float bias[IDS] = {60, 60.5f, 59.5f, 60};
static int32_t prompt_ids[PROMPT] = {12, 77, 300, 9, 205, 41};

static const struct sampling sampling = {.temperature = 1.4f,
                                         .top_p = 0.97f,
                                         .repetition_penalty = 1.01f,
                                         .frequency_penalty = 0.8f,
                                         .presence_penalty = -0.3f,
                                         .bias_ids = ids,
                                         .bias = bias,
                                         .n_bias = IDS};

struct world {
    struct target target;
    struct comm *comm;
    struct model *model;
    struct engine *engine;
};

static void world_open(struct world *w)
{
    struct error err = {{0}};
    target_open(&w->target, "tests/golden/qwen25vl-tiny", "tests/golden/qwen2-tiny", 1 << 20);
    must(comm_open_one(&w->comm, &err), &err);
    const struct model_options model = {
        .kernels = w->target.kernels, .device = w->target.device, .comm = w->comm, .kv_positions = 4096, .max_rows = 256};
    must(model_open(&w->model, w->target.st, &w->target.config, &model, &err), &err);
    w->engine =
        engine_new(&(struct engine_options){.model = w->model, .comm = w->comm, .config = &w->target.config, .max_rows = 256});
}

static void world_close(struct world *w)
{
    engine_free(w->engine);
    model_close(w->model);
    comm_close(w->comm);
    target_close(&w->target);
}

/* ---- what must come: by the definition, in double precision ---- */

static void scores_after(struct world *w, const int32_t *answer, int n, double *scores)
{
    int32_t all[PROMPT + TOKENS], positions[PROMPT + TOKENS][3];
    size_t vocabulary = (size_t)w->target.config.vocabulary;
    float *row = mem_new(vocabulary, sizeof *row);
    struct error err = {{0}};
    memcpy(all, prompt_ids, sizeof prompt_ids);
    if (n) /* else answer may be NULL */
        memcpy(all + PROMPT, answer, (size_t)n * sizeof *answer);
    for (int i = 0; i < PROMPT + n; i++)
        positions[i][0] = positions[i][1] = positions[i][2] = i;
    struct sequence *sequence = sequence_new(w->model);
    const struct span span = {.sequence = sequence,
                              .n = PROMPT + n,
                              .ids = all,
                              .positions = (const int32_t(*)[3])positions,
                              .n_scored = 1,
                              .repetition_penalty = 1};
    must(model_extend(w->model, &span, 1, &err), &err);
    model_scores(w->model, row);
    sequence_release(w->model, sequence);
    for (size_t i = 0; i < vocabulary; i++)
        scores[i] = (double)row[i];
    free(row);
}

static bool stands_in(int32_t id, const int32_t *list, int n, int *times)
{
    *times = 0;
    for (int i = 0; i < n; i++)
        *times += list[i] == id;
    return *times > 0;
}

/* Keeps the largest until what came before them reaches top_p of the mass; what is left sums to 1. */
static void top_p_keep(double p[IDS], double mass)
{
    bool seen[IDS] = {false};
    double before = 0, left = 0;
    for (int n = 0; n < IDS; n++) {
        int largest = -1;
        for (int i = 0; i < IDS; i++)
            if (!seen[i] && (largest < 0 || p[i] > p[largest]))
                largest = i;
        double own = p[largest];
        seen[largest] = true;
        if (before >= (double)sampling.top_p * mass)
            p[largest] = 0;
        before += own;
    }
    for (int i = 0; i < IDS; i++)
        left += p[i];
    for (int i = 0; i < IDS; i++)
        p[i] /= left;
}

/* Probabilities of the four ids behind an answer; the others have next to none. */
static void probabilities(struct world *w, const int32_t *answer, int n, double p[IDS])
{
    double *scores = mem_new((size_t)w->target.config.vocabulary, sizeof *scores), most = -INFINITY, mass = 0;
    scores_after(w, answer, n, scores);
    for (int i = 0; i < IDS; i++) {
        int times, ever;
        double s = scores[ids[i]];
        bool prompted = stands_in(ids[i], prompt_ids, PROMPT, &ever), answered = stands_in(ids[i], answer, n, &times);
        if (prompted || answered)
            s = s > 0 ? s / (double)sampling.repetition_penalty : s * (double)sampling.repetition_penalty;
        if (answered)
            s -= times * (double)sampling.frequency_penalty + (double)sampling.presence_penalty;
        p[i] = (s + (double)bias[i]) / (double)sampling.temperature;
        most = fmax(most, p[i]);
    }
    for (int i = 0; i < IDS; i++)
        mass += p[i] = exp(p[i] - most);
    top_p_keep(p, mass);
    free(scores);
}

static void enumerate(struct world *w, double cells[CELLS])
{
    double p1[IDS], p2[IDS], p3[IDS];
    probabilities(w, NULL, 0, p1);
    for (int a = 0; a < IDS; a++) {
        probabilities(w, (int32_t[]){ids[a]}, 1, p2);
        for (int b = 0; b < IDS; b++) {
            probabilities(w, (int32_t[]){ids[a], ids[b]}, 2, p3);
            for (int c = 0; c < IDS; c++)
                cells[(a * IDS + b) * IDS + c] = p1[a] * p2[b] * p3[c];
        }
    }
}

/* ---- what comes: as the scheduler does it, many requests at once ---- */

struct answer {
    struct draft_sequence *draft;
    struct sampling sampling;
    int32_t tokens[TOKENS + DRAFTS], fed[1 + DRAFTS], drafts[DRAFTS];
    struct draft_weights weights[DRAFTS];
    int n, n_drafts;
};

static struct step_span span_of(struct answer *a, int i)
{
    struct step_span span = {
        .sequence = (uint64_t)i + 1, .want_token = true, .sampling = a->sampling, .answered = a->n, .length = PROMPT + a->n - 1};
    if (!a->n) { /* the prompt stays from one request to the next; its last row is computed again */
        span.n = 1;
        span.ids = prompt_ids + PROMPT - 1;
    } else {
        a->fed[0] = a->tokens[a->n - 1];
        memcpy(a->fed + 1, a->drafts, (size_t)a->n_drafts * sizeof *a->fed);
        span.n = 1 + a->n_drafts;
        span.ids = a->fed;
        span.generated = true;
        span.drafts = a->n_drafts;
        span.weights = sampling_rejects(&a->sampling) && a->n_drafts ? a->weights : NULL;
    }
    span.position = span.length;
    return span;
}

static void drafts_make(struct world *w, struct answer *answers)
{
    struct proposal proposals[BATCH];
    struct answer *owners[BATCH] = {NULL};
    int count = 0;
    for (int i = 0; i < BATCH; i++) {
        struct answer *a = &answers[i];
        a->n_drafts = 0;
        if (!a->n || a->n >= TOKENS)
            continue;
        owners[count] = a;
        proposals[count++] = (struct proposal){.sequence = a->draft,
                                               .tokens = a->tokens,
                                               .n_tokens = a->n,
                                               .k = DRAFTS,
                                               .drafts = a->drafts,
                                               .sampling = &a->sampling,
                                               .weights = a->weights};
    }
    if (count)
        drafter_propose(w->target.drafter, proposals, count, INT_MAX);
    for (int i = 0; i < count; i++)
        owners[i]->n_drafts = proposals[i].n;
}

/* False when every answer is whole. */
static bool answers_step(struct world *w, struct answer *answers, int *drafted, int *accepted)
{
    struct step_span spans[BATCH];
    struct step step = {.spans = spans};
    struct step_verdict verdict;
    int owner[BATCH];
    drafts_make(w, answers);
    for (int i = 0; i < BATCH; i++)
        if (answers[i].n < TOKENS) {
            owner[step.n_spans] = i;
            spans[step.n_spans++] = span_of(&answers[i], i);
        }
    if (!step.n_spans)
        return false;
    engine_step(w->engine, &step, &verdict);
    assert_string_equal(verdict.error, "");
    for (int s = 0; s < step.n_spans; s++) {
        struct answer *a = &answers[owner[s]];
        memcpy(a->tokens + a->n, a->drafts, (size_t)verdict.answers[s].accepted * sizeof *a->tokens);
        a->n += verdict.answers[s].accepted;
        a->tokens[a->n++] = verdict.answers[s].next;
        *drafted += spans[s].drafts;
        *accepted += verdict.answers[s].accepted;
    }
    engine_verdict_free(&verdict);
    return true;
}

static void prompts_run(struct world *w, struct answer *answers)
{
    struct error err = {{0}};
    int32_t positions[PROMPT][3];
    for (int i = 0; i < PROMPT; i++)
        positions[i][0] = positions[i][1] = positions[i][2] = i;
    const struct prompt prompt = {.n = PROMPT, .ids = prompt_ids, .positions = positions, .next_position = PROMPT};
    for (int i = 0; i < BATCH; i++) {
        struct step_span span = {.sequence = (uint64_t)i + 1, .n = PROMPT, .ids = prompt_ids, .sampling.repetition_penalty = 1};
        struct step_verdict verdict;
        engine_step(w->engine, &(struct step){.spans = &span, .n_spans = 1}, &verdict);
        assert_string_equal(verdict.error, "");
        engine_verdict_free(&verdict);
        answers[i].draft = drafter_begin(w->target.drafter, &prompt, NULL, PROMPT + TOKENS + DRAFTS, &err);
        must(answers[i].draft ? 0 : -1, &err);
    }
}

static int cell_of(const struct answer *a)
{
    int cell = 0;
    for (int t = 0; t < TOKENS; t++) {
        int i = 0;
        while (i < IDS && ids[i] != a->tokens[t])
            i++;
        assert_true(i < IDS);
        cell = cell * IDS + i;
    }
    return cell;
}

static void answers_count(struct world *w, enum sampling_mode mode, int seen[CELLS])
{
    static struct answer answers[BATCH];
    int drafted = 0, accepted = 0;
    prompts_run(w, answers);
    for (int r = 0; r < REQUESTS; r += BATCH) {
        for (int i = 0; i < BATCH; i++) {
            answers[i].n = 0;
            answers[i].sampling = sampling;
            answers[i].sampling.mode = mode;
            answers[i].sampling.seed = (uint64_t)(r + i);
        }
        while (answers_step(w, answers, &drafted, &accepted))
            ;
        for (int i = 0; i < BATCH; i++)
            seen[cell_of(&answers[i])]++;
    }
    for (int i = 0; i < BATCH; i++)
        drafter_end(w->target.drafter, answers[i].draft);
    engine_forget(w->engine);
    print_message("%d of %d drafts accepted, ", accepted, drafted);
    assert_true(accepted > drafted / 10 && accepted < drafted); /* both ways are walked */
}

static void check_mode(enum sampling_mode mode)
{
    struct world w = {0};
    double cells[CELLS], chi = 0, rest = 0;
    int seen[CELLS] = {0}, rest_seen = 0, freedom = -1;
    world_open(&w);
    enumerate(&w, cells);
    answers_count(&w, mode, seen);
    for (int i = 0; i < CELLS; i++) {
        double wanted = cells[i] * REQUESTS;
        if (cells[i] == 0)
            assert_int_equal(seen[i], 0);
        if (wanted < 5) { /* too few for chi-square: together */
            rest += wanted;
            rest_seen += seen[i];
            continue;
        }
        chi += (seen[i] - wanted) * (seen[i] - wanted) / wanted;
        freedom++;
    }
    if (rest >= 5) {
        chi += (rest_seen - rest) * (rest_seen - rest) / rest;
        freedom++;
    }
    double v = 2.0 / (9.0 * freedom), z = (cbrt(chi / freedom) - (1 - v)) / sqrt(v); /* Wilson, Hilferty 1931 */
    print_message("chi-square %.1f with %d degrees of freedom\n", chi, freedom);
    assert_true(freedom >= FREEDOM && 0.5 * erfc(z / sqrt(2)) > 0.001);
    world_close(&w);
}

static void coupled_answers_are_distributed_as_the_target_alone(void **state)
{
    (void)state;
    check_mode(SAMPLING_COUPLED);
}

static void rejection_answers_are_distributed_as_the_target_alone(void **state)
{
    (void)state;
    check_mode(SAMPLING_REJECTION);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(coupled_answers_are_distributed_as_the_target_alone),
        cmocka_unit_test(rejection_answers_are_distributed_as_the_target_alone),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
