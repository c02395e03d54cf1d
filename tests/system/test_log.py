"""The log: JSON that a collector can read, a line for each request, and a stderr that takes nothing."""
import datetime
import fcntl
import json
import os
import signal
import subprocess
import time

import pytest

from harness import BIN, ENVIRONMENT, GOLDEN, Client, Process, descendants, massv, service

TINY, DRAFTER = GOLDEN / "qwen25vl-tiny", GOLDEN / "massv-tiny"
ANY = "127.0.0.1:0"


def objects(up):
    return [json.loads(line) for line in up.stderr().splitlines()]


def await_line(up, **wanted):
    until = time.monotonic() + 20
    while True:
        found = [line for line in objects(up) if all(line.get(k) == v for k, v in wanted.items())]
        if found or time.monotonic() > until:
            assert found, up.stderr()
            return found[-1]
        time.sleep(0.02)


def test_json_lines_tell_of_requests_and_groups():
    with service(TINY, "--drafter", DRAFTER, "--log-format", "json") as client:
        _, _, end = client.ask(prompt="x", k=3, max_tokens=9, ignore_eos=True, request_id="first")
        client.refusal(prompt="x", model="another", request_id="second")
        client.refusal(prompt="many words " * 4000, request_id="third")
        line = await_line(client.up, request_id="first")
        assert line["message"] == "request answered" and line["level"] == "info" and line["program"] == "coordinator"
        assert (line["status"], line["reason"]) == ("OK", "length")
        assert line["peer"].startswith("ipv4:127.0.0.1:")
        assert line["prompt_tokens"] == end.usage.prompt_tokens and line["completion_tokens"] == 9
        assert (line["steps"], line["drafted"], line["accepted"]) == (end.speculation.steps, end.speculation.drafted, end.speculation.accepted)
        assert line["mean_acceptance_length"] == pytest.approx(1 + line["accepted"] / line["steps"], abs=1e-3)
        for name in ("queue", "prefill", "first_token", "decode", "total"):
            assert line[name + "_ms"] == pytest.approx(getattr(end.timing, name), abs=1e-3)
        assert await_line(client.up, request_id="second")["status"] == "NOT_FOUND"
        third = await_line(client.up, request_id="third")
        assert third["status"] == "INVALID_ARGUMENT" and third["message"].startswith("request failed: ") and third["completion_tokens"] == 0
        os.kill(next(p for p, line in descendants(client.up.process.pid).items() if "massv-worker" in line and "mpirun" not in line),
                signal.SIGKILL)
        assert len(client.ask(prompt="x", max_tokens=4, ignore_eos=True)[0]) == 4
        for line in objects(client.up):
            assert {"time", "level", "program", "host", "message"} <= set(line)
            assert line["level"] in ("debug", "info", "warning", "error") and line["time"].endswith("Z") and len(line["time"]) == 27
            stamp = datetime.datetime.fromisoformat(line["time"][:-1] + "+00:00")
            assert abs((stamp - datetime.datetime.now(datetime.timezone.utc)).total_seconds()) < 300
        assert any(line["program"] == "worker" and line.get("rank") == 0 for line in objects(client.up))
        assert any("starting it again" in line["message"] for line in objects(client.up) if line["program"] == "massv up")


def test_text_lines_have_the_same_fields():
    with service(TINY) as client:
        client.ask(prompt="x", max_tokens=4, ignore_eos=True, request_id="a b")
        until = time.monotonic() + 20
        while "request answered" not in client.up.stderr() and time.monotonic() < until:
            time.sleep(0.02)
        [line] = [line for line in client.up.stderr().splitlines() if "request answered" in line]
        assert ' coordinator info request answered request_id="a b" peer=ipv4:127.0.0.1:' in line
        assert " status=OK reason=length prompt_tokens=" in line and " completion_tokens=4 " in line


def test_a_level_drops_what_is_below():
    with service(TINY, "--log-level", "warning") as client:
        client.ask(prompt="x", max_tokens=4, ignore_eos=True)
        assert client.up.stderr() == ""


def test_a_failed_start_is_one_line_in_json_too():
    done = massv("up", "--target", TINY, "--log-format", "json", "--listen", "192.0.2.1:1")
    assert done.returncode == 1 and done.stderr.count("\n") == 1
    assert "massv-coordinator ended with status 1: --listen: cannot listen on 192.0.2.1:1" in done.stderr


@pytest.mark.parametrize("flag", [["--log-format", "xml"], ["--log-level", "loud"]])
def test_unknown_words_are_wrong_usage(flag):
    for command in ([BIN / "massv", "up", "--target", TINY], [BIN / "massv-worker", "--target", TINY], [BIN / "massv-coordinator"]):
        done = subprocess.run([*command, *flag], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, timeout=60, env=ENVIRONMENT)
        assert done.returncode == 2 and flag[0] in done.stderr and flag[1] in done.stderr, done.stderr


def full_disk():
    return os.open("/dev/full", os.O_WRONLY), None


def gone_reader():
    reader, writer = os.pipe()
    os.close(reader)
    return writer, None


def sleeping_reader():
    reader, writer = os.pipe()
    fcntl.fcntl(writer, fcntl.F_SETPIPE_SZ, 4096)
    return writer, reader


@pytest.mark.parametrize("make", [full_disk, gone_reader, sleeping_reader])
@pytest.mark.parametrize("program", ["up", "daemons"])
def test_a_log_that_cannot_be_written_stops_nothing(make, program):
    log, reader = make()
    try:
        if program == "up":
            commands = [[BIN / "massv", "up", "--target", TINY, "--listen", ANY, "--log-level", "debug"]]
        else:
            commands = [[BIN / "massv-coordinator", "--target", TINY, "--listen", ANY, "--worker-listen", ANY, "--log-level", "debug"],
                        [BIN / "massv-worker", "--target", TINY, "--log-level", "debug", "--coordinator"]]
        first = Process(*commands[0], stderr=log)
        if program == "daemons":
            Process(*commands[1], first.line("workers on "), stderr=log)
        client = Client(first.line("serving ").rpartition(" on ")[2])
        for _ in range(40):  # more than a pipe of a page holds
            assert len(client.ask(prompt="x", max_tokens=2, ignore_eos=True, request_id="r" * 100)[0]) == 2
        client.close()
        assert first.stop() == 0
    finally:
        os.close(log)
        if reader is not None:
            os.close(reader)
