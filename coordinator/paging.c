/* paging.c - admission by free pages, and preemption by recomputation */
#include "coordinator/paging.h"

#include "coordinator/prefix.h"

static bool runs_on(const struct request *request, const struct group *group)
{
    return request->state == REQUEST_RUNNING && request->group == group;
}

/* Blocks that keep the answers on the group from running out at once: a page for each that may still grow. */
static int growth(const struct group *group, struct request *const *requests, int n)
{
    int blocks = 0, whole = kv_layout_whole(&group->layout);
    for (int i = 0; i < n; i++) {
        if (!runs_on(requests[i], group))
            continue;
        int left = group_blocks(group, request_positions(requests[i])) - requests[i]->blocks;
        blocks += left < 0 ? 0 : left < whole ? left : whole;
    }
    return blocks;
}

bool paging_admits(const struct group *group, struct request *const *requests, int n, const struct request *request)
{
    int idle, shared = prefix_match(group, request, &idle) * group->layout.blocks[KV_GLOBAL];
    int needed = group_blocks(group, request_known(request) + 1) - shared;
    return group_blocks(group, request_positions(request)) <= group_blocks_all(group) &&
           needed + growth(group, requests, n) <= group_room(group) - idle;
}

static struct request *youngest(const struct group *group, struct request *const *requests, int n)
{
    while (n-- > 0)
        if (runs_on(requests[n], group))
            return requests[n];
    return NULL;
}

int paging_secure(struct group *group, struct request *const *requests, int n)
{
    int preempted = 0;
    for (int i = 0; i < n; i++) {
        struct request *request = requests[i];
        while (runs_on(request, group) && !group_hold(group, request, request_known(request) + 1)) {
            struct request *victim = youngest(group, requests, n);
            group_leave(group, victim);
            request_apply(victim, REQUEST_PREEMPTED);
            preempted++;
        }
    }
    return preempted;
}
