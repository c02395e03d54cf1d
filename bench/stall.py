"""stall.py - does an answer that runs stall while a long prompt enters?

    massv up --target models/scenes-large --drafter models/scenes-massv --listen 127.0.0.1:50051
    /usr/bin/python3 bench/stall.py --address 127.0.0.1:50051

One answer streams all along; the gap is the time between two of its messages, as a client sees it. Of each round half is measured alone
and half while a prompt of 4,000 tokens enters, from its being sent to its first token. Needs python3-grpcio and protobuf-compiler-grpc."""
import argparse
import pathlib
import random
import sys
import threading
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "tests" / "system"))
from harness import Client  # noqa: E402


def percentile(values, share):
    return sorted(values)[min(len(values) - 1, int(share * len(values)))]


class Stream(threading.Thread):
    """An answer without end; the times at which its messages came."""

    def __init__(self, client, k):
        super().__init__(daemon=True)
        self.client, self.k, self.times, self.stopped = client, k, [], False

    def run(self):
        while not self.stopped:
            call = self.client.stream("Tell a long story.", max_tokens=2000, ignore_eos=True, k=self.k)
            fresh = True  # the pause before an answer's first token is no gap
            for event in call:
                if event.WhichOneof("event") == "token":
                    self.times.append((time.monotonic(), fresh))
                    fresh = False
                if self.stopped:
                    return call.cancel()

    def gaps(self, begin, end):
        times = [t for t in self.times if begin <= t[0] <= end]
        return [1e3 * (b[0] - a[0]) for a, b in zip(times, times[1:]) if not b[1]]


def enter(client, tokens, rng):
    """Sends a prompt of so many tokens that no cache knows; seconds until its first token."""
    began = time.monotonic()
    ids = client.pb.TokenIds(ids=[rng.randrange(256, 600) for _ in range(tokens)])
    request = client.pb.GenerateRequest(token_ids=ids)
    request.sampling.temperature = 0
    request.stopping.max_tokens = 1
    for event in client.inference.Generate(request, timeout=600):
        if event.WhichOneof("event") == "token":
            return time.monotonic() - began
    raise SystemExit("stall.py: no token")


def main():
    p = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    p.add_argument("--address", required=True)
    p.add_argument("--tokens", type=int, default=4000)
    p.add_argument("--rounds", type=int, default=10)
    p.add_argument("--draft-tokens", type=int, default=5)
    p.add_argument("--seconds", type=float, default=2, help="alone, in each round")
    a = p.parse_args()
    client, rng = Client(a.address), random.Random(7)
    stream = Stream(client, a.draft_tokens)
    stream.start()
    enter(client, a.tokens, rng)  # the first step times are learned
    alone, beside, first = [], [], []
    for _ in range(a.rounds):
        began = time.monotonic()
        time.sleep(a.seconds)
        alone += stream.gaps(began, time.monotonic())
        began = time.monotonic()
        first.append(enter(client, a.tokens, rng))
        beside += stream.gaps(began, time.monotonic())
    stream.stopped = True
    stream.join()
    print(f"gap of a running stream, ms ({a.rounds} rounds, prompts of {a.tokens} tokens, K = {a.draft_tokens})")
    print(f"{'':28}{'p50':>8}{'p99':>8}{'max':>8}{'gaps':>8}")
    for name, gaps in (("alone", alone), ("while a prompt enters", beside)):
        print(f"{name:28}{percentile(gaps, 0.5):8.1f}{percentile(gaps, 0.99):8.1f}{max(gaps):8.1f}{len(gaps):8}")
    print(f"first token of the prompt: {1e3 * percentile(first, 0.5):.0f} ms (median)")
    client.close()


if __name__ == "__main__":
    main()
