/* eval_check.c - the promise, looked after while measuring: whoever drafts, the text is the same */
#include "cli/eval.h"

static int first_difference(const struct eval_answer *a, const struct eval_answer *b)
{
    int n = a->usage.completion_tokens, m = b->usage.completion_tokens, i = 0;
    while (i < n && i < m && a->ids[i] == b->ids[i])
        i++;
    return i == n && i == m ? -1 : i;
}

static bool text_is_a_function_of_the_seed(const struct eval_condition *condition)
{
    return condition->temperature == 0 || condition->mode == SAMPLING_COUPLED;
}

/* The first config of the same condition that has this answer. */
static int config_to_compare(const struct eval *e, int config, int question)
{
    for (int c = 0; c < config; c++)
        if (e->configs[c].condition == e->configs[config].condition && eval_answer_at(e, c, question)->text)
            return c;
    return -1;
}

int eval_check_texts(const struct eval *e, struct eval_difference *list, int room, int *compared)
{
    int n = 0;
    *compared = 0;
    for (int c = 0; c < e->n_configs; c++)
        for (int q = 0; q < e->questions.n; q++) {
            const struct eval_answer *answer = eval_answer_at(e, c, q);
            if (!answer->text || !text_is_a_function_of_the_seed(&e->conditions[e->configs[c].condition]))
                continue;
            int other = config_to_compare(e, c, q);
            if (other < 0)
                continue;
            ++*compared;
            int at = first_difference(eval_answer_at(e, other, q), answer);
            if (at >= 0 && n++ < room)
                list[n - 1] = (struct eval_difference){q, c, other, at};
        }
    return n;
}
