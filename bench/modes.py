"""modes.py - drafts accepted in the two modes of sampling, through a running service.

    massv up --target models/scenes-large --drafter models/scenes-massv --ranks 2     # prints the address
    /usr/bin/python3 bench/modes.py --address 127.0.0.1:50051

Asks the questions of models/pictures with several seeds, in each mode and at several temperatures. Both modes give text of the same
distribution (docs/numerics.md), so what remains to be compared is how many tokens a step gives: 1 + accepted / steps. The standard
error is that over the answers."""
import argparse
import json
import math
import pathlib
import statistics
import subprocess


def ask(a, scene, mode, temperature, seed):
    done = subprocess.run([a.massv, "generate", "--address", a.address, "--image", str(a.pictures / scene["image"]), "--prompt",
                           scene["prompt"], "--temperature", str(temperature), "--mode", mode, "--seed", str(seed), "--max-tokens", "96",
                           "--draft-tokens", "5", "--json"], check=True, stdout=subprocess.PIPE, text=True)
    return json.loads(done.stdout)["speculation"]


def main():
    p = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    p.add_argument("--address", required=True)
    p.add_argument("--pictures", type=pathlib.Path, default=pathlib.Path("models/pictures"))
    p.add_argument("--limit", type=int, help="of the questions; default: all")
    p.add_argument("--seeds", type=int, default=4)
    p.add_argument("--massv", default="build/bin/massv")
    a = p.parse_args()
    scenes = [json.loads(line) for line in (a.pictures / "scenes.jsonl").read_text().splitlines()][:a.limit]
    print("temperature  mode        drafts  accepted  mean acc. length  standard error")
    for temperature in (0.7, 1.0, 1.5):
        for mode in ("coupled", "rejection"):
            got = [ask(a, s, mode, temperature, seed) for s in scenes for seed in range(1, a.seeds + 1)]
            drafted, accepted, steps = (sum(g[k] for g in got) for k in ("drafted", "accepted", "steps"))
            each = [g["mean_acceptance_length"] for g in got]
            error = statistics.stdev(each) / math.sqrt(len(each))
            print(f"{temperature:11}  {mode:9}  {drafted:7}  {accepted / drafted:8.1%}  {1 + accepted / steps:16.2f}  {error:14.2f}")


if __name__ == "__main__":
    main()
