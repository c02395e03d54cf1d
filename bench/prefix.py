"""prefix.py - the first token of a long prompt that is new to a service, and of the same prompt again.

    massv up --target models/scenes-large --drafter models/scenes-massv     # prints the address
    /usr/bin/python3 bench/prefix.py --address 127.0.0.1:50051

In each round a prompt of random ids is sent twice; with --prefix-cache off the second costs what the first does. The answers must be
equal. Needs python3-grpcio and protobuf-compiler-grpc."""
import argparse
import pathlib
import random
import statistics
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "tests" / "system"))
from harness import Client  # noqa: E402


def ask(client, ids):
    """Seconds to the first token, the ids of the answer, prompt tokens that were there."""
    request = client.pb.GenerateRequest(token_ids=client.pb.TokenIds(ids=ids))
    request.sampling.temperature = 0
    request.stopping.max_tokens = 8
    request.stopping.ignore_eos = True
    began, first, answer = time.monotonic(), None, []
    for event in client.inference.Generate(request, timeout=600):
        if event.WhichOneof("event") == "token":
            first = first or time.monotonic() - began
            answer += event.token.token_ids
        elif event.WhichOneof("event") == "finished":
            return first, answer, event.finished.usage.cached_tokens


def main():
    p = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    p.add_argument("--address", required=True)
    p.add_argument("--tokens", type=int, default=4000)
    p.add_argument("--rounds", type=int, default=10)
    a = p.parse_args()
    client, rng, new, again = Client(a.address), random.Random(1), [], []
    for _ in range(a.rounds):
        ids = [rng.randrange(256, 600) for _ in range(a.tokens)]
        first, second = ask(client, ids), ask(client, ids)
        if first[1] != second[1]:
            raise SystemExit("prefix.py: the same prompt was answered in two ways")
        new.append(first[0])
        again.append(second[0])
    x, y = (1e3 * statistics.median(times) for times in (new, again))
    print(f"first token of a prompt of {a.tokens} tokens, ms (median of {a.rounds}): new {x:.1f}, again {y:.1f} with {second[2]} tokens"
          f" found; ratio {y / x:.3f}; all answers equal")


main()
