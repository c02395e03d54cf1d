/* top_view.c - two looks at a service as text or JSON */
#include "cli/top_view.h"

#include <jansson.h>
#include <stdarg.h>
#include <string.h>

/* What is left when a counter is followed over a restart of the service: nothing. */
static double grown(uint64_t before, uint64_t now)
{
    return now > before ? (double)(now - before) : 0;
}

static double per(double amount, double of)
{
    return of > 0 ? amount / of : 0;
}

struct rates {
    double generated, prompt; /* tokens a second */
    double acceptance_length; /* 0 without drafts */
    double acceptance_rate;
    double found; /* share of prompt tokens that were not computed again */
};

static struct rates rates_between(const struct top_look *before, const struct top_look *now)
{
    const struct server_activity *a = &before->server.activity, *b = &now->server.activity;
    double seconds = now->at - before->at, rounds = grown(a->draft_rounds, b->draft_rounds);
    return (struct rates){
        .generated = per(grown(a->generation_tokens, b->generation_tokens), seconds),
        .prompt = per(grown(a->prompt_tokens, b->prompt_tokens), seconds),
        .acceptance_length = rounds > 0 ? 1 + grown(a->accepted, b->accepted) / rounds : 0,
        .acceptance_rate = per(grown(a->accepted, b->accepted), grown(a->drafted, b->drafted)),
        .found = per(grown(a->prefix_hits, b->prefix_hits), grown(a->prefix_queries, b->prefix_queries)),
    };
}

struct group_rates {
    double steps;               /* a second */
    double step_ms, compute_ms; /* mean */
};

/* A group keeps its index: places are listed from 0 on. */
static struct group_rates group_rates_between(const struct top_look *before, const struct top_look *now, int i)
{
    const struct group_activity none = {0}, *b = &now->server.activity.groups[i];
    const struct group_activity *a = i < before->server.activity.n_groups ? &before->server.activity.groups[i] : &none;
    double steps = grown(a->steps, b->steps);
    return (struct group_rates){
        .steps = per(steps, now->at - before->at),
        .step_ms = 1e3 * per(b->step_seconds - a->step_seconds, steps),
        .compute_ms = 1e3 * per(b->compute_seconds - a->compute_seconds, steps),
    };
}

/* ---- text ---- */

struct page {
    FILE *out;
    struct top_size size;
    const char *end;
};

static void line(struct page *page, const char *format, ...) __attribute__((format(printf, 2, 3)));
static void line(struct page *page, const char *format, ...)
{
    char text[512];
    va_list args;
    if (page->size.lines-- <= 0)
        return;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    for (char *c = text; *c; c++) /* names come from elsewhere: nothing of theirs may steer the terminal */
        if ((unsigned char)*c < 0x20 || *c == 0x7f)
            *c = '?';
    fprintf(page->out, "%.*s%s", page->size.columns, text, page->end);
}

static void duration_print(char text[32], double seconds)
{
    long s = (long)seconds;
    if (s < 60)
        snprintf(text, 32, "%ld s", s);
    else if (s < 3600)
        snprintf(text, 32, "%ld min %02ld s", s / 60, s % 60);
    else if (s < 86400)
        snprintf(text, 32, "%ld h %02ld min", s / 3600, s / 60 % 60);
    else
        snprintf(text, 32, "%ld d %02ld h", s / 86400, s / 3600 % 24);
}

static void head_print(struct page *page, const char *address, const struct top_look *now, const char *trouble)
{
    char up[32];
    duration_print(up, now->server.activity.uptime);
    line(page, "%s on %s: %s%s%s  up %s  massv %s", now->model.model, address, trouble ? "NO ANSWER" : now->health.state,
         trouble || *now->health.reason ? ", " : "", trouble ? trouble : now->health.reason, up, now->server.version);
}

static void service_print(struct page *page, const struct top_look *before, const struct top_look *now)
{
    const struct server_info *server = &now->server;
    const struct server_activity *activity = &server->activity;
    struct rates rates = rates_between(before, now);
    line(page, "requests   %d running  %d waiting  %llu answered  %llu failed  %llu preempted", server->running, server->waiting,
         (unsigned long long)activity->answered, (unsigned long long)activity->failed, (unsigned long long)server->preemptions);
    line(page, "tokens     %.1f generated/s  %.1f prompt/s  %llu generated  %llu of prompts", rates.generated, rates.prompt,
         (unsigned long long)activity->generation_tokens, (unsigned long long)activity->prompt_tokens);
    if (!*now->model.drafter)
        line(page, "drafts     no drafter");
    else if (rates.acceptance_length > 0)
        line(page, "drafts     %.2f tokens a step  %.0f %% accepted  %s (%s)", rates.acceptance_length, 100 * rates.acceptance_rate,
             now->model.drafter, now->model.drafter_kind);
    else
        line(page, "drafts     none now  %s (%s)", now->model.drafter, now->model.drafter_kind);
    line(page, "cache      %.1f %% of %lld positions  %.1f %% kept for prompts to come  %.0f %% of prompt tokens found there",
         100 * activity->kv_usage, (long long)server->kv_positions, 100 * activity->kv_cached, 100 * rates.found);
}

static void groups_print(struct page *page, const struct top_look *before, const struct top_look *now)
{
    line(page, "%s", "");
    line(page, "group  state     running  cache  steps/s  step ms  own ms  ranks  host, device");
    for (int i = 0; i < now->server.activity.n_groups; i++) {
        const struct group_activity *group = &now->server.activity.groups[i];
        struct group_rates rates = group_rates_between(before, now, i);
        line(page, "%5d  %-8s  %7d  %4.0f%%  %7.1f  %7.2f  %6.2f  %5d  %s, %s", group->group, group->attached ? "attached" : "lost",
             group->running, 100 * group->kv_usage, rates.steps, rates.step_ms, rates.compute_ms, group->ranks, group->host,
             group->device);
    }
}

void top_print(FILE *out, const char *address, const struct top_look *before, const struct top_look *now, const char *trouble,
               struct top_size size, const char *end)
{
    struct page page = {out, size, end};
    head_print(&page, address, now, trouble);
    service_print(&page, before, now);
    groups_print(&page, before, now);
}

/* ---- JSON ---- */

static json_t *group_json(const struct top_look *before, const struct top_look *now, int i)
{
    const struct group_activity *group = &now->server.activity.groups[i];
    struct group_rates rates = group_rates_between(before, now, i);
    return json_pack("{s:i, s:s, s:s, s:i, s:b, s:i, s:f, s:I, s:f, s:f, s:f}", "group", group->group, "host", group->host,
                     "device", group->device, "ranks", group->ranks, "attached", group->attached, "running", group->running,
                     "kv_usage", group->kv_usage, "steps", (json_int_t)group->steps, "steps_per_second", rates.steps, "step_ms",
                     rates.step_ms, "compute_ms", rates.compute_ms);
}

void top_json(FILE *out, const struct top_look *before, const struct top_look *now)
{
    const struct server_activity *activity = &now->server.activity;
    struct rates rates = rates_between(before, now);
    json_t *groups = json_array();
    for (int i = 0; i < activity->n_groups; i++)
        json_array_append_new(groups, group_json(before, now, i));
    json_t *root = json_pack(
        "{s:s, s:s, s:s, s:s, s:s, s:s, s:f, s:f, s:{s:i, s:i, s:I, s:I, s:I}, s:{s:I, s:I, s:f, s:f}, s:{s:I, s:I, s:I, "
        "s:f, s:f}, s:{s:f, s:I, s:f, s:I, s:I}, s:o}",
        "state", now->health.state, "reason", now->health.reason, "model", now->model.model, "drafter", now->model.drafter,
        "drafter_kind", now->model.drafter_kind, "version", now->server.version, "uptime_seconds", activity->uptime,
        "interval_seconds", now->at - before->at, "requests", "running", now->server.running, "waiting", now->server.waiting,
        "answered", (json_int_t)activity->answered, "failed", (json_int_t)activity->failed, "preempted",
        (json_int_t)now->server.preemptions, "tokens", "prompt", (json_int_t)activity->prompt_tokens, "generated",
        (json_int_t)activity->generation_tokens, "prompt_per_second", rates.prompt, "generated_per_second", rates.generated,
        "speculation", "drafts", (json_int_t)activity->draft_rounds, "drafted", (json_int_t)activity->drafted, "accepted",
        (json_int_t)activity->accepted, "mean_acceptance_length", rates.acceptance_length, "acceptance_rate", rates.acceptance_rate,
        "cache", "usage", activity->kv_usage, "positions", (json_int_t)now->server.kv_positions, "cached", activity->kv_cached,
        "prefix_queries", (json_int_t)activity->prefix_queries, "prefix_hits", (json_int_t)activity->prefix_hits, "groups", groups);
    json_dumpf(root, out, JSON_COMPACT);
    fputc('\n', out);
    json_decref(root);
}
