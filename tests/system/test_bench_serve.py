"""massv bench serve: its figures agree with each other and with the service's counts; many streams at once; what goes wrong is counted."""
import json
import signal
import time

import pytest

from harness import BIN, MODELS, PICTURES, Process, massv, service

SPREADS = ("ttft_ms", "tpot_ms", "itl_ms", "e2e_ms", "send_lag_ms", "stream_tokens_per_s")


@pytest.fixture(scope="module")
def client():
    with service(MODELS / "scenes-large", "--drafter", MODELS / "scenes-massv", "--max-requests", "300", "--max-waiting", "600",
                 "--kv-positions", "65536") as running:
        yield running


def serve(client, *arguments):
    done = massv("bench", "serve", "--address", client.address, "--json", *arguments)
    assert done.returncode == 0 and done.stderr == "" and done.stdout.count("\n") == 1, done.stderr
    return json.loads(done.stdout)


def check(figures, n, tokens=None):
    assert figures["completed"] == figures["requests"] == n and figures["errors"] == {}
    assert figures["model"] == "scenes-large" and figures["drafter"] == "scenes-massv"
    assert figures["output_tokens"] == n * tokens if tokens else figures["output_tokens"] > n
    assert figures["requests_per_s"] == pytest.approx(n / figures["seconds"])
    assert figures["output_tokens_per_s"] == pytest.approx(figures["output_tokens"] / figures["seconds"])
    for name in SPREADS:
        spread = figures[name]
        assert set(spread) == {"mean", "p50", "p90", "p99"} and 0 <= spread["p50"] <= spread["p90"] <= spread["p99"], name
    assert figures["ttft_ms"]["p50"] < figures["e2e_ms"]["p50"] and figures["e2e_ms"]["p99"] <= 1e3 * figures["seconds"]
    s = figures["speculation"]
    assert s["mean_acceptance_length"] == pytest.approx(1 + s["accepted"] / s["steps"]) and s["accepted"] == sum(s["accepted_per_position"])
    return figures


def test_a_closed_loop_keeps_so_many_under_way(client):
    figures = check(serve(client, "--concurrency", "4", "--requests", "30", "--max-tokens", "20", "--ignore-eos", "--draft-tokens", "5"), 30, 20)
    assert figures["loop"] == "closed" and figures["concurrency"] == figures["most_open"] == 4
    assert "goodput_per_s" not in figures and figures["speculation"]["drafted"] > 0
    assert figures["itl_ms"]["mean"] > figures["tpot_ms"]["mean"], "messages carry several tokens"


def test_the_same_seed_asks_the_same(client):
    runs = [serve(client, "--concurrency", "3", "--requests", "12", "--seed", seed, "--draft-tokens", "0") for seed in ("5", "5", "6")]
    counts = [(run["prompt_tokens"], run["output_tokens"]) for run in runs]
    assert counts[0] == counts[1] != counts[2]
    assert runs[0]["speculation"]["drafted"] == 0 and runs[0]["speculation"]["mean_acceptance_length"] == 1


def test_an_open_loop_sends_when_it_is_due(client):
    figures = check(serve(client, "--request-rate", "50", "--requests", "40", "--max-tokens", "4", "--goodput", "ttft:1e8", "tpot:1e8", "e2e:1e8"), 40)
    assert figures["loop"] == "open" and figures["goodput_per_s"] == pytest.approx(figures["requests_per_s"])
    assert figures["seconds"] > 0.4, "40 arrivals at 50 a second take about 0.8 s"
    assert serve(client, "--request-rate", "200", "--requests", "10", "--max-tokens", "4", "--goodput", "e2e:0.001")["goodput_per_s"] == 0


def test_256_streams_at_once_from_one_process(client):
    figures = check(serve(client, "--concurrency", "256", "--requests", "256", "--max-tokens", "12", "--ignore-eos"), 256, 12)
    assert figures["most_open"] == 256


def test_people_get_a_table(client):
    done = massv("bench", "serve", "--address", client.address, "--concurrency", "2", "--requests", "4", "--goodput", "ttft:1000")
    assert done.returncode == 0
    for line in ("probe: an empty call takes ", "completed              4 of 4 in ", "goodput, requests/s ", "TTFT, ms ", "speculation "):
        assert f"\n{line}" in done.stdout, done.stdout


def test_refusals_are_counted_by_status(tmp_path):
    data = tmp_path / "questions.jsonl"
    data.write_text(json.dumps({"image": None, "prompt": "Hello"}) + "\n\n" + json.dumps({"image": str(PICTURES / "scene-00001.png"), "prompt": "x"}))
    with service(MODELS / "scenes-large", "--max-requests", "1", "--max-waiting", "2") as running:
        figures = serve(running, "--data", data, "--concurrency", "20", "--requests", "20", "--max-tokens", "30", "--ignore-eos")
        assert figures["completed"] >= 2 and figures["errors"] == {"RESOURCE_EXHAUSTED": 20 - figures["completed"]}
        assert figures["output_tokens"] == 30 * figures["completed"]
        late = massv("bench", "serve", "--address", running.address, "--concurrency", "1", "--requests", "1", "--warm-up", "0",
                     "--max-tokens", "3000", "--ignore-eos", "--draft-tokens", "0", "--timeout", "1")
        assert late.returncode == 1 and "DEADLINE_EXCEEDED" in late.stderr and "no request completed" in late.stderr


def test_control_c_ends_it(client):
    bench = Process(BIN / "massv", "bench", "serve", "--address", client.address, "--request-rate", "1", "--requests", "1000")
    info, until = client.pb.GetServerInfoRequest(), time.monotonic() + 60
    while not client.control.GetServerInfo(info).running:
        assert time.monotonic() < until, bench.stderr()
    assert bench.stop(signal.SIGINT) == 130


@pytest.mark.parametrize("line,words", [("{", "line 1: not JSON"), ('{"image": null}', "line 1: prompt: a string is wanted"),
                                        ('{"prompt": "x", "image": 3}', "line 1: image: a string"),
                                        ('{"prompt": "x"}\n{"prompt": "x", "image": "none.png"}', "line 2: "), ("\n", "has no question")])
def test_bad_data_is_named_with_its_line(tmp_path, line, words):
    (tmp_path / "bad.jsonl").write_text(line)
    done = massv("bench", "serve", "--address", "127.0.0.1:9", "--concurrency", "1", "--data", tmp_path / "bad.jsonl")
    assert done.returncode == 1 and done.stderr.startswith(f"massv bench serve: {tmp_path}/bad.jsonl: ") and words in done.stderr, done.stderr
    assert "none.png" in done.stderr or "none" not in line


def test_nobody_at_the_address():
    done = massv("bench", "serve", "--address", "127.0.0.1:9", "--concurrency", "1")
    assert done.returncode == 1 and "127.0.0.1:9: UNAVAILABLE" in done.stderr and done.stderr.count("\n") == 1
