/* mpi_logprobs.c - the engine on as many ranks as mpirun starts: the log-probabilities of every token of an answer are, bit for
 * bit, those of one forward pass over prompt and answer, and where drafts decide nothing those of the answer without drafts */
#include "tests/mpi.h"
#include "tests/worker/window_checks.h"

#include "speculate/sampler.h"

/* Not the last sampling: lists cover what another keeps, too. */
enum { LOGPROB_REQUESTS = 8, LOGPROB_DRAFTS = 8, LOGPROB_SAMPLINGS = CHECK_SAMPLINGS - 1 };

/* Greedy; coupled with and without truncation, with all penalties, and beyond what lists cover; greedy with bias and bans; then the
 * first three of these by rejection. */
static struct sampling logprob_sampling(int number)
{
    const struct sampling greedy = {.repetition_penalty = 1};
    struct sampling s = number ? check_sampling((number - 1) % LOGPROB_SAMPLINGS) : greedy;
    s.mode = number > LOGPROB_SAMPLINGS ? SAMPLING_REJECTION : SAMPLING_COUPLED;
    if (number == LOGPROB_SAMPLINGS + 1)
        s.temperature = 0.1f; /* so that some drafts are kept */
    s.logprobs = true;
    s.top_logprobs = SAMPLING_TOP_LOGPROBS - number; /* of other lengths in one step */
    return s;
}

/* One call for all rows of prompt and answer, the answer's as prompt rows, too: scores (r->n, vocabulary). Collective. */
static float *forward_scores(struct group *g, const struct request *r)
{
    const struct golden *golden = r->golden;
    int n = golden->n + r->n - 1;
    int32_t *ids = mem_new((size_t)n, sizeof *ids);
    int32_t(*positions)[3] = mem_new((size_t)n, sizeof *positions);
    struct span_picture pictures[GOLDEN_PICTURES];
    struct span span = {.sequence = sequence_new(g->model), .n = n, .n_scored = r->n, .repetition_penalty = 1};
    struct error err;
    memcpy(ids, golden->ids, (size_t)golden->n * sizeof *ids);
    memcpy(ids + golden->n, r->tokens, (size_t)(r->n - 1) * sizeof *ids);
    memcpy(positions, golden->positions, (size_t)golden->n * sizeof *positions);
    for (int i = golden->n; i < n; i++)
        positions[i][0] = positions[i][1] = positions[i][2] = golden->next_position + i - golden->n;
    for (int i = 0; i < golden->n_pictures; i++)
        pictures[i] = (struct span_picture){golden->pictures[i].first, golden->pictures[i].count, golden->pictures[i].features};
    span.ids = ids;
    span.positions = (const int32_t(*)[3])positions;
    span.pictures = pictures;
    span.n_pictures = golden->n_pictures;
    if (model_extend(g->model, &span, 1, &err) != 0)
        fail_msg("%s", err.text);
    float *scores = mem_new((size_t)r->n * (size_t)g->config.vocabulary, sizeof *scores);
    model_scores(g->model, scores);
    sequence_release(g->model, span.sequence);
    free(ids);
    free(positions);
    return scores;
}

/* Of a whole row, which is used up. */
static struct logprobs row_logprobs(float *scores, int vocabulary, int32_t token, int top)
{
    const struct warp_part whole = {scores, 0, vocabulary};
    float largest = (float)sampler_part_best(&whole).value;
    struct sampler_share share;
    struct logprobs l;
    sampler_share(&share, &whole, largest, token, top);
    sampler_logprobs(&l, &share, 1, 1, largest, top);
    return l;
}

/* The answer's log-probabilities, which rank 0 has. */
static void check_forward(struct group *g, const struct request *r)
{
    float *scores = forward_scores(g, r);
    int vocabulary = g->config.vocabulary;
    for (int i = 0; i < r->n && g->comm->rank == 0; i++) {
        const struct logprobs wanted =
            row_logprobs(scores + (size_t)i * (size_t)vocabulary, vocabulary, r->tokens[i], r->sampling.top_logprobs);
        if (memcmp(&r->logprobs[i], &wanted, sizeof wanted))
            fail_msg("request %d, %d drafts, token %d: %a, the forward pass has %a", (int)r->id, r->k, i,
                     (double)r->logprobs[i].chosen, (double)wanted.chosen);
    }
    free(scores);
}

/* They enter one after the other, each beside the answers of those before it, whose steps all have their own number of drafts. */
static void logprob_requests_run(struct group *g, struct request *requests, int rows)
{
    for (int i = 0; i < LOGPROB_REQUESTS; i++)
        while (requests[i].n == 0)
            requests_step(g, requests, i + 1, rows);
    requests_run(g, requests, LOGPROB_REQUESTS, rows);
}

/* Every way to a token without drafts, the first one alone and from an empty cache; then beside each other behind adopted pages,
 * the numbers of drafts changing places until each way has had 0 to 8, or on several ranks, which share cores with others, each
 * second of them. rows: the prompt's chunks. */
static void check_logprobs(struct group *g, const struct golden *golden, int rows)
{
    static struct request plain[LOGPROB_REQUESTS], r[LOGPROB_REQUESTS];
    int pages = (golden->n - 1) / MODEL_PAGE_POSITIONS, rejected = 0, steps = 0;
    group_pictures(g, golden);
    for (int i = 0; i < LOGPROB_REQUESTS; i++) {
        plain[i] = request_of((uint64_t)i + 1, golden, 0, DRAFTS_RIGHT);
        plain[i].sampling = logprob_sampling(i);
        plain[i].keeps = i == 0;
        plain[i].keeps_local = model_layout(g->model)->blocks[KV_LOCAL] > 0;
        requests_run(g, &plain[i], 1, rows);
        check_forward(g, &plain[i]);
        group_release(g, plain[i].id);
    }
    for (int round = 0; round <= LOGPROB_DRAFTS; round += g->comm->size > 1 ? 2 : 1) {
        for (int i = 0; i < LOGPROB_REQUESTS; i++) {
            r[i] = request_of((uint64_t)i + 1, golden, (round + i) % (LOGPROB_DRAFTS + 1), DRAFTS_MIXED);
            r[i].sampling = plain[i].sampling;
            r[i].wanted = plain[i].tokens;
            r[i].adopts = pages;
            r[i].length = pages * MODEL_PAGE_POSITIONS;
        }
        logprob_requests_run(g, r, rows);
        for (int i = 0; i < LOGPROB_REQUESTS; i++) {
            check_forward(g, &r[i]);
            group_release(g, r[i].id);
            rejected += sampling_rejects(&r[i].sampling);
            steps += sampling_rejects(&r[i].sampling) ? r[i].steps : 0;
            if (sampling_rejects(&r[i].sampling))
                continue;
            assert_tokens(r[i].tokens, plain[i].tokens, GOLDEN_TOKENS);
            assert_memory_equal(r[i].logprobs, plain[i].logprobs, GOLDEN_TOKENS * sizeof *r[i].logprobs);
        }
    }
    assert_in_range(steps, 1, rejected * (GOLDEN_TOKENS - 1) - 1); /* by rejection, too, some drafts were kept */
}

static const struct target {
    const char *folder, *name; /* a case of its goldens; NULL = a prompt of words, many windows long */
    int rows;                  /* chunks of the prompt */
} targets[] = {
    {GOLDEN_TARGET, "two-turns", 40}, {WINDOW_TARGET, "two-turns", 150 /* pictures are whole */}, {WINDOW_TARGET, NULL, 40}};

static void logprobs_are_those_of_a_forward_pass(void **state)
{
    for (size_t i = 0; i < sizeof targets / sizeof *targets; i++) {
        const struct target *t = &targets[i];
        struct group g;
        struct golden *golden = t->name ? golden_read(t->folder, t->name) : window_golden(t->folder, *state, 180);
        group_open(&g, t->folder, *state, 2 * GROUP_POSITIONS);
        check_logprobs(&g, golden, t->rows);
        group_close(&g);
        golden_free(golden);
    }
}

int main(void)
{
    struct comm *comm = mpi_ranks(120); /* far above a step of the tiny models on a busy machine */
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_prestate(logprobs_are_those_of_a_forward_pass, comm),
    };
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    comm_close(comm);
    return failed;
}
