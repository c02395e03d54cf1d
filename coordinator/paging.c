/* paging.c - admission by free pages, and preemption by recomputation */
#include "coordinator/paging.h"

#include "coordinator/prefix.h"

static bool runs_on(const struct request *request, const struct group *group)
{
    return request->state == REQUEST_RUNNING && request->group == group;
}

/* Pages that keep the answers on the group from running out at once. */
static int growth(const struct group *group, struct request *const *requests, int n)
{
    int pages = 0;
    for (int i = 0; i < n; i++)
        if (runs_on(requests[i], group))
            pages += requests[i]->pages < group_pages(group, request_positions(requests[i]));
    return pages;
}

bool paging_admits(const struct group *group, struct request *const *requests, int n, const struct request *request)
{
    int idle, needed = group_pages(group, request_known(request) + 1) - prefix_match(group, request, &idle);
    return group_pages(group, request_positions(request)) <= group->hello.pages &&
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
