/* answer_print.c - one streamed answer on the screen */
#include "cli/answer_print.h"

#include <jansson.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum answer_marks answer_marks_for(FILE *out)
{
    const char *off = getenv("NO_COLOR");
    return isatty(fileno(out)) && (!off || !*off) ? MARKS_COLOURS : MARKS_BRACKETS;
}

struct mark {
    const char *before, *after;
};
static const struct mark accepted_marks[] = {{"", ""}, {"[", "]"}, {"\033[32m", "\033[0m"}};  /* by enum answer_marks; green */
static const struct mark rejected_marks[] = {{"", ""}, {"{", "}"}, {"\033[2;9m", "\033[0m"}}; /* dimmed, struck through */

/* A step's accepted drafts stand in one pair of marks, its own token after them, what it rejected last. */
void answer_show(FILE *out, const struct generate_response *r, enum answer_marks marks)
{
    if (r->event != GENERATE_TOKEN)
        return;
    if (marks == MARKS_NONE || !r->accepted || !r->token_texts) {
        fputs(r->text, out);
        return;
    }
    bool open = false;
    for (int i = 0; i < r->n_ids; i++) {
        if (r->accepted[i] != open)
            fputs(open ? accepted_marks[marks].after : accepted_marks[marks].before, out);
        open = r->accepted[i];
        fputs(r->token_texts[i], out);
    }
    if (open)
        fputs(accepted_marks[marks].after, out);
    if (r->rejected_text && *r->rejected_text)
        fprintf(out, "%s%s%s", rejected_marks[marks].before, r->rejected_text, rejected_marks[marks].after);
}

static json_t *speculation_json(const struct answer *a)
{
    const struct generate_speculation *s = &a->speculation;
    json_t *positions = json_array();
    bool pinned = s->draft_tokens_per_step != DRAFT_TOKENS_AUTO;
    double mean = s->steps ? (double)s->drafted / (double)s->steps : 0;
    int n = pinned ? s->draft_tokens_per_step : DRAFT_TOKENS_MAX;
    while (!pinned && n > 0 && !s->accepted_per_position[n - 1])
        n--;
    for (int i = 0; i < n; i++)
        json_array_append_new(positions, json_integer((json_int_t)s->accepted_per_position[i]));
    return json_pack("{so sI sI sI sf sf so}", "draft_tokens_per_step",
                     pinned ? json_integer(s->draft_tokens_per_step) : json_real(mean), "steps", (json_int_t)s->steps, "drafted",
                     (json_int_t)s->drafted, "accepted", (json_int_t)s->accepted, "acceptance_rate",
                     s->drafted ? (double)s->accepted / (double)s->drafted : 0.0, "mean_acceptance_length", answer_mean_length(a),
                     "accepted_per_position", positions);
}

/* Per token: {"logprob", "top": [[id, logprob], ...]}. */
static json_t *logprobs_json(const struct answer *a)
{
    json_t *tokens = json_array();
    for (int i = 0; i < a->n; i++) {
        const struct logprobs *l = &a->logprobs[i];
        json_t *top = json_array();
        for (int j = 0; j < l->n_top; j++)
            json_array_append_new(top, json_pack("[if]", l->top_ids[j], (double)l->top[j]));
        json_array_append_new(tokens, json_pack("{sf so}", "logprob", (double)l->chosen, "top", top));
    }
    return tokens;
}

static json_t *answer_json(const struct answer *a)
{
    json_t *ids = json_array();
    for (int i = 0; i < a->n; i++)
        json_array_append_new(ids, json_integer(a->ids[i]));
    const struct generate_timing *t = &a->timing;
    json_t *all =
        json_pack("{ss ss so ss s{si si si si} so s{sf sf sf sf sf sf}}", "id", a->id ? a->id : "", "text", a->text ? a->text : "",
                  "token_ids", ids, "finish_reason", a->reason ? a->reason : "cancelled", "usage", "prompt_tokens",
                  a->usage.prompt_tokens, "image_tokens", a->usage.image_tokens, "completion_tokens", a->usage.completion_tokens,
                  "cached_tokens", a->usage.cached_tokens, "speculation", speculation_json(a), "timing_ms", "queue", t->queue,
                  "image", t->image, "prefill", t->prefill, "first_token", t->first_token, "decode", t->decode, "total", t->total);
    if (a->seed)
        json_object_set_new(all, "seed", json_integer((json_int_t)a->seed));
    if (a->logprobs)
        json_object_set_new(all, "logprobs", logprobs_json(a));
    return all;
}

void answers_json(FILE *out, const struct answer *answers, int n)
{
    json_t *list = json_array();
    for (int i = 0; i < n; i++)
        json_array_append_new(list, answer_json(&answers[i]));
    json_t *all = n == 1 ? json_incref(json_array_get(list, 0)) : json_pack("{sO}", "outputs", list);
    json_decref(list);
    json_dumpf(all, out, JSON_COMPACT | JSON_REAL_PRECISION(8));
    fputc('\n', out);
    json_decref(all);
}

void answer_summary(FILE *out, const struct answer *a)
{
    const struct generate_speculation *s = &a->speculation;
    fprintf(out, "%d tokens in %llu steps", a->usage.completion_tokens, (unsigned long long)s->steps);
    if (s->drafted)
        fprintf(out, ", %.2f tokens a step, %llu of %llu drafts accepted", answer_mean_length(a), (unsigned long long)s->accepted,
                (unsigned long long)s->drafted);
    if (a->timing.decode > 0)
        fprintf(out, ", %.0f tokens/s", (a->usage.completion_tokens - 1) / a->timing.decode * 1e3);
    if (a->inactive && *a->inactive)
        fprintf(out, "; no speculation: %s", a->inactive);
}
