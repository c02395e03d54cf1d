#!/usr/bin/python3
"""chaos.py - a service under load whose processes are killed and stopped: every answer must be the undisturbed one.

    tests/system/chaos.py [--seconds 120] [--seed N] [--streams 16] [--groups 2] [--ranks 2] [--every 2] [--kills N | --spare]

All choices come from the seed, which is printed first: the same seed gives the same events at the same times. Clients ask in a loop; most read
to the end and compare ids, some cancel, some have a deadline that is too short, some read slowly. The last lines say what was done and what it
cost; the exit status is 1 when an answer differed, a call ended as it must not, or something was left behind."""
import argparse
import collections
import concurrent.futures
import contextlib
import dataclasses
import os
import random
import signal
import statistics
import sys
import threading
import time

import grpc

from harness import BIN, MODELS, PICTURES, Client, Process, alive, descendants, wait_gone

ANSWER_S = 120  # an answer under fire: a dozen restarts of all groups
QUIET_S = 20    # after the last event everything has been released
REDIAL_S = 10   # a client's connection pauses between its tries to come back
KINDS = ("up", "coordinator", "mpirun", "rank")
MEDIAN_OF = 30  # samples of memory
TARGET, DRAFTER = MODELS / "scenes-large", MODELS / "scenes-massv"
SEEN = [("What can you see in this picture?", "scene-00002.png"), ("Tell a short story about the picture.", "scene-00008.png"),
        ("Name the days of the week.", None)]
COUPLED = dict(temperature=1.0, sampling=dict(seed=5, top_p=0.95, mode=1))  # COUPLED: its text, too, depends on nothing that chaos can change
MANNERS = [(0, {}), (3, {}), (5, {}), (5, COUPLED)]
RULE = "Number {}: whoever is shown a picture says in whole sentences what is in it, where it is, which colour it has, and what is beside it. "
RULES = 24  # prompts of several pages, each with a beginning of its own: more than the caches keep


def question(prompt, picture, k, how):
    return dict(prompt=prompt, pictures=[PICTURES / picture] if picture else [], k=k, max_tokens=160, ignore_eos=True, **how)


QUESTIONS = [question(*seen, *manner) for manner in MANNERS for seen in SEEN] + \
            [question(RULE.format(i) * 4, None, *MANNERS[i % len(MANNERS)]) for i in range(RULES)]


@dataclasses.dataclass
class Event:
    at: float  # seconds after the start
    kind: str
    pick: int  # chooses the victim among those that live then
    seconds: float  # for which it is stopped


def plan(seed, every, coordinator):
    """Endless events; with `coordinator` it is killed, too."""
    dice, at = random.Random(seed), 0.0
    while True:
        at += dice.expovariate(1 / every)
        kind = dice.choices(["kill rank", "kill mpirun", "stop rank", "stop coordinator", "kill coordinator"], [8, 3, 3, 1, coordinator])[0]
        yield Event(at, kind, dice.randrange(1 << 30), dice.uniform(0.2, 4 if kind == "stop rank" else 1.5))


class Service:
    """`massv up`, started again on its address when its coordinator was killed."""

    def __init__(self, options):
        self.options = options
        self.address = "127.0.0.1:0"
        self.gone = -REDIAL_S  # when the coordinator was away last
        self.spared = set()    # process ids
        self.start()

    def start(self):
        self.up = Process(BIN / "massv", "up", "--target", TARGET, "--drafter", DRAFTER, "--listen", self.address, "--threads", "1",
                          "--ranks", self.options.ranks, "--groups", self.options.groups, "--kv-positions", self.options.kv_positions,
                          "--draft-positions", self.options.kv_positions)
        self.address = self.up.line("serving ").rpartition(" on ")[2]
        self.gone = time.monotonic()

    def pids(self, what):
        """Of "rank", "mpirun", "coordinator" or "up", oldest first."""
        if what == "up":
            return [self.up.process.pid]
        names = {"rank": "massv-worker", "mpirun": "mpirun", "coordinator": "massv-coordinator"}
        return sorted(pid for pid, line in descendants(self.up.process.pid).items() if os.path.basename(line.split(" ")[0]) == names[what])

    def spare(self):
        """The first group is not struck any more."""
        mpirun = self.pids("mpirun")[0]
        self.spared = {mpirun, *descendants(mpirun)}

    def strike(self, event):
        """Does what the event says; what it was done to, or None when nobody of the kind lives."""
        action, what = event.kind.split()
        pids = [pid for pid in self.pids(what) if pid not in self.spared]
        if not pids:
            return None
        pid = pids[event.pick % len(pids)]
        if event.kind == "kill coordinator":
            self.gone = float("inf")  # until it is there again
        os.kill(pid, signal.SIGKILL if action == "kill" else signal.SIGSTOP)
        if action == "stop":
            time.sleep(event.seconds)
            if alive(pid):
                os.kill(pid, signal.SIGCONT)
        elif what == "coordinator":
            assert self.up.process.wait(30) == 1, "massv up ends when its coordinator was killed"
            self.start()
        return pid


class Load:
    """Clients in threads, and what they saw."""

    def __init__(self, service, streams, seed, pause):
        self.service, self.faults, self.counts = service, [], collections.Counter()
        self.longest_pause, self.over, self.lock = 0.0, threading.Event(), threading.Lock()
        client = Client(service.address)
        with concurrent.futures.ThreadPoolExecutor(len(QUESTIONS)) as pool:  # more at once than later: buffers that grow with it have grown
            self.expected = list(pool.map(lambda q: client.ask(**q)[0], QUESTIONS))
        client.close()
        self.pause = pause
        self.threads = [threading.Thread(target=self.run, args=(random.Random(seed * 1000 + i),)) for i in range(streams)]
        for thread in self.threads:
            thread.start()

    def note(self, what, pause=0.0):
        with self.lock:
            self.counts[what] += 1
            self.longest_pause = max(self.longest_pause, pause)

    def run(self, dice):
        client = Client(self.service.address)
        while not self.over.is_set() and not self.faults:
            at = dice.randrange(len(QUESTIONS))
            manner = dice.choices(["whole", "cancelled", "late", "slow"], [14, 2, 2, 1])[0]
            try:
                self.ask(client, dice, at, manner)
            except Exception as error:  # a client that dies says nothing any more
                self.faults.append(f"{manner} client: {error!r}")
            self.over.wait(dice.expovariate(1 / self.pause) if self.pause else 0)
        client.close()

    def ask(self, client, dice, at, manner):
        ids, last, pause = [], time.monotonic(), 0.0
        stop_after = dice.randrange(1, 150)
        call = client.stream(**QUESTIONS[at], timeout=dice.uniform(0.005, 0.3) if manner == "late" else ANSWER_S)
        try:
            for event in call:
                pause, last = max(pause, time.monotonic() - last), time.monotonic()
                ids += event.token.token_ids
                if manner == "cancelled" and len(ids) > stop_after:
                    call.cancel()
                if manner == "slow":
                    time.sleep(0.02)
        except grpc.RpcError as error:
            self.ended(error, manner)
            if error.code() == grpc.StatusCode.UNAVAILABLE:
                time.sleep(0.2)
            ids = ids[:len(self.expected[at])] if manner == "cancelled" else ids
        else:
            self.note("compared", pause)
            if len(ids) != len(self.expected[at]):
                self.faults.append(f"question {at}: {len(ids)} tokens instead of {len(self.expected[at])}")
        if ids != self.expected[at][:len(ids)]:
            self.faults.append(f"question {at}: {ids} is not {self.expected[at][:len(ids)]}")

    def ended(self, error, manner):
        """A call that ended otherwise: a few ways are right."""
        code = error.code()
        self.note(code.name)
        right = {"cancelled": code == grpc.StatusCode.CANCELLED, "late": code == grpc.StatusCode.DEADLINE_EXCEEDED}.get(manner, False)
        if code == grpc.StatusCode.UNAVAILABLE:
            right = time.monotonic() - self.service.gone < REDIAL_S
        if not right:
            self.faults.append(f"{manner} client: {code.name}: {error.details()}")

    def finish(self):
        self.over.set()
        for thread in self.threads:
            thread.join(ANSWER_S)
            if thread.is_alive():
                self.faults.append("a client still waits for its answer")


def resident_mb(pid):
    with open(f"/proc/{pid}/statm", encoding="ascii") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6


class Memory:
    """Resident megabytes of every process of the service, once a second: what one holds at its end beside what it held when it was warm."""

    def __init__(self, service, warm):
        self.service, self.warm, self.seen, self.over = service, warm, {}, threading.Event()
        self.thread = threading.Thread(target=self.run, daemon=True)
        self.thread.start()

    def run(self):
        while not self.over.wait(1):
            for what in KINDS:
                for pid in self.service.pids(what):
                    with contextlib.suppress(OSError):  # it has just ended
                        self.seen.setdefault((what, pid), []).append((time.monotonic(), resident_mb(pid)))

    def finish(self):
        self.over.set()
        self.thread.join()

    def report(self, most):
        """A line per kind of process: the largest growth of one that lived for long enough. What grew by more than that share."""
        faults = []
        for what in KINDS:
            lives = [life for (kind, _), life in self.seen.items() if kind == what and life[-1][0] - life[0][0] > 2 * self.warm]
            if lives:
                grown, warm, last, seconds = max(self.growth(life) for life in lives)
                line = f"{what} {warm:.1f} MB after {self.warm} s, {last:.1f} MB after {seconds:.0f} s ({grown:+.1%}; the worst of {len(lives)})"
                print("memory:", line)
                faults += [f"memory grew: {line}"] if most is not None and grown > most else []
        return faults

    def growth(self, life):
        """The share, the medians that it comes from, and seconds to the end."""
        born, end = life[0][0], life[-1][0]
        warm = statistics.median([mb for at, mb in life if at >= born + self.warm][:MEDIAN_OF])
        last = statistics.median([mb for _, mb in life[-MEDIAN_OF:]])
        return last / warm - 1, warm, last, end - born


def quiet(service):
    """What is still held long after the last answer; empty when nothing is."""
    client = Client(service.address)
    until = time.monotonic() + QUIET_S
    while True:
        info = client.control.GetServerInfo(client.pb.GetServerInfoRequest(), timeout=10)
        if (info.running, info.waiting, info.groups) == (0, 0, service.options.groups):
            client.close()
            return []
        if time.monotonic() > until:
            return [f"after {QUIET_S} s: {info.running} requests run, {info.waiting} wait, {info.groups} groups are attached"]
        time.sleep(0.1)


def strikes(options, service, load):
    """Strikes until the time or the kills are over; how often what was done."""
    begun, done = time.monotonic(), collections.Counter()
    for event in plan(options.seed, options.every, coordinator=not options.kills and not options.spare):
        if options.kills and done["kill rank"] + done["kill mpirun"] >= options.kills:
            return done
        until = event.at if options.kills else min(event.at, options.seconds)
        time.sleep(max(0.0, begun + until - time.monotonic()))
        if until < event.at or load.faults or service.up.process.poll() is not None:
            return done
        victim = service.strike(event)
        done[event.kind if victim else "nobody to hit"] += 1
        if options.verbose:
            print(f"{event.at:7.2f} s  {event.kind} {victim}", flush=True)
    return done


def chaos(options):
    print(f"seed {options.seed}: {options.streams} streams, {options.groups} groups of {options.ranks} ranks, "
          + (f"{options.kills} kills" if options.kills else f"{options.seconds:g} s"), flush=True)
    service = Service(options)
    try:
        return report(options, service)
    finally:
        service.up.stop()


def report(options, service):
    if options.spare:
        service.spare()
    load, memory = Load(service, options.streams, options.seed, options.pause), Memory(service, options.warm)
    done = strikes(options, service, load)
    memory.finish()
    load.finish()
    faults = load.faults
    if service.up.process.poll() is None:
        faults += quiet(service)
    family = descendants(service.up.process.pid)
    if service.up.stop() != 0:
        faults.append(f"massv up ended badly: {service.up.stderr()[-800:]}")
    faults += [f"left behind: {family[pid]}" for pid in wait_gone(family, 10)]
    print("done:   " + (", ".join(f"{n} x {kind}" for kind, n in sorted(done.items())) or "nothing"))
    print(f"calls:  {load.counts.pop('compared', 0)} whole answers equal to the undisturbed ones"
          + "".join(f", {n} {name}" for name, n in sorted(load.counts.items())))
    print(f"longest pause within an answer {load.longest_pause:.1f} s")
    faults += memory.report(options.growth)
    for fault in faults[:20]:
        print("FAULT:", fault[:1000])
    if faults:
        print(service.up.stderr()[-4000:])
    print("chaos:", "failed" if faults else "passed", f"(--seed {options.seed})", flush=True)
    return 1 if faults else 0


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0], epilog="Example: tests/system/chaos.py --seconds 60 --seed 7")
    parser.add_argument("--seconds", type=float, default=120)
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(1 << 31))
    parser.add_argument("--streams", type=int, default=16)
    parser.add_argument("--groups", type=int, default=2)
    parser.add_argument("--ranks", type=int, default=2)
    parser.add_argument("--every", type=float, default=2.0, help="seconds between events, on average")
    parser.add_argument("--kills", type=int, default=0, help="so many kills of ranks and mpiruns, in place of --seconds")
    parser.add_argument("--pause", type=float, default=0.0, help="seconds between a client's calls, on average")
    parser.add_argument("--kv-positions", type=int, default=8192, help="of each group and of the drafter: few, so that all are in use before memory is looked at")
    parser.add_argument("--warm", type=int, default=60, help="seconds of a process's life before its memory is looked at")
    parser.add_argument("--growth", type=float, help="the share by which resident memory may grow after that, 0.02 for instance")
    parser.add_argument("--spare", action="store_true", help="never kill the coordinator nor strike the first group: their memory is looked at over the "
                        "whole time")
    parser.add_argument("--verbose", action="store_true", help="a line per event")
    return chaos(parser.parse_args())


if __name__ == "__main__":
    sys.exit(main())
