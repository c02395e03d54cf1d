"""accuracy.py - share of exactly right answers about fresh pictures, through a running service.

    massv up --target models/scenes-large --drafter models/scenes-massv --ranks 2     # prints the address
    /usr/bin/python3 bench/accuracy.py --address 127.0.0.1:50051

Draws pictures that no model has seen (bench/study/scenes.py, the seed says which), asks one question about each, greedily, and compares the
whole answer with the reference, letter by letter. The nine tasks are those with one right wording; models/README.md has the figures
that PyTorch measured on 360 other pictures. Needs python3-pil and fonts-noto-color-emoji."""
import argparse
import collections
import json
import math
import pathlib
import random
import subprocess
import sys
import tempfile

sys.path.append(str(pathlib.Path(__file__).resolve().parent / "study"))
import scenes  # noqa: E402
import talk  # noqa: E402

TASKS = ("where_is", "what_at", "colour_of", "kinds", "listing", "caption", "count", "is_there", "relation")
RECORDED = {"scenes-large": 64, "scenes-small": 61}  # %, models/README.md


def ask(massv, address, picture, prompt):
    done = subprocess.run([massv, "generate", "--address", address, "--image", picture, "--prompt", prompt, "--temperature", "0",
                           "--repetition-penalty", "1", "--max-tokens", "200", "--json"], check=True, stdout=subprocess.PIPE, text=True)
    return json.loads(done.stdout)["text"].strip()


def main():
    p = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    p.add_argument("--address", required=True)
    p.add_argument("--model", choices=RECORDED, default="scenes-large", help="whose recorded figure stands beside ours")
    p.add_argument("--count", type=int, default=200)
    p.add_argument("--seed", type=int, default=20261122)
    p.add_argument("--massv", default="build/bin/massv")
    a = p.parse_args()
    rng, right = random.Random(a.seed), collections.Counter()
    asked = collections.Counter()
    with tempfile.TemporaryDirectory() as folder:
        picture = pathlib.Path(folder) / "scene.png"
        for i in range(a.count):
            task = TASKS[i % len(TASKS)]
            scene = scenes.draw_scene(rng)
            scenes.paint(scene, rng).save(picture)
            (_, prompt, reference), = talk.talk(scene, rng, 1, task)
            asked[task] += 1
            right[task] += ask(a.massv, a.address, picture, prompt) == reference
    for task in TASKS:
        print(f"{task:12} {right[task]:3} of {asked[task]}")
    share = right.total() / a.count
    error = math.sqrt(share * (1 - share) / a.count)
    print(f"exactly right: {share:.0%} of {a.count} fresh pictures (seed {a.seed}, standard error {error:.1%}); "
          f"recorded for {a.model}: {RECORDED[a.model]}%")


if __name__ == "__main__":
    main()
