"""massv top: its figures are the service's, and the terminal is as it was when it ends."""
import contextlib
import json
import os
import pty
import re
import signal
import subprocess
import termios
import time

import pytest

from harness import BIN, ENVIRONMENT, GOLDEN, massv, service

TINY, DRAFTER = GOLDEN / "qwen25vl-tiny", GOLDEN / "massv-tiny"


@pytest.fixture(scope="module")
def client():
    with service(TINY, "--drafter", DRAFTER, "--ranks", "2") as running:
        yield running


def test_json_has_what_the_answers_told(client):
    ends = [client.ask(prompt="x", k=k, max_tokens=20, ignore_eos=True)[2] for k in (0, 3, 5)]
    client.refusal(prompt="x", model="another")
    done = massv("top", "--address", client.address, "--json", "--interval", "0.2")
    assert done.returncode == 0 and done.stdout.count("\n") == 1, done.stderr
    seen = json.loads(done.stdout)
    assert (seen["state"], seen["model"], seen["drafter"]) == ("READY", TINY.name, DRAFTER.name)
    assert seen["requests"] == {"running": 0, "waiting": 0, "answered": 3, "failed": 1, "preempted": 0}
    assert seen["tokens"]["generated"] == 60 and seen["tokens"]["prompt"] == sum(e.usage.prompt_tokens for e in ends)
    assert seen["speculation"]["drafted"] == sum(e.speculation.drafted for e in ends) > 0
    assert seen["speculation"]["accepted"] == sum(e.speculation.accepted for e in ends)
    [group] = seen["groups"]
    assert group["attached"] and group["ranks"] == 2 and group["steps"] > sum(e.speculation.steps for e in ends)


def test_once_shows_rates_of_what_runs(client):
    stream = client.stream(prompt="x", k=0, max_tokens=3000, ignore_eos=True)
    next(stream), next(stream)
    done = massv("top", "--address", client.address, "--once", "--interval", "0.3")
    stream.cancel()
    assert done.returncode == 0 and "\033" not in done.stdout, done.stderr
    assert done.stdout.startswith(f"{TINY.name} on {client.address}: READY  up ") and "\nrequests   1 running  0 waiting  " in done.stdout
    assert float(re.search(r"tokens +([\d.]+) generated/s", done.stdout)[1]) > 1
    group = re.search(r"^ +0  attached +1 +(\d+)% +([\d.]+) +([\d.]+) +([\d.]+) +2  ", done.stdout, re.M)
    assert group and float(group[2]) > 0 and float(group[3]) >= float(group[4]) > 0, done.stdout


class Terminal:
    """massv top on a pseudo-terminal."""

    def __init__(self, *arguments):
        self.master, self.slave = pty.openpty()
        self.before = termios.tcgetattr(self.slave)
        self.top = subprocess.Popen([BIN / "massv", "top", *map(str, arguments)], stdin=self.slave, stdout=self.slave, stderr=self.slave,
                                    env=ENVIRONMENT, start_new_session=True)
        self.text = ""

    def await_text(self, text, seconds=30):
        until = time.monotonic() + seconds
        while text not in self.text:
            assert time.monotonic() < until, self.text
            self.text += os.read(self.master, 65536).decode()

    def end(self):
        """Reads to its end, so that nothing blocks it, and checks that the terminal is as before."""
        os.set_blocking(self.master, False)
        until = time.monotonic() + 20
        while self.top.poll() is None and time.monotonic() < until:
            with contextlib.suppress(BlockingIOError):
                self.text += os.read(self.master, 65536).decode()
            time.sleep(0.01)
        with contextlib.suppress(BlockingIOError):
            self.text += os.read(self.master, 65536).decode()
        assert termios.tcgetattr(self.slave) == self.before
        assert self.text.index("\033[?1049h") < self.text.rindex("\033[?25h\033[?1049l")
        os.close(self.master)
        os.close(self.slave)
        return self.top.wait(1)


@pytest.mark.parametrize("how", ["q", signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_the_terminal_is_given_back(client, how):
    terminal = Terminal("--address", client.address, "--interval", "0.1")
    terminal.await_text(": READY")
    assert termios.tcgetattr(terminal.slave) != terminal.before
    seen = len(terminal.text)
    while terminal.text.count("requests ", seen) < 2:  # it goes on by itself
        terminal.await_text("\033[J\033[H")
        terminal.text += os.read(terminal.master, 65536).decode()
    if how == "q":
        os.write(terminal.master, b"q")
    else:
        terminal.top.send_signal(how)
    assert terminal.end() == 0


def test_a_service_that_goes_is_shown_as_gone():
    with service(TINY) as client:
        terminal = Terminal("--address", client.address, "--interval", "0.1")
        terminal.await_text(": READY")
    terminal.await_text("NO ANSWER, ")
    os.write(terminal.master, b"q")
    assert terminal.end() == 0


def test_nobody_there_is_one_line():
    done = massv("top", "--address", "127.0.0.1:9")
    assert done.returncode == 1 and done.stdout == ""
    assert done.stderr.startswith("massv top: 127.0.0.1:9: UNAVAILABLE: ") and done.stderr.count("\n") == 1
