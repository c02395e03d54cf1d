"""The standard services of the public port, used by the clients that others wrote for them: health, reflection,
KServe."""
import json
import pathlib
import signal
import subprocess
import time

import pytest

from harness import BIN, GOLDEN, MODELS, PICTURES, Client, Process, service, stock_python, stubs

TINY = GOLDEN / "qwen25vl-tiny"
HERE = pathlib.Path(__file__).resolve().parent
SERVICES = ("", "massv.v1.Inference", "massv.v1.Control", "inference.GRPCInferenceService")
SCENE = PICTURES / "scene-00002.png"
QUESTION = "What can you see in this picture?"


@pytest.fixture(scope="module")
def python():
    return stock_python()


@pytest.fixture
def coordinator():
    process = Process(BIN / "massv-coordinator", "--target", TINY, "--listen", "127.0.0.1:0", "--worker-listen", "127.0.0.1:0")
    process.public = process.line("listening on ")
    process.workers = process.line("workers on ")
    yield process
    process.stop(signal.SIGKILL)


def worker(coordinator):
    return Process(BIN / "massv-worker", "--target", TINY, "--coordinator", coordinator.workers, "--threads", "1")


def stock(python, script, *arguments):
    """What a script of a stock client printed, by lines."""
    done = subprocess.run([python, HERE / script, *arguments], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=60,
                          encoding="utf-8")
    assert done.returncode == 0, done.stdout
    return done.stdout.splitlines()


def check(python, address):
    return stock(python, "stock_health.py", address, "check", *SERVICES)


def test_health_tells_what_is_so_from_start_to_end(python, coordinator):
    address = coordinator.public
    client = Client(address)

    def state():
        return client.control.Health(client.pb.HealthRequest()).state

    watches = [Process(python, HERE / "stock_health.py", address, "watch", service) for service in (SERVICES[0], SERVICES[1], "llama")]
    process, service, _ = watches
    assert [w.line("") for w in watches] == ["SERVING", "NOT_SERVING", "SERVICE_UNKNOWN"]
    assert check(python, address) == ["SERVING", *["NOT_SERVING"] * 3] and state() == "STARTING"
    assert stock(python, "stock_health.py", address, "check", "llama")[0].startswith("NOT_FOUND service: \"llama\"")

    group = worker(coordinator)
    assert service.line("") == "SERVING"
    assert check(python, address) == ["SERVING"] * 4 and state() == "READY"

    group.process.send_signal(signal.SIGSTOP)  # a host that is silent; one that dies is noticed at once
    stopped = time.monotonic()
    assert service.line("") == "NOT_SERVING"
    assert time.monotonic() - stopped < 5
    assert check(python, address) == ["SERVING", *["NOT_SERVING"] * 3] and state() == "NOT_READY"
    group.stop(signal.SIGKILL)
    worker(coordinator)
    assert service.line("") == "SERVING"

    streams = [client.stream(prompt="x", max_tokens=3000, ignore_eos=True) for _ in range(8)]  # more than the checks take on a busy machine
    for stream in streams:
        next(stream)
    coordinator.process.send_signal(signal.SIGTERM)
    assert process.line("") == service.line("") == "NOT_SERVING"
    assert check(python, address) == ["NOT_SERVING"] * 4 and state() == "DRAINING"
    for stream in streams:
        stream.cancel()
    assert [w.line("") for w in watches] == ["UNAVAILABLE the service is stopping"] * 3
    assert coordinator.process.wait(10) == 0
    client.close()


@pytest.fixture(scope="module")
def client():
    with service(TINY) as running:
        yield running


def test_list_names_the_services(client):
    """No stock client has it yet beside a protobuf that tritonclient takes."""
    pb, services = stubs("health")
    statuses = services.HealthStub(client.channel).List(pb.HealthListRequest(), timeout=20).statuses
    assert {name: entry.status for name, entry in statuses.items()} == dict.fromkeys(SERVICES, 1)


def test_a_client_without_proto_files_finds_its_way(python, client):
    served = ["grpc.health.v1.Health", "grpc.reflection.v1.ServerReflection", "grpc.reflection.v1alpha.ServerReflection",
              "inference.GRPCInferenceService", "massv.v1.Control", "massv.v1.Inference"]
    assert stock(python, "stock_reflection.py", client.address) == [
        " ".join(served), TINY.name, f"v1 {len(served)} 1 NOT_FOUND UNIMPLEMENTED", f"v1alpha {len(served)} 1 NOT_FOUND UNIMPLEMENTED"]


def test_triton_gets_the_answers_of_generate(python):
    sampled = dict(temperature=1.0, penalty=None, max_tokens=20, sampling=dict(seed=5))
    with service(MODELS / "scenes-large", "--drafter", MODELS / "scenes-massv", "--log-format", "json") as client:
        ids, text, finished = client.ask(QUESTION, [SCENE], max_tokens=40)
        bias = {ids[3]: -100.0, ids[5]: -5.5}
        biased = client.ask(QUESTION, [SCENE], max_tokens=40, bias=bias)[1]
        known = [p for event in client.stream(QUESTION, [SCENE], max_tokens=40, logprobs=3) for p in event.token.logprobs]
        events = list(client.stream(QUESTION, [SCENE], n=3, logprobs=1, **sampled))
        got = json.loads(stock(python, "stock_triton.py", client.address, SCENE, json.dumps(bias))[0])
        log = [json.loads(line) for line in client.up.stderr().splitlines()]
    assert got["live"] and got["ready"] and got["model_ready"] and got["server"]["name"] == "massv"
    assert {"text_input", "image", "max_tokens"} <= {i["name"] for i in got["model"]["inputs"]}
    assert {"text_output", "token_ids", "logprobs", "finish_reason"} <= {o["name"] for o in got["model"]["outputs"]}
    assert got["stranger"][0] == "StatusCode.NOT_FOUND" and "llama" in got["stranger"][1]

    name, said, figures = got["infer"]
    assert (name, said) == ("one", text) and figures["finish_reason"] == finished.reason and figures["accepted"] == 0
    assert figures["prompt_tokens"] == finished.usage.prompt_tokens and figures["completion_tokens"] == finished.usage.completion_tokens
    assert got["infer_sampling_parameters"] == got["infer_tensors"] == text
    assert text.startswith(got["infer_stopped"]) and text[len(got["infer_stopped"]):].startswith(" on")
    words = ["text_input", "max_tokens", "colour", "llama", "picture"]
    assert all(word in message for word, (_, message) in zip(words, got["bad"], strict=True)), got["bad"]
    assert [code for code, _ in got["bad"]] == [f"StatusCode.{c}" for c in ("INVALID_ARGUMENT",) * 3 + ("NOT_FOUND", "INVALID_ARGUMENT")]

    said, tokens = got["infer_logprobs"]
    assert said == text and tokens["token_ids"] == ids and tokens["logprobs"] == [p.logprob for p in known]
    assert tokens["top_token_ids"] == [[t.token_id for t in p.top] for p in known]
    assert tokens["top_logprobs"] == [[t.logprob for t in p.top] for p in known]
    assert got["infer_ids"] == [ids, True]
    assert biased != text and got["infer_bias"] == biased

    outputs = [[e for e in events if e.WhichOneof("event") == kind] for kind in ("token", "finished")]
    deltas, ends = [[getattr(e, kind) for e in of] for kind, of in zip(("token", "finished"), outputs)]
    ends.sort(key=lambda end: end.output_index)
    texts = ["".join(d.text for d in deltas if d.output_index == i) for i in range(3)]
    several = got["infer_n"]
    assert several["texts"] == texts and len(set(texts)) > 1 and several["reasons"] == [end.reason for end in ends]
    assert several["seed"] == [end.seed for end in ends] and several["completion_tokens"] == [end.usage.completion_tokens for end in ends]
    assert several["token_ids"] == [t for i in range(3) for d in deltas if d.output_index == i for t in d.token_ids]
    assert several["logprobs"] == [p.logprob for i in range(3) for d in deltas if d.output_index == i for p in d.logprobs]
    assert several["figures"]["completion_tokens"] == sum(several["completion_tokens"]) and "finish_reason" not in several["figures"]
    assert ["".join(text for text, _, _ in output) for output in got["streamed_n"]] == texts
    for name in ("token_ids", "logprobs", "top_token_ids", "top_logprobs"):
        assert [one for output in got["streamed_n"] for _, _, tokens in output for one in tokens[name]] == several[name], name
    assert [output[-1][1] for output in got["streamed_n"]] == several["reasons"]
    assert "".join(got["streamed_full"]) == text and all(got["streamed_full"]) and len(got["streamed_full"]) > 3
    for trace in ("0af7651916cd43dd8448eb211c80319c", "4bf92f3577b34da6a3ce929d0e0e4736"):
        assert sum(line.get("trace_id") == trace for line in log) == 3, trace  # a line for each output

    assert got["streamed"]["whole"] == [text]
    assert len(got["streamed"]["deltas"]) > 3 and "".join(got["streamed"]["deltas"]) == text
    assert got["deltas_end"]["accepted"] > 0 and got["deltas_end"]["completion_tokens"] == finished.usage.completion_tokens
    assert got["stream_fault"].startswith("INVALID_ARGUMENT: ") and "draft_tokens" in got["stream_fault"]
