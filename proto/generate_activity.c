/* generate_activity.c - the activity in ServerInfo: from and to a message */
#include "proto/generate_activity.h"

#include <limits.h>

#include "proto/message.h"

void activity_put(struct activity_message *to, const struct server_activity *activity)
{
    massv__v1__activity__init(&to->activity);
    to->activity.uptime_seconds = activity->uptime;
    to->activity.prompt_tokens = activity->prompt_tokens;
    to->activity.generation_tokens = activity->generation_tokens;
    to->activity.answered = activity->answered;
    to->activity.failed = activity->failed;
    to->activity.draft_rounds = activity->draft_rounds;
    to->activity.drafted = activity->drafted;
    to->activity.accepted = activity->accepted;
    to->activity.kv_usage = activity->kv_usage;
    to->activity.kv_cached = activity->kv_cached;
    to->activity.prefix_queries = activity->prefix_queries;
    to->activity.prefix_hits = activity->prefix_hits;
    to->activity.groups = to->list;
    to->activity.n_groups = (size_t)activity->n_groups;
    for (int i = 0; i < activity->n_groups; i++) {
        const struct group_activity *from = &activity->groups[i];
        Massv__V1__GroupActivity *group = to->list[i] = &to->groups[i];
        massv__v1__group_activity__init(group);
        group->group = (uint32_t)from->group;
        group->host = message_text(from->host);
        group->device = message_text(from->device);
        group->ranks = (uint32_t)from->ranks;
        group->attached = from->attached;
        group->running = (uint32_t)from->running;
        group->kv_usage = from->kv_usage;
        group->steps = from->steps;
        group->step_seconds = from->step_seconds;
        group->compute_seconds = from->compute_seconds;
    }
}

static int group_take(struct group_activity *group, const Massv__V1__GroupActivity *m, struct error *err)
{
    if (message_copy(group->host, sizeof group->host, "host", m->host, err) ||
        message_copy(group->device, sizeof group->device, "device", m->device, err) ||
        message_range("group", m->group, 0, INT_MAX, err) || message_range("ranks", m->ranks, 0, INT_MAX, err) ||
        message_range("running", m->running, 0, INT_MAX, err) || message_amount("kv_usage", m->kv_usage, err) ||
        message_amount("step_seconds", m->step_seconds, err) || message_amount("compute_seconds", m->compute_seconds, err))
        return -1;
    group->group = (int)m->group;
    group->ranks = (int)m->ranks;
    group->attached = m->attached != 0;
    group->running = (int)m->running;
    group->kv_usage = m->kv_usage;
    group->steps = m->steps;
    group->step_seconds = m->step_seconds;
    group->compute_seconds = m->compute_seconds;
    return 0;
}

int activity_take(struct server_activity *activity, const Massv__V1__Activity *m, struct error *err)
{
    if (!m) /* an older service */
        return 0;
    if (message_amount("uptime_seconds", m->uptime_seconds, err) || message_amount("kv_usage", m->kv_usage, err) ||
        message_amount("kv_cached", m->kv_cached, err))
        return message_within(err, "activity");
    activity->uptime = m->uptime_seconds;
    activity->prompt_tokens = m->prompt_tokens;
    activity->generation_tokens = m->generation_tokens;
    activity->answered = m->answered;
    activity->failed = m->failed;
    activity->draft_rounds = m->draft_rounds;
    activity->drafted = m->drafted;
    activity->accepted = m->accepted;
    activity->kv_usage = m->kv_usage;
    activity->kv_cached = m->kv_cached;
    activity->prefix_queries = m->prefix_queries;
    activity->prefix_hits = m->prefix_hits;
    for (; activity->n_groups < ACTIVITY_GROUPS && (size_t)activity->n_groups < m->n_groups; activity->n_groups++)
        if (group_take(&activity->groups[activity->n_groups], m->groups[activity->n_groups], err))
            return message_within(err, "activity.groups[%d]", activity->n_groups);
    return 0;
}
