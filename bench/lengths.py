"""lengths.py - draft lengths under load: tokens/s with 4 drafts and with as many as pay (auto), over those without, at 1 to 64 streams.

    /usr/bin/python3 bench/lengths.py --massv build/bin/massv --work FOLDER

One service at a time: a target of 64 layers, whose weights are far larger than the caches of the processor (bench/study/deeper.py), and one so
cheap that the service's own work shows (scenes-small); each with a drafter that mostly agrees (scenes-massv), and with one that sees no picture.
At each number of streams the three lengths take turns, `--rounds` times; the medians are compared. Goal: auto is never below 0.97 of no
speculation. The last column is the throughput of that many streams over that of one, without speculation."""
import argparse
import json
import pathlib
import statistics
import subprocess
import sys

TOKENS, GOAL = 60, 0.97
LENGTHS = ("0", "4", "auto")
STREAMS = (1, 2, 4, 8, 16, 32, 64)


def load(massv, address, streams, length, answers):
    """Output tokens per second; answers: of each stream."""
    done = subprocess.run([massv, "bench", "serve", "--address", address, "--concurrency", str(streams), "--requests", str(max(6, answers * streams)), "--data",
                           "models/pictures/scenes.jsonl", "--max-tokens", str(TOKENS), "--ignore-eos", "--draft-tokens", length, "--json"],
                          stdout=subprocess.PIPE, text=True, timeout=600, check=True)
    figures = json.loads(done.stdout)
    assert not sum(figures["errors"].values()), figures["errors"]
    return figures["output_tokens_per_s"]


def measure(massv, address, streams, rounds, answers):
    found = {length: [] for length in LENGTHS}
    for _ in range(rounds):
        for length in LENGTHS:
            found[length].append(load(massv, address, streams, length, answers))
    return {length: statistics.median(values) for length, values in found.items()}


def service(massv, target, drafter):
    up = subprocess.Popen([massv, "up", "--target", target, "--drafter", drafter, "--listen", "127.0.0.1:0", "--threads", "1", "--max-requests", "64",
                           "--draft-tokens", "auto", "--prefix-cache", "off", "--kv-positions", str(64 * 256)], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    return up, up.stdout.readline().split()[-1]


def curve(massv, target, drafter, streams, rounds, answers):
    """The lowest ratio of auto."""
    print(f"{pathlib.Path(target).name}, {pathlib.Path(drafter).name}: tokens/s over those without drafts\n{'streams':>7}{'K = 0, tokens/s':>17}{'K = 4':>8}{'auto':>8}{'K = 0 over one stream':>23}")
    up, address = service(massv, target, drafter)
    worst, one = float("inf"), None
    try:
        load(massv, address, 4, "auto", answers)  # times are learned
        for n in streams:
            found = measure(massv, address, n, rounds, answers)
            one = one or found["0"]
            ratio = {length: found[length] / found["0"] for length in LENGTHS}
            worst = min(worst, ratio["auto"])
            print(f"{n:7}{found['0']:17.0f}{ratio['4']:8.2f}{ratio['auto']:8.2f}{found['0'] / one:23.1f}", flush=True)
    finally:
        up.terminate()
        up.wait(60)
    return worst


def main():
    p = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    p.add_argument("--massv", default="build/bin/massv")
    p.add_argument("--work", required=True, help="folder for the target")
    p.add_argument("--layers", type=int, default=64)
    p.add_argument("--rounds", type=int, default=3)
    p.add_argument("--streams", default=",".join(map(str, STREAMS)))
    a = p.parse_args()
    target = pathlib.Path(a.work) / "scenes-deep"
    subprocess.run(["/usr/bin/python3", "bench/study/deeper.py", "models/scenes-large", "--layers", str(a.layers), "--out", str(target)], check=True,
                   stdout=subprocess.DEVNULL)
    worst = min(curve(a.massv, model, f"models/{drafter}", [int(n) for n in a.streams.split(",")], a.rounds, answers)
                for model, answers in ((str(target), 2), ("models/scenes-small", 16)) for drafter in ("scenes-massv", "scenes-drafter"))
    print(f"auto at its worst: {worst:.2f} of no speculation (goal: {GOAL})")
    return 0


if __name__ == "__main__":
    sys.exit(main())
