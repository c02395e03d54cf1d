/* placement.c - what a request would cost where */
#include "coordinator/placement.h"

#include "coordinator/prefix.h"

/* Before anything is known, in no unit: rows of a step cost little beside the weights that it reads. */
static const double ANY_STEP = 1, ANY_ROW = 0.05;

bool placement_knows(const struct pace *pace)
{
    return pace->prompt_row_ms > 0 && cost_curve_at(&pace->run, 1) > 0;
}

struct work { /* on a group */
    int prompt_rows, generated_rows;
};

/* Drafts of a step; where as many as pay, about so many do. */
static int drafts_of(const struct request *request)
{
    return request->draft_tokens == DRAFT_TOKENS_AUTO ? DRAFT_TOKENS_DEFAULT : request->draft_tokens;
}

static struct work work_of(const struct group *group, struct request *const *requests, int n)
{
    struct work work = {0};
    for (int i = 0; i < n; i++) {
        const struct request *r = requests[i];
        if (r->group != group)
            continue;
        int known = request_known(r);
        work.prompt_rows += known > r->computed ? known - r->computed : 0;
        work.generated_rows += 1 + drafts_of(r);
    }
    return work;
}

double placement_burden(const struct group *group, const struct pace *known, struct request *const *requests, int n,
                        const struct request *request)
{
    int idle;
    const struct pace *pace = placement_knows(&group->pace) ? &group->pace : known;
    struct work work = work_of(group, requests, n);
    work.prompt_rows += request_known(request) - prefix_match(group, request, &idle) * group->hello.page_positions;
    work.generated_rows += 1 + drafts_of(request);
    double row = pace ? pace->prompt_row_ms : ANY_ROW;
    double step = pace ? cost_curve_at(&pace->run, work.generated_rows) : ANY_STEP + ANY_ROW * work.generated_rows;
    double used = 1 - (double)group_room(group) / group_blocks_all(group);
    return (row * work.prompt_rows + step * PLACEMENT_ANSWER) * (1 + used);
}
