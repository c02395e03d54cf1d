"""The page of metrics: strictly well-formed, equal to what the answers say of themselves, documented; and who may not disturb it."""
import json
import os
import re
import signal
import socket
import time
import urllib.error
import urllib.request

import pytest

from exposition import Page
from harness import BIN, GOLDEN, MODELS, PICTURES, ROOT, Process, descendants, massv, service

TINY, DRAFTER = GOLDEN / "qwen25vl-tiny", GOLDEN / "massv-tiny"
SCENE = PICTURES / "scene-00002.png"
ANY = "127.0.0.1:0"


def get(url, method="GET"):
    try:
        with urllib.request.urlopen(urllib.request.Request(url, method=method), timeout=20) as reply:
            return reply.status, reply.headers, reply.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.headers, error.read().decode()


def page_of(url):
    status, headers, text = get(url)
    assert status == 200 and headers["Content-Type"].startswith("text/plain; version=0.0.4")
    return Page(text)


def metrics_url(up):
    """`massv up` says it on stderr when it serves."""
    until = time.monotonic() + 20
    while time.monotonic() < until:
        if found := re.search(r"metrics on (http://\S+)", up.stderr()):
            return found[1]
        time.sleep(0.02)
    raise AssertionError(up.stderr())


@pytest.fixture(scope="module")
def client():
    with service(MODELS / "scenes-large", "--drafter", MODELS / "scenes-massv", "--ranks", "2", "--metrics", ANY) as running:
        running.metrics = metrics_url(running.up)
        yield running


def test_counts_are_those_that_the_answers_tell(client):
    before = page_of(client.metrics)
    assert before("request_success_total", finished_reason="stop") == 0, "the warm-up is no request"
    asked = [dict(prompt="What can you see in this picture?", pictures=[SCENE], k=5, max_tokens=100),
             dict(prompt="What can you see in this picture?", pictures=[SCENE], k=3, max_tokens=100),
             dict(prompt="x", k=0, max_tokens=7, ignore_eos=True),
             dict(prompt="x", k=16, max_tokens=20, ignore_eos=True)]
    ends = [client.ask(**how)[2] for how in asked]
    page = page_of(client.metrics)
    speculation, usage, timing = [e.speculation for e in ends], [e.usage for e in ends], [e.timing for e in ends]
    assert page("prompt_tokens_total") == sum(u.prompt_tokens for u in usage)
    assert page("prompt_image_tokens_total") == sum(u.image_tokens for u in usage) > 0
    assert page("generation_tokens_total") == sum(u.completion_tokens for u in usage)
    for reason in ("stop", "length"):
        assert page("request_success_total", finished_reason=reason) == [e.reason for e in ends].count(reason) > 0
    assert page("verification_steps_total") == sum(s.steps for s in speculation)
    rounds = page("spec_decode_num_drafts_total")
    assert rounds in (sum(s.steps for s in speculation if s.draft_tokens_per_step) - i for i in (0, 1, 2))  # last steps may have no draft
    assert page("spec_decode_num_draft_tokens_total") == sum(s.drafted for s in speculation)
    assert page("spec_decode_num_accepted_tokens_total") == sum(s.accepted for s in speculation)
    for i in range(16):
        assert page("spec_decode_num_accepted_tokens_per_pos_total", position=i) == sum(s.accepted_per_position[i:i + 1] != [] and
                                                                                       s.accepted_per_position[i] for s in speculation)
    for name, field in (("e2e_request_latency", "total"), ("request_queue_time", "queue"), ("request_prefill_time", "prefill"),
                        ("request_decode_time", "decode"), ("time_to_first_token", "first_token")):
        assert page(name + "_seconds_count") == len(ends)
        assert page(name + "_seconds_sum") == pytest.approx(sum(getattr(t, field) for t in timing) / 1e3, rel=1e-9)
    assert page("request_picture_time_seconds_count") == 2
    assert page("engine_healthy") == page("worker_groups") == 1
    assert page("num_requests_running") == page("num_requests_waiting") == page("kv_cache_usage_perc") == 0
    [(labels, value)] = page.labelled("group_attached")
    assert value == 1 and labels["group"] == "0" and labels["ranks"] == "2" and labels["host"] == socket.gethostname()
    assert labels["device"].startswith("cpu")
    [(build, _)] = page.labelled("build_info")
    assert build["model"] == "scenes-large" and build["drafter"] == "scenes-massv" and build["drafter_kind"] == "massv"
    steps = page("group_step_seconds_count", group=0)
    assert steps == page("group_compute_seconds_count", group=0) == page("group_step_rows_count", group=0)
    assert steps >= page("verification_steps_total")
    assert 0 < page("group_compute_seconds_sum", group=0) <= page("group_step_seconds_sum", group=0)
    for name in page.types:
        assert all(before.samples.get(k, 0) <= v for k, v in page.samples.items() if page.types[name] == "counter" and k[0] == name)


def test_refusals_and_cancels_are_counted_by_status(client):
    before = page_of(client.metrics)
    client.refusal(prompt="x", model="another")  # refused at once
    client.refusal(prompt="many words " * 4000)  # refused once it is prepared
    client.refusal(prompt="x", max_tokens=3000, ignore_eos=True, timeout=0.3)
    until, late = time.monotonic() + 10, 0
    while late != 1 and time.monotonic() < until:  # whose clock is first to end the call is chance
        page = page_of(client.metrics)
        late = sum(p("request_failure_total", status=s) * sign for s in ("DEADLINE_EXCEEDED", "CANCELLED") for p, sign in ((page, 1), (before, -1)))
    assert late == 1
    for status in ("NOT_FOUND", "INVALID_ARGUMENT"):
        assert page("request_failure_total", status=status) == before("request_failure_total", status=status) + 1


def test_a_running_request_is_seen(client):
    stream = client.stream(prompt="x", max_tokens=2000, ignore_eos=True)
    next(stream), next(stream)
    page = page_of(client.metrics)
    assert page("num_requests_running") == page("group_num_requests_running", group=0) == 1
    assert 0 < page("kv_cache_usage_perc") == page("group_kv_cache_usage_perc", group=0) < 1
    stream.cancel()


def test_only_two_pages_are_there(client):
    base = client.metrics.removesuffix("/metrics")
    assert get(base + "/health")[0] == 200 and json.loads(get(base + "/health")[2]) == {"state": "READY", "reason": ""}
    assert get(client.metrics, "HEAD")[2] == ""
    for path in ("/", "/metrics/", "/health/x", "/%2e%2e/metrics"):
        assert get(base + path)[0] == 404
    for method in ("POST", "PUT", "DELETE"):
        assert get(client.metrics, method)[0] == 405


def test_connections_that_say_nothing_disturb_nobody(client):
    host, port = re.search(r"//(.*):(\d+)/", client.metrics).groups()
    idle = [socket.create_connection((host, int(port))) for _ in range(64)]
    idle[0].sendall(b"GET /metrics HTTP/1.1\r\nX: " + b"x" * 100000)  # beyond the memory of a connection
    assert len(client.ask(prompt="x", max_tokens=4, ignore_eos=True)[0]) == 4
    threads = len(os.listdir(f"/proc/{next(p for p, line in descendants(client.up.process.pid).items() if 'massv-coordinator' in line)}/task"))
    assert threads < 64, threads
    for one in idle:
        one.close()
    until = time.monotonic() + 20
    while True:
        try:
            assert page_of(client.metrics)("engine_healthy") == 1
            break
        except OSError:
            assert time.monotonic() < until


def test_every_metric_is_documented_and_no_other(client):
    documented = set(re.findall(r"`(massv_[a-z0-9_]+)", (ROOT / "docs" / "operations.md").read_text()))
    assert documented == set(page_of(client.metrics).types)


def test_the_dashboard_asks_for_metrics_that_are_there(client):
    page, asked = page_of(client.metrics), set()
    names = {name + suffix for name, kind in page.types.items()
             for suffix in (("_bucket", "_sum", "_count") if kind == "histogram" else ("",))}
    dashboard = json.loads((ROOT / "docs" / "grafana.json").read_text())
    panels = dashboard["panels"]
    assert len({p["id"] for p in panels}) == len(panels)
    squares = [(x, y) for p in panels for g in [p["gridPos"]] for x in range(g["x"], g["x"] + g["w"]) for y in range(g["y"], g["y"] + g["h"])]
    assert len(set(squares)) == len(squares) and max(x for x, _ in squares) < 24, "panels overlap"
    for target in (t for p in panels for t in p.get("targets", [])):
        found = set(re.findall(r"massv_\w+", target["expr"]))
        assert found and found <= names, target
        assert target["expr"].count("(") == target["expr"].count(")")
        labels = {label for name, has in page.samples for label in dict(has) if name in found} | {"instance", "job"}
        assert set(re.findall(r"\{\{(\w+)\}\}", target["legendFormat"])) <= labels, target
        asked |= found
    assert {re.sub("_(bucket|sum|count)$", "", n) for n in asked} == set(page.types), "a metric that no panel shows"


def test_a_lost_group_is_counted_and_takes_its_place_again():
    with service(TINY, "--drafter", DRAFTER, "--metrics", ANY) as client:
        url = metrics_url(client.up)
        stream = client.stream(prompt="x", max_tokens=600, ignore_eos=True)
        next(stream), next(stream)
        os.kill(next(p for p, line in descendants(client.up.process.pid).items() if "massv-worker" in line and "mpirun" not in line),
                signal.SIGKILL)
        assert list(stream)
        page = page_of(url)
        assert page("worker_groups_lost_total") == page("requests_replayed_total") == 1
        [(labels, value)] = page.labelled("group_attached")
        assert labels["group"] == "0" and value == 1
        assert page("request_success_total", finished_reason="length") == 1


def test_health_is_503_until_a_group_has_answered():
    coordinator = Process(BIN / "massv-coordinator", "--target", TINY, "--listen", ANY, "--worker-listen", ANY, "--metrics", ANY)
    address = coordinator.line("metrics on ")
    status, _, text = get(f"http://{address}/health")
    assert status == 503 and json.loads(text)["state"] == "STARTING"
    assert page_of(f"http://{address}/metrics")("engine_healthy") == 0
    other = Process(BIN / "massv-coordinator", "--target", TINY, "--listen", ANY, "--worker-listen", ANY, "--metrics", address)
    assert other.process.wait(60) == 1
    assert f"--metrics: cannot listen on {address}: Address already in use" in other.stderr()
    assert coordinator.stop() == 0


@pytest.mark.parametrize("address", ["8002", "unix:/tmp/x", "nohost.invalid:1"])
def test_a_bad_address_is_said(address):
    done = massv("up", "--target", TINY, "--listen", ANY, "--metrics", address)
    assert done.returncode == (1 if "invalid" in address else 2) and "--metrics" in done.stderr and address in done.stderr, done.stderr
