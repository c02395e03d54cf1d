/* bench.c - massv bench: the table of measurements */
#include "cli/cli.h"

static const struct command benches[] = {
    {"kernels", "each operation beside what this machine allows", command_bench_kernels, true},
    {"step", "one step of a published model shape, random weights", command_bench_step, true},
    {"collectives", "what ranks say to each other", command_bench_collectives, true},
    {"serve", "load on a running service", command_bench_serve, false},
    {0},
};

int command_bench(struct comm *comm, int argc, char **argv)
{
    return cli_choose(benches, "massv bench - measure, each figure beside the probe it is to be compared with",
                      "massv bench step --shape qwen2.5-vl-3b", comm, argc, argv);
}
