"""What happens when a process dies: an answer only pauses, nothing is left behind, every wait ends."""
import json
import os
import signal
import time

import grpc
import pytest

from harness import BIN, ENVIRONMENT, GOLDEN, MODELS, Client, Process, descendants, service, wait_gone, workers

TINY = GOLDEN / "qwen25vl-tiny"
MPIRUN = ["mpirun", "--oversubscribe", "--bind-to", "none", "--mca", "mpi_yield_when_idle", "1"]
LONG = dict(prompt="Tell me everything.", max_tokens=600, ignore_eos=True)


@pytest.fixture(scope="module", autouse=True)
def lonely():
    """A worker that dials nobody gives up after half a minute: it does so while the other tests run."""
    return Process(BIN / "massv-worker", "--target", TINY, "--coordinator", "127.0.0.1:9", "--threads", "1")


@pytest.mark.parametrize("k", (0, 5))
def test_a_killed_rank_only_pauses_the_answer(k):
    with service(TINY, "--drafter", GOLDEN / "massv-tiny", "--ranks", "2") as client:
        whole = client.ask(k=k, **LONG)[0]
        ids, killed = [], False
        for event in client.stream(k=k, **LONG):
            ids += event.token.token_ids
            if len(ids) > 20 and not killed:
                os.kill(workers(client.up.process.pid)[-1], signal.SIGKILL)
                killed = True
        assert killed and ids == whole
        assert client.ask(prompt="And now?", max_tokens=4, ignore_eos=True, k=k)[2].usage.completion_tokens == 4
        assert "starting it again" in client.up.stderr()


def test_a_leader_that_stays_stopped_is_replaced():
    """It neither ends nor answers, so mpirun notices nothing: the coordinator does. There is no other rank here, whose watchdog would
    end the group where the leader is stopped in a step."""
    with service(TINY, "--ranks", "1", "--step-seconds", "4") as client:
        whole = client.ask(**LONG)[0]
        stream = client.stream(**LONG)
        ids = [i for _ in range(3) for i in next(stream).token.token_ids]
        leader = min(workers(client.up.process.pid))
        os.kill(leader, signal.SIGSTOP)
        assert ids + [i for event in stream for i in event.token.token_ids] == whole
        assert not wait_gone([leader], 5)
        assert "has not come back within 4 s (--step-seconds) of its loss: ending it" in client.up.stderr()


def test_two_groups_share_and_survive_the_loss_of_one():
    with service(TINY, "--groups", "2") as client:
        whole = client.ask(**LONG)[0]
        streams = [client.stream(**LONG) for _ in range(2)]
        first = [next(s) for s in streams]
        assert all(first)
        os.kill(workers(client.up.process.pid)[0], signal.SIGKILL)
        for stream in streams:
            assert [i for event in stream for i in event.token.token_ids] == whole


def test_up_killed_leaves_nothing():
    up = Process(BIN / "massv", "up", "--target", TINY, "--ranks", "2", "--listen", "127.0.0.1:0")
    up.line("serving ")
    family = descendants(up.process.pid)
    assert len(family) >= 4, family  # coordinator, mpirun, two ranks
    up.stop(signal.SIGKILL)
    assert not wait_gone(family, 20)


def test_up_interrupted_while_starting_leaves_nothing():
    up = Process(BIN / "massv", "up", "--target", MODELS / "scenes-large", "--ranks", "2", "--listen", "127.0.0.1:0")
    while not (family := descendants(up.process.pid)) and up.process.poll() is None:
        time.sleep(0.01)
    assert up.stop(signal.SIGINT) == 1
    assert not wait_gone(family, 10)
    assert up.stderr().count("\n") == 1 and "interrupted" in up.stderr(), up.stderr()


def test_a_generate_interrupted_before_its_service_is_there_says_130():
    asking = Process(BIN / "massv", "generate", "--target", MODELS / "scenes-large", "--prompt", "x")
    while not (family := descendants(asking.process.pid)) and asking.process.poll() is None:
        time.sleep(0.01)
    assert asking.stop(signal.SIGINT) == 130
    assert not wait_gone(family, 10)
    assert asking.stderr() == "" and asking.lines.get(timeout=5) is None


@pytest.fixture
def coordinator():
    process = Process(BIN / "massv-coordinator", "--target", TINY, "--listen", "127.0.0.1:0", "--worker-listen", "127.0.0.1:0")
    process.public = process.line("listening on ")
    process.workers = process.line("workers on ")
    yield process
    process.stop(signal.SIGKILL)


def test_ranks_end_when_the_coordinator_is_gone(coordinator):
    group = Process(*MPIRUN, "-np", "2", BIN / "massv-worker", "--target", TINY, "--coordinator", coordinator.workers, "--threads", "1")
    coordinator.line("serving ")
    ranks = descendants(group.process.pid)
    coordinator.stop(signal.SIGKILL)
    died = time.monotonic()
    assert not wait_gone(ranks, 8), "5 s, and what mpirun takes to end its job"
    print(f"ended after {time.monotonic() - died:.1f} s")
    group.process.wait(10)


def test_a_worker_of_another_model_is_refused(coordinator):
    good = Process(BIN / "massv-worker", "--target", TINY, "--coordinator", coordinator.workers, "--threads", "1")
    coordinator.line("serving ")
    for model in (GOLDEN / "qwen2-tiny", GOLDEN / "qwen25vl-tiny-bf16"):
        stranger = Process(BIN / "massv-worker", "--target", model, "--coordinator", coordinator.workers, "--threads", "1")
        assert stranger.process.wait(30) == 1
        words = stranger.stderr().splitlines()[-1]
        assert model.name in words and TINY.name in words and "--target" in words, words
    client = Client(coordinator.public)
    assert len(client.ask(prompt="x", max_tokens=4, ignore_eos=True)[0]) == 4
    client.close()
    assert coordinator.stop() == 0
    good.stop()


@pytest.mark.parametrize("json_wanted", (False, True))
def test_an_interrupted_generate_cancels_its_request(json_wanted):
    with service(TINY) as client:
        asking = Process(BIN / "massv", "generate", "--address", client.address, "--prompt", "x", "--max-tokens", "3000", "--ignore-eos",
                         *["--json"] * json_wanted)
        info = client.pb.GetServerInfoRequest()
        until = time.monotonic() + 20
        while client.control.GetServerInfo(info).running == 0 and time.monotonic() < until:
            time.sleep(0.01)
        assert asking.stop(signal.SIGINT) == 130
        while client.control.GetServerInfo(info).running and time.monotonic() < until:
            time.sleep(0.01)
        assert client.control.GetServerInfo(info).running == 0
        if json_wanted:
            answer = json.loads(asking.line("", 5))
            assert answer["finish_reason"] == "cancelled" and len(answer["token_ids"]) == answer["usage"]["completion_tokens"] < 3000


def test_running_requests_finish_when_the_service_drains():
    with service(TINY) as client:
        whole = client.ask(prompt="x", max_tokens=400, ignore_eos=True)[0]
        stream = client.stream(prompt="x", max_tokens=400, ignore_eos=True)
        ids = list(next(stream).token.token_ids)
        client.up.process.send_signal(signal.SIGTERM)
        assert ids + [i for event in stream for i in event.token.token_ids] == whole


def test_a_second_ctrl_c_ends_the_drain():
    with service(MODELS / "scenes-large", "--drain-seconds", "600") as client:  # too long for the harness, too
        stream = client.stream(prompt="x", max_tokens=4000, ignore_eos=True)
        next(stream)
        cut = Process(BIN / "massv", "generate", "--address", client.address, "--prompt", "x", "--max-tokens", "4000", "--ignore-eos")
        while client.control.GetLoad(client.pb.GetLoadRequest()).running < 2:
            time.sleep(0.01)
        for again in (signal.SIGINT, signal.SIGTERM):  # supervisors send SIGTERM to all processes, and more than once
            client.up.process.send_signal(again)
            while client.control.Health(client.pb.HealthRequest()).state != "DRAINING":
                time.sleep(0.01)
            next(stream)
        client.up.process.send_signal(signal.SIGINT)
        with pytest.raises(grpc.RpcError) as error:
            list(stream)
        assert error.value.code() == grpc.StatusCode.UNAVAILABLE and "its drain is over" in error.value.details()
        assert client.up.process.wait(10) == 0
        assert cut.process.wait(10) == 1
        assert cut.stderr() == (f"massv generate: {client.address}: UNAVAILABLE: the service is stopping, and its drain is over "
                                "(--drain-seconds)\n"), "no question whether a service is there"


def test_mpirun_missing_is_said():
    up = Process(BIN / "massv", "up", "--target", TINY, "--listen", "127.0.0.1:0", env=dict(ENVIRONMENT, PATH="/nowhere"))
    assert up.process.wait(60) == 1
    assert "mpirun" in up.stderr() and up.stderr().count("\n") == 1, up.stderr()


def test_a_worker_without_a_coordinator_ends(lonely):
    assert lonely.process.wait(60) == 1
    assert "127.0.0.1:9" in lonely.stderr()
