"""streams.py - very many streams at once: errors, how even their rates are, and whether memory stays bounded.

    /usr/bin/python3 bench/streams.py --streams 1000 --rounds 3

Starts a service of scenes-large on two ranks whose limits let all streams in, and puts rounds of `massv bench serve` on it: always `streams`
requests under way, three times as many in all, each of 50 tokens, without speculation: the drafter's cache holds some hundred requests,
and those would run several times as fast as the others. After each round the resident memory of every process is read: the first
round fills caches and pools, from then on it should stand still. Goals: no error; p99 / p50 of the time per token at most 3; memory
after the last round within 2 % of that after the round before."""
import argparse
import json
import pathlib
import signal
import subprocess
import tempfile

TOKENS, POSITIONS = 50, 256  # of an answer; of a request in the cache, at most
RATIO_GOAL, GROWTH_GOAL = 3, 1.02


def memory(pid):
    """Resident MB of the process and its descendants, by pid."""
    children, found, look = {}, {}, [pid]
    for stat in pathlib.Path("/proc").glob("[0-9]*/stat"):
        try:
            children.setdefault(int(stat.read_text().rpartition(")")[2].split()[1]), []).append(int(stat.parent.name))
        except OSError:
            pass  # it has just ended
    while look:
        one = look.pop()
        lines = pathlib.Path(f"/proc/{one}/status").read_text().splitlines()
        fields = dict(line.split(":", 1) for line in lines if ":" in line)
        found[one] = fields["Name"].strip(), int(fields["VmRSS"].split()[0]) / 1024
        look += children.get(one, [])
    return found


def load(massv, address, streams):
    done = subprocess.run([massv, "bench", "serve", "--address", address, "--concurrency", str(streams), "--requests", str(3 * streams),
                           "--max-tokens", str(TOKENS), "--ignore-eos", "--draft-tokens", "0", "--json"], stdout=subprocess.PIPE, text=True, timeout=3600, check=True)
    return json.loads(done.stdout)


def report(number, figures):
    tpot, rate = figures["tpot_ms"], figures["stream_tokens_per_s"]
    print(f"{number:5}{figures['completed']:11}{sum(figures['errors'].values()):8}{figures['output_tokens_per_s']:10.0f}"
          f"{figures['ttft_ms']['p50']:10.0f}{figures['ttft_ms']['p99']:9.0f}{tpot['p50']:10.1f}{tpot['p99']:9.1f}"
          f"{tpot['p99'] / tpot['p50']:9.2f}{rate['p99'] / rate['p50']:9.2f}", flush=True)


def measure(massv, address, pid, streams, rounds):
    print(f"{streams} streams at once, {3 * streams} requests of {TOKENS} tokens a round")
    print(f"{'round':>5}{'completed':>11}{'errors':>8}{'tokens/s':>10}{'TTFT p50':>10}{'p99, ms':>9}{'TPOT p50':>10}{'p99, ms':>9}{'p99/p50':>9}"
          f"{'of rate':>9}")
    resident, all_figures = [], []
    for number in range(1, rounds + 1):
        all_figures.append(load(massv, address, streams))
        report(number, all_figures[-1])
        resident.append(memory(pid))
    print("resident MB after each round")
    for process, (name, _) in resident[0].items():
        print(f"  {name:16}" + "".join(f"{r[process][1]:9.1f}" for r in resident))
    errors = sum(sum(f["errors"].values()) for f in all_figures)
    for figures in all_figures:
        for status, count in figures["errors"].items():
            print(f"  {count} requests ended with {status}")
    ratio = max(f["tpot_ms"]["p99"] / f["tpot_ms"]["p50"] for f in all_figures)
    growth = max(resident[-1][p][1] / resident[max(0, rounds - 2)][p][1] for p in resident[0])
    for words, value, kept in (("errors", errors, errors == 0), (f"p99 / p50 of the time per token (goal {RATIO_GOAL})", f"{ratio:.2f}", ratio <= RATIO_GOAL),
                               (f"memory, last round / the one before (goal {GROWTH_GOAL})", f"{growth:.3f}", growth <= GROWTH_GOAL)):
        print(f"{words}: {value}, {'kept' if kept else 'MISSED'}")
    return errors


def main():
    p = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    p.add_argument("--streams", type=int, default=1000)
    p.add_argument("--rounds", type=int, default=3)
    p.add_argument("--massv", default="build/bin/massv")
    a = p.parse_args()
    command = [a.massv, "up", "--target", "models/scenes-large", "--drafter", "models/scenes-massv", "--ranks", "2", "--threads", "1", "--listen",
               "127.0.0.1:0", "--max-requests", str(a.streams), "--max-waiting", str(a.streams), "--kv-positions", str(a.streams * POSITIONS)]
    print("$", *command, "&")
    log = tempfile.TemporaryFile("w+")  # a pipe that nobody reads would fill and stop the service
    up = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log, text=True)
    try:
        line = up.stdout.readline()
        if not line.startswith("serving "):
            log.seek(0)
            raise SystemExit(f"streams.py: {log.read().strip()}")
        errors = measure(a.massv, line.split()[-1], up.pid, a.streams, a.rounds)
    finally:
        up.send_signal(signal.SIGTERM)
        up.wait(timeout=60)
    raise SystemExit(1 if errors else 0)


if __name__ == "__main__":
    main()
