/* engine_fixture.h - what test_engine.c and test_engine_steps.c start with: a group of one rank and three cases of the goldens */
#ifndef TESTS_WORKER_ENGINE_FIXTURE_H
#define TESTS_WORKER_ENGINE_FIXTURE_H

#include "tests/worker/engine_checks.h"

struct fixture {
    struct comm *comm;
    struct group group;
    struct golden *scene, *text, *pair; /* cases: a picture, none, two */
};

static inline int setup(void **state)
{
    struct fixture *f = mem_new(1, sizeof *f);
    assert_int_equal(comm_open_one(&f->comm, NULL), 0);
    group_open(&f->group, GOLDEN_TARGET, f->comm, GROUP_POSITIONS);
    f->scene = golden_read(GOLDEN_TARGET, "scene");
    f->text = golden_read(GOLDEN_TARGET, "text-only");
    f->pair = golden_read(GOLDEN_TARGET, "two-images");
    *state = f;
    return 0;
}

static inline int teardown(void **state)
{
    struct fixture *f = *state;
    golden_free(f->scene);
    golden_free(f->text);
    golden_free(f->pair);
    group_close(&f->group);
    comm_close(f->comm);
    free(f);
    return 0;
}

#endif
