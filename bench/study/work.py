"""work.py - the workplace of a study: stages that are done once, commands that are kept with what they said, services that end."""
import concurrent.futures
import contextlib
import hashlib
import json
import os
import pathlib
import shlex
import shutil
import subprocess
import sys
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]
ENVIRONMENT = dict(os.environ, OMPI_ALLOW_RUN_AS_ROOT="1", OMPI_ALLOW_RUN_AS_ROOT_CONFIRM="1")
LIMIT_S = 3600  # a command that takes longer than the whole study hangs
PYTHON = "/usr/bin/python3"


class Failed(Exception):
    """A command that did not do its work; says which, and its last words."""


def shown(path):
    """A path as somebody types it in the project's folder."""
    with contextlib.suppress(ValueError):
        return str(pathlib.Path(path).resolve().relative_to(ROOT))
    return str(path)


class Work:
    """The folder of one study. A stage's folder holds done.json - its key, when it was done, commands, seconds and figures - once it is
    done; the key is over its settings and when the stages that it builds upon were done, so that what changes is done again, with all
    that follows."""

    def __init__(self, folder, build, settings):
        self.folder, self.build, self.settings = pathlib.Path(folder), pathlib.Path(build), settings
        self.commands, self.stage = [], None

    def program(self, name):
        return self.build / "bin" / name

    def at(self, stage, *parts):
        return self.folder.joinpath(stage, *parts)

    def done(self, stage):
        """What a stage left, or None where it is not done."""
        with contextlib.suppress(OSError, ValueError):
            return json.loads(self.at(stage, "done.json").read_text())
        return None

    def key(self, stage):
        needs = {need: [self.key(self.stages[need]), (self.done(need) or {}).get("at")] for need in stage.needs}
        own = {name: getattr(self.settings, name) for name in stage.settings}
        return hashlib.sha256(json.dumps([stage.name, stage.version, needs, own], sort_keys=True).encode()).hexdigest()[:16]

    def perform(self, stage, again=False):
        """Does a stage that is not done yet; the ones it needs must be."""
        key, done = self.key(stage), self.done(stage.name)
        if done and done["key"] == key and not again:
            print(f"---- {stage.name}: done before, {done['seconds']:.0f} s", flush=True)
            return
        print(f"---- {stage.name}: {stage.about}", flush=True)
        begun = self.at(stage.name, "begun")
        if again or not begun.exists() or begun.read_text() != key:  # else an interrupted one goes on
            shutil.rmtree(self.at(stage.name), ignore_errors=True)
        self.at(stage.name).mkdir(parents=True, exist_ok=True)
        begun.write_text(key)
        self.commands, self.stage, begin = [], stage.name, time.monotonic()
        figures = stage.work(self)
        record = {"key": key, "at": round(time.time(), 3), "seconds": time.monotonic() - begin, "commands": self.commands, "figures": figures}
        part = self.at(stage.name, "done.json.part")  # done is what is whole
        part.write_text(json.dumps(record, indent=1) + "\n")
        part.rename(self.at(stage.name, "done.json"))

    def run(self, *words):
        """Runs a command of the study; its stdout. It is printed, timed and kept."""
        words = [str(w) for w in words]
        line = shlex.join(shown(w) if w.startswith("/") and w != PYTHON else w for w in words)
        print(f"$ {line}", flush=True)
        begin = time.monotonic()
        with self.at(self.stage, "log").open("a") as log:
            done = subprocess.run(words, cwd=ROOT, env=ENVIRONMENT, stdout=subprocess.PIPE, stderr=None if sys.stderr.isatty() else log,
                                  timeout=LIMIT_S, text=True, check=False)
            log.write(f"$ {line}\n{done.stdout}")
        self.commands.append({"command": line, "seconds": time.monotonic() - begin})
        if done.returncode:
            raise Failed(f"status {done.returncode} of: {line}\n{self.at(self.stage, 'log')} has what it said")
        return done.stdout

    def massv(self, *words):
        return self.run(self.program("massv"), *words)

    def train(self, *words):
        return self.run(self.program("massv-train"), *words)

    def train_all(self, commands):
        """massv-train with each of these words, as many at a time as there are cores; their stdouts in order."""
        with concurrent.futures.ThreadPoolExecutor(len(os.sched_getaffinity(0))) as pool:
            return list(pool.map(lambda words: self.train(*words), commands))

    @contextlib.contextmanager
    def service(self, target, drafter, *flags):
        """A running `massv up`; gives its address."""
        words = [str(self.program("massv")), "up", "--target", str(target), "--drafter", str(drafter), "--listen", "127.0.0.1:0",
                 *map(str, flags)]
        line = shlex.join(shown(w) if w.startswith("/") else w for w in words)
        print(f"$ {line} &", flush=True)
        self.commands.append({"command": f"{line} &", "seconds": 0})
        with self.at(self.stage, "up.log").open("a") as log:
            up = subprocess.Popen(words, cwd=ROOT, env=ENVIRONMENT, stdout=subprocess.PIPE, stderr=log, text=True)
        try:
            said = up.stdout.readline()
            if not said.startswith("serving "):
                raise Failed(f"no service: {line}\n{self.at(self.stage, 'up.log')} has what it said")
            yield said.split()[-1]
        finally:
            up.terminate()
            up.wait(60)
