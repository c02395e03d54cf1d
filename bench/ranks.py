"""ranks.py - tensor parallelism on one box: tokens per second of 2 ranks x 1 thread over those of 1 rank x 2 threads.

    /usr/bin/python3 bench/ranks.py --shape qwen2.5-vl-3b --layers 4 --rounds 3

Runs `massv bench step` by turns with one and with two ranks, so that both see the same machine; of each row count the best time of all
rounds counts, and the spread of the rounds' own ratios stands beside it. Both compute the same layers with the same two cores: what is
lost is what the sums over ranks and the thinner slices cost. The goal is a ratio of 0.9."""
import argparse
import json
import subprocess

WAYS = {"1 rank x 2 threads": ["--ranks", "1", "--threads", "2"], "2 ranks x 1 thread": ["--ranks", "2", "--threads", "1"]}
GOAL, GOAL_ROWS = 0.9, (1, 6, 512)


def step(massv, shape, layers, way):
    done = subprocess.run([massv, "bench", "step", "--shape", shape, "--layers", str(layers), *way, "--json"], stdout=subprocess.PIPE,
                          stderr=subprocess.PIPE, text=True, timeout=300, check=False)
    if done.returncode:
        raise SystemExit(f"ranks.py: {done.stderr.strip()}")
    return {row["n"]: row["ms"] for row in json.loads(done.stdout)["rows"]}


def main():
    p = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    p.add_argument("--shape", default="qwen2.5-vl-3b")
    p.add_argument("--layers", type=int, default=4, help="the more, the more the sums over ranks weigh beside the head")
    p.add_argument("--rounds", type=int, default=3)
    p.add_argument("--massv", default="build/bin/massv")
    a = p.parse_args()
    rounds = [{name: step(a.massv, a.shape, a.layers, way) for name, way in WAYS.items()} for _ in range(a.rounds)]
    one, two = WAYS
    print(f"{a.shape}, {a.layers} layers and the head, best of {a.rounds}")
    print(f"{'rows':>6}{one + ', ms':>24}{two + ', ms':>24}{'ratio':>8}   ratio of each round")
    for n in rounds[0][one]:
        best = {name: min(r[name][n] for r in rounds) for name in WAYS}
        each = " ".join(f"{r[one][n] / r[two][n]:.2f}" for r in rounds)
        ratio = best[one] / best[two]
        verdict = f"  (goal {GOAL}: {'kept' if ratio >= GOAL else 'MISSED'})" if n in GOAL_ROWS else ""
        print(f"{n:6}{best[one]:24.2f}{best[two]:24.2f}{ratio:8.2f}   {each}{verdict}")


if __name__ == "__main__":
    main()
