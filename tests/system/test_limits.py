"""Limits: each is a flag of massv up and massv-coordinator, and what is beyond it is refused by its name; the service goes on."""
import contextlib

import grpc
import pytest

from harness import BIN, GOLDEN, PICTURES, Client, Process, massv, service

TINY = GOLDEN / "qwen25vl-tiny"
PICTURE = PICTURES / "scene-00002.png"
EXHAUSTED = grpc.StatusCode.RESOURCE_EXHAUSTED


@pytest.fixture(scope="module")
def small():
    with service(TINY, "--message-limit", "1", "--max-picture-pixels", "4096", "--max-prompt-tokens", "100",
                 "--max-positions", "3000", "--drain-seconds", "1") as client:
        yield client


@pytest.mark.parametrize("question, flag", (
    (("x" * (1 << 20),), "--message-limit"),
    (("word " * 200,), "--max-prompt-tokens"),
    (("What?", [PICTURE]), "--max-picture-pixels")))
def test_what_is_beyond_a_limit_is_refused_by_its_name(small, question, flag):
    code, words = small.refusal(*question, max_tokens=1)
    assert code == EXHAUSTED and flag in words, words
    assert len(small.ask("x", max_tokens=2, ignore_eos=True)[0]) == 2


def test_what_is_beyond_the_context_is_a_fault_of_the_request(small):
    code, words = small.refusal("x", max_tokens=3000)
    assert code == grpc.StatusCode.INVALID_ARGUMENT and "context of 3000" in words


def test_the_queue_has_an_end_in_length_and_in_time():
    """Without a worker group one request waits, until it has waited too long; meanwhile another has no room."""
    process = Process(BIN / "massv-coordinator", "--target", TINY, "--listen", "127.0.0.1:0", "--worker-listen", "127.0.0.1:0", "--max-requests", "1",
                      "--max-waiting", "1", "--max-wait-seconds", "3")
    with contextlib.closing(Client(process.line("listening on "))) as client:
        waiting = client.stream("x", max_tokens=1)
        while client.control.GetLoad(client.pb.GetLoadRequest(), timeout=10).waiting == 0:
            pass
        code, words = client.refusal("x", max_tokens=1)
        assert code == EXHAUSTED and "--max-waiting 1" in words and "--max-requests 1" in words, words
        with pytest.raises(grpc.RpcError):
            list(waiting)
        assert waiting.code() == EXHAUSTED and "3 s (--max-wait-seconds)" in waiting.details(), waiting.details()
    assert process.stop() == 0, process.stderr()


@pytest.mark.parametrize("flag, value", (("--message-limit", "0"), ("--max-picture-pixels", "3135"), ("--max-prompt-tokens", "63"),
                                         ("--max-requests", "0"), ("--max-waiting", "many"), ("--max-wait-seconds", "0")))
def test_a_value_that_is_none_is_wrong_usage(flag, value):
    done = massv("up", "--target", TINY, flag, value)
    assert done.returncode == 2 and f"{flag} {value}: a whole number from" in done.stderr, done.stderr


def test_crops_are_for_models_that_know_them():
    done = massv("up", "--target", TINY, "--pan-and-scan", "perhaps")
    assert done.returncode == 2 and "--pan-and-scan perhaps: auto, on or off is wanted" in done.stderr, done.stderr
    done = massv("up", "--target", TINY, "--pan-and-scan", "on", "--listen", "127.0.0.1:0")
    assert done.returncode == 1 and done.stderr.count("\n") == 1, done.stderr
    assert "status 1: --pan-and-scan on: qwen25vl-tiny cannot pan and scan: models of its family see no crops of pictures" in done.stderr
