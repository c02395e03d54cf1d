"""massv eval: its figures follow from its own records, its distances from massv dump; texts agree; what goes wrong is named and counted."""
import concurrent.futures
import contextlib
import json
import os
import pty
import re
import signal
import subprocess
import time

import grpc
import numpy
import pytest

from harness import BIN, ENVIRONMENT, GOLDEN, MODELS, PICTURES, START_S, Process, descendants, gemma_massv, gemma_pan_and_scan, massv, read_tensors, service, stubs

TARGET = ("--target", MODELS / "scenes-small")
DRAFTERS = ("--drafter", f"text={MODELS / 'scenes-drafter'}", "--drafter", f"massv={MODELS / 'scenes-massv'}")
KINDS = ("count", "describe", "count", None, "describe")


def data_write(folder, lines=5):
    """Questions about the scenes, the first of them without a picture."""
    taken = [json.loads(line) for line in (PICTURES / "scenes.jsonl").read_text().splitlines()[:lines]]
    for i, line in enumerate(taken):
        line["image"] = str(PICTURES / line["image"]) if i else None
        if KINDS[i % len(KINDS)]:
            line["task"] = KINDS[i % len(KINDS)]
    path = folder / "data.jsonl"
    path.write_text("\n".join(json.dumps(line) for line in taken))
    return path


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("eval")
    done = massv("eval", *TARGET, *DRAFTERS, "--data", data_write(folder), "--draft-tokens", "1,5", "--temperature", "0,1", "--mode",
                 "coupled,rejection", "--max-tokens", "24", "--resamples", "500", "--tvd", "--out", folder / "out", "--json", "--threads", "1")
    assert done.returncode == 0 and done.stderr == "" and done.stdout.count("\n") == 1, done.stderr
    summary = json.loads(done.stdout)
    everything = json.loads((folder / "out" / "eval.json").read_text())
    assert summary.pop("out") == str(folder / "out")
    assert {k: v for k, v in everything.items() if k != "per_prompt"} == summary
    return folder / "out", everything


def answers_of(everything, task="all", **config):
    return [answer for prompt in everything["per_prompt"] if task in ("all", prompt["task"])
            for answer in prompt["answers"] if all(answer[k] == v for k, v in config.items())]


def check_interval(interval, value):
    assert interval["value"] == pytest.approx(value, rel=1e-6) and interval["low"] <= interval["high"]
    assert interval["low"] <= value * 1.0001 and interval["high"] >= value * 0.9999


def test_figures_follow_from_the_records(run):
    _, everything = run
    assert everything["requests"] == everything["whole_answers"] == 5 * 3 * (1 + 2 * 2) and everything["failures"] == []
    assert {f["task"] for f in everything["figures"]} == {"all", "count", "describe"}
    assert len(everything["figures"]) == 3 * 15
    for f in everything["figures"]:
        how = {k: f[k] for k in ("drafter", "draft_tokens", "temperature", "mode")}
        answers = answers_of(everything, f["task"], **how)
        assert f["prompts"] == len(answers) == {"all": 5, "count": 2, "describe": 2}[f["task"]]
        tokens, steps, accepted, drafted = (sum(a[k] for a in answers) for k in ("output_tokens", "steps", "accepted", "drafted"))
        assert (f["output_tokens"], f["steps"], f["accepted"], f["drafted"]) == (tokens, steps, accepted, drafted)
        check_interval(f["mean_acceptance_length"], 1 + accepted / steps)
        assert f["accepted_per_step"] == pytest.approx(accepted / steps) and accepted == sum(f["accepted_per_position"])
        check_interval(f["tokens_per_s_end_to_end"], tokens / sum(a["ms"]["end_to_end"] for a in answers) * 1e3)
        check_interval(f["tokens_per_s_decode"], (tokens - len(answers)) / sum(a["ms"]["decode"] for a in answers) * 1e3)
        for a in answers:
            assert len(a["token_ids"]) == a["output_tokens"] <= 24 and a["ms"]["end_to_end"] > a["ms"]["decode"]
            assert (a["seed"] == 0) == (a["mode"] == "greedy")


def test_speed_ups_are_quotients_of_speeds(run):
    _, everything = run
    figures = {(f["task"], f["drafter"], f["draft_tokens"], f["mode"]): f for f in everything["figures"]}
    for (task, drafter, k, mode), f in figures.items():
        off, text = f["speed_up"]["over_off"], f["speed_up"]["over_text_only"]
        assert (off is None) == (drafter == "off") and (text is None) == (drafter != "massv")
        for versus, other in ((off, ("off", 0)), (text, ("text", k))):
            if versus:
                beside = figures[(task, *other, mode)]
                for name, figure in (("end_to_end", "tokens_per_s_end_to_end"), ("decode", "tokens_per_s_decode"),
                                     ("mean_acceptance_length", "mean_acceptance_length")):
                    check_interval(versus[name], f[figure]["value"] / beside[figure]["value"])
    assert figures[("all", "massv", 5, "greedy")]["mean_acceptance_length"]["value"] > figures[("all", "text", 5, "greedy")]["mean_acceptance_length"]["value"]


def test_texts_are_the_same_whoever_drafts(run):
    _, everything = run
    assert everything["texts"] == {"compared": 5 * 2 * 4, "different": 0, "list": []}
    for prompt in everything["per_prompt"]:
        for mode in ("greedy", "coupled"):
            assert len({tuple(a["token_ids"]) for a in prompt["answers"] if a["mode"] == mode}) == 1


def softmax(scores):
    weights = numpy.exp(scores - scores.max(axis=-1, keepdims=True))
    return weights / weights.sum(axis=-1, keepdims=True)


def rows_along(model, prompt, answer, tmp_path, picture):
    """Next-token distributions along an answer."""
    out, ids = tmp_path / "rows.safetensors", answer["token_ids"]
    done = massv("dump", "--model", MODELS / model, "--prompt", prompt["prompt"], "--answer-ids", ",".join(map(str, ids)), "--activations", "auto",
                 "--out", out, *(("--image", prompt["image"]) if picture else ()))
    assert done.returncode == 0, done.stderr
    return read_tensors(out)["logits"][-len(ids) - 1:-1]


def test_distances_are_those_of_massv_dump(run, tmp_path):
    """Tolerance: the rows were computed in other steps, and activations may be rounded to bf16."""
    _, everything = run
    prompt = everything["per_prompt"][2]
    answer = next(a for a in prompt["answers"] if a["mode"] == "greedy")
    target = rows_along("scenes-small", prompt, answer, tmp_path, True)
    for drafter, model, sees in (("text", "scenes-drafter", False), ("massv", "scenes-massv", True)):
        rows = rows_along(model, prompt, answer, tmp_path, sees)
        common = min(target.shape[1], rows.shape[1])
        expected = numpy.abs(softmax(target[:, :common].astype(float)) - softmax(rows[:, :common].astype(float))).sum(axis=1) / 2
        found = next(t["distances"] for t in prompt["tvd"] if t["drafter"] == drafter and t["answers_temperature"] == 0)
        assert len(found) == len(answer["token_ids"]) and numpy.abs(numpy.array(found) - expected).max() < 0.01


def test_distances_are_summed_up(run):
    _, everything = run
    assert len(everything["tvd"]) == 3 * 2 * 2
    for t in everything["tvd"]:
        distances = [d for prompt in everything["per_prompt"] if t["task"] in ("all", prompt["task"]) for along in prompt["tvd"]
                     if (along["drafter"], along["answers_temperature"]) == (t["drafter"], t["answers_temperature"]) for d in along["distances"]]
        assert t["positions"] == len(distances) == sum(t["histogram"]) and 0 <= min(distances) <= max(distances) <= 1
        check_interval(t["mean"], sum(distances) / len(distances))
        assert t["expected_acceptance"] == pytest.approx(1 - t["mean"]["value"])
        assert t["quantiles"]["p50"] == pytest.approx(numpy.percentile(distances, 50), abs=1e-7)
        assert t["histogram"] == list(numpy.histogram(distances, numpy.arange(21) / 20)[0])
    greedy = {t["drafter"]: t["mean"]["value"] for t in everything["tvd"] if t["task"] == "all" and t["answers_temperature"] == 0}
    assert greedy["massv"] < greedy["text"]


def test_the_report_stands_alone(run):
    out, everything = run
    html, md = (out / "report.html").read_text(), (out / "report.md").read_text()
    assert not re.search(r'(src|href)="(?!#)', html) and html.count("<svg") == html.count("<figure>") == 17
    plots = re.findall(r"!\[[^]]*\]\(([^)]*)\)", md)
    assert len(plots) == 17 and all((out / plot).read_bytes().startswith(b"\x89PNG") for plot in plots)
    for words in ("Greedy (T = 0), K = 5", "T = 1, rejection, K = 5", "Distance of distributions", everything["origin"]["command"],
                  everything["origin"]["target_weights_xxh128"], "1 + A/S"):
        assert words in html, words


def test_a_gemma3_target_with_crops_and_ids_that_a_drafter_does_not_have(tmp_path):
    """Every kind of drafter; distances end, for all of them, behind an id that the text model's table of 832 does not have."""
    target = gemma_pan_and_scan(tmp_path / "target")
    drafters = {"text": GOLDEN / "gemma3-text-tiny", "massv": gemma_massv(tmp_path / "massv"), "vision": GOLDEN / "gemma3-tiny-bf16"}
    data = [{"image": str(GOLDEN / "images/wide.png"), "prompt": "What is this?"}, {"image": str(GOLDEN / "images/speck.png"), "prompt": "Two?"},
            {"image": None, "prompt": "Words only, please. " * 30}]
    (tmp_path / "data.jsonl").write_text("".join(json.dumps(line) + "\n" for line in data))
    words = [word for name, folder in drafters.items() for word in ("--drafter", f"{name}={folder}")]
    done = massv("eval", "--target", target, *words, "--ranks", "2", "--threads", "1", "--data", tmp_path / "data.jsonl", "--draft-tokens", "1,5",
                 "--temperature", "0,1", "--tvd", "--max-tokens", "24", "--resamples", "100", "--out", tmp_path / "out")
    assert done.returncode == 0, done.stderr
    everything = json.loads((tmp_path / "out/eval.json").read_text())
    assert everything["failures"] == [] and everything["texts"]["different"] == 0 and everything["texts"]["compared"] == 3 * 2 * 6
    cut = 0
    for prompt in everything["per_prompt"]:
        answers = {a["temperature"]: a["token_ids"] for a in prompt["answers"] if a["drafter"] == "off"}
        for along in prompt["tvd"]:
            ids = answers[along["answers_temperature"]]
            beyond = next((t for t, token in enumerate(ids[:-1]) if token >= 832), len(ids) - 1)
            assert len(along["distances"]) == beyond + 1
            assert along["drafter"] != "vision" or max(along["distances"]) < 0.1, "the target's own weights, rounded"
            cut += beyond + 1 < len(ids)
    assert cut > 0
    lengths = {f["drafter"]: f["mean_acceptance_length"]["value"] for f in everything["figures"] if (f["draft_tokens"], f["temperature"]) == (5, 0)}
    assert lengths["vision"] > 4


# ---- running services, and what goes wrong ----

@pytest.fixture(scope="module")
def running():
    with service(MODELS / "scenes-small", "--drafter", MODELS / "scenes-massv", "--threads", "1") as client:
        yield client


def test_a_running_service_and_another_of_the_same_target(running, tmp_path):
    data = data_write(tmp_path)
    with service(MODELS / "scenes-small", "--threads", "1") as plain:
        done = massv("eval", "--address", f"seeing={running.address}", "--address", f"off={plain.address}", "--data", data, "--limit", "2",
                     "--concurrency", "2", "--max-tokens", "8", "--resamples", "100", "--out", tmp_path / "out")
    assert done.returncode == 0 and "same text whoever drafts: yes (2 of 2 pairs)" in done.stdout, done.stdout + done.stderr
    everything = json.loads((tmp_path / "out" / "eval.json").read_text())
    assert {s["name"] for s in everything["origin"]["services"]} == {"seeing", "off"}
    assert all(a["drafted"] == 0 for a in answers_of(everything, drafter="off"))
    for f in everything["figures"]:  # two at a time: together about as fast as one, to twice
        if f["task"] == "all":
            assert 0.5 * f["tokens_per_s_end_to_end"]["value"] < f["tokens_per_s_together"] < 2.1 * f["tokens_per_s_end_to_end"]["value"]
    assert "all requests together" in (tmp_path / "out" / "report.md").read_text()


def test_private_services_one_after_the_other(tmp_path):
    done = massv("eval", *TARGET, *DRAFTERS, "--one-at-a-time", "--compare", "off,massv", "--tvd", "--data", data_write(tmp_path), "--limit", "1", "--max-tokens", "4",
                 "--resamples", "100", "--threads", "1", "--out", tmp_path / "out", "--json")
    assert done.returncode == 0, done.stderr
    summary = json.loads(done.stdout)
    assert {f["drafter"] for f in summary["figures"]} == {"off", "massv"}
    assert {t["drafter"] for t in summary["tvd"]} == {"text", "massv"}, "distances of all that are given"
    assert [s["version"] != "" for s in summary["origin"]["services"]] == [False, True], "nobody who is not asked is started"


def test_another_target_is_refused(running, tmp_path):
    with service(MODELS / "scenes-large", "--threads", "1") as other:
        done = massv("eval", "--address", f"a={running.address}", "--address", f"off={other.address}", "--data", data_write(tmp_path), "--out", tmp_path / "out")
    assert done.returncode == 1 and "services that are compared must have one target" in done.stderr and not (tmp_path / "out").exists()


def test_what_a_service_does_not_have_is_said(running, tmp_path):
    done = massv("eval", "--address", running.address, "--compare", "off,text,massv", "--data", data_write(tmp_path), "--out", tmp_path / "out")
    assert done.returncode == 1 and done.stderr.count("\n") == 1
    assert "--compare text: there is off, massv; " in done.stderr and "--address NAME=ADDR" in done.stderr and "--drafter NAME=DIR" in done.stderr


def test_a_request_that_fails_is_named_and_left_out(running, tmp_path):
    data = data_write(tmp_path, 3)
    bad = tmp_path / "bad.png"
    bad.write_bytes(b"\x89PNG\r\n\x1a\n nothing")
    data.write_text(data.read_text() + "\n\n" + json.dumps({"image": "bad.png", "prompt": "?"}))
    done = massv("eval", "--address", running.address, "--data", data, "--max-tokens", "8", "--resamples", "100", "--out", tmp_path / "out")
    assert done.returncode == 1 and "2 of 8 requests failed" in done.stderr and str(tmp_path / "out") in done.stderr
    everything = json.loads((tmp_path / "out" / "eval.json").read_text())
    assert [(f["line"], f["status"], f["tries"]) for f in everything["failures"]] == [(5, "INVALID_ARGUMENT", 1)] * 2
    assert all(str(bad) in f["words"] for f in everything["failures"])
    assert all(f["prompts"] == 3 for f in everything["figures"] if f["task"] == "all")
    assert "line 5, massv, K = 5" in (tmp_path / "out" / "report.md").read_text()


@pytest.mark.parametrize("line,words", [("{", "line 2: not JSON"), ('{"image": null}', "line 2: prompt: a string is wanted"),
                                        ('{"prompt": "x", "image": "none.png"}', "line 2: image: ")])
def test_a_bad_line_is_named(running, tmp_path, line, words):
    data = tmp_path / "data.jsonl"
    data.write_text('{"prompt": "x"}\n' + line)
    done = massv("eval", "--address", running.address, "--data", data, "--out", tmp_path / "out")
    assert done.returncode == 1 and done.stderr.startswith(f"massv eval: {data}: {words}") and done.stderr.count("\n") == 1


@pytest.mark.parametrize("arguments,status,words", [
    (("--address", "127.0.0.1:1"), 1, "UNAVAILABLE"),
    (("--address", "127.0.0.1:1", "--limit", "0"), 2, "--limit 0: a whole number from 1"),
    (("--address", "127.0.0.1:1", "--tvd"), 2, "--tvd computes in this process"),
    (("--address", "127.0.0.1:1", "--draft-tokens", "3-17"), 2, "--draft-tokens 17: a whole number from 3 to 16"),
    (("--address", "127.0.0.1:1", "--draft-tokens", "1-3,2"), 2, "2 stands there twice"),
    (("--address", "127.0.0.1:1", "--temperature", "0,,1"), 2, "values with commas between them"),
    (("--address", "127.0.0.1:1", "--mode", "greedy"), 2, "coupled or rejection is wanted"),
    (("--address", "127.0.0.1:1", "--address", "127.0.0.1:2"), 2, "needs a name"),
    ((*TARGET, "--drafter", "off=x"), 2, "the name of answers without drafts"),
    ((*TARGET, "--drafter", "x=nowhere"), 1, "--drafter x: "),
    ((*TARGET, "--compare", "massv"), 1, "--compare massv: there is off; to compare several drafters"),
    ((), 2, "one of --address and --target")])
def test_wrong_wishes_are_named(tmp_path, arguments, status, words):
    done = massv("eval", *arguments, "--data", data_write(tmp_path), "--out", tmp_path / "out")
    assert done.returncode == status and words in done.stderr and not (tmp_path / "out").exists(), done.stderr


def answered(client, n):
    """Waits until the service has answered so many more requests."""
    count = lambda: client.control.GetServerInfo(client.pb.GetServerInfoRequest()).activity.answered
    until, before = time.monotonic() + 60, count()
    while count() < before + n:
        assert time.monotonic() < until, "no requests come"
        time.sleep(0.01)


def test_control_c_ends_it_with_what_was_done(running, tmp_path):
    evaluation = Process(BIN / "massv", "eval", "--address", running.address, "--data", data_write(tmp_path, 24), "--draft-tokens", "1-8",
                         "--temperature", "0,1,2,3", "--resamples", "100", "--out", tmp_path / "out")
    answered(running, 50)  # behind the warm-up, which is one for each of 36 columns
    assert evaluation.stop(signal.SIGINT, 60) == 130, evaluation.stderr()
    everything = json.loads((tmp_path / "out" / "eval.json").read_text())
    assert everything["interrupted"] and everything["failures"] == [] and everything["requests"] < 24 * 36
    assert "Interrupted" in (tmp_path / "out" / "report.html").read_text()


def test_a_service_that_goes_away_ends_it_with_what_was_done(tmp_path):
    with service(MODELS / "scenes-small", "--threads", "1") as client:
        evaluation = Process(BIN / "massv", "eval", "--address", client.address, "--data", data_write(tmp_path, 24), "--temperature",
                             "0,1,2,3,4,5,6,7", "--resamples", "100", "--out", tmp_path / "out")
        answered(client, 20)  # behind the warm-up, which is one for each of 8 columns
    try:
        assert evaluation.process.wait(60) == 1
        assert "requests in a row found nobody, each tried 4 times" in evaluation.stderr() and "what was done before" in evaluation.stderr()
    finally:
        evaluation.stop()
    everything = json.loads((tmp_path / "out" / "eval.json").read_text())
    assert everything["stopped"] and {f["status"] for f in everything["failures"]} <= {"UNAVAILABLE", "CANCELLED"}


# ---- what a real service does not do on demand ----

@contextlib.contextmanager
def pretended(generate):
    """A service whose answers generate(request, count of requests before, context, pb) gives; its address."""
    pb, services = stubs()

    class Inference(services.InferenceServicer):
        count = 0

        def Generate(self, request, context):
            Inference.count += 1
            yield from generate(request, Inference.count - 1, context, pb)

    class Control(services.ControlServicer):
        def GetModelInfo(self, request, context):
            return pb.ModelInfo(model="pretended", drafter="d", drafter_kind="massv", max_positions=100, vocabulary=100, fingerprint="0" * 32)

        def GetServerInfo(self, request, context):
            return pb.ServerInfo(version="1", groups=1, ranks_per_group=1, group_devices=["none"])

    server = grpc.server(concurrent.futures.ThreadPoolExecutor(4))
    services.add_InferenceServicer_to_server(Inference(), server)
    services.add_ControlServicer_to_server(Control(), server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    try:
        yield f"127.0.0.1:{port}"
    finally:
        server.stop(0).wait()


def whole(request, pb, ids=(1, 2, 3), inactive=""):
    """The messages of an answer: with drafts in one step."""
    k = request.speculation.draft_tokens
    yield pb.GenerateResponse(request_id="r", prompt=pb.PromptInfo(prompt_tokens=4))
    yield pb.GenerateResponse(request_id="r", token=pb.TokenDelta(token_ids=ids, text="x"))
    speculation = pb.SpeculationUsage(draft_tokens_per_step=k, steps=1 if k else 2, drafted=min(k, 1), accepted=min(k, 1),
                                      accepted_per_position=[1] if k else [], drafter="massv", inactive=inactive)
    yield pb.GenerateResponse(request_id="r", finished=pb.Finished(reason="stop", usage=pb.Usage(prompt_tokens=4, completion_tokens=len(ids)),
                                                                   speculation=speculation, timing=pb.Timing(first_token=1, decode=2, total=3)))


def evaluate(address, tmp_path, *arguments):
    data = tmp_path / "data.jsonl"
    data.write_text("".join(json.dumps({"prompt": f"question {i}"}) + "\n" for i in range(3)))
    done = massv("eval", "--address", address, "--data", data, "--resamples", "100", "--out", tmp_path / "out", *arguments)
    return done, json.loads((tmp_path / "out" / "eval.json").read_text())


def test_a_text_that_differs_is_a_failure(tmp_path):
    def generate(request, count, context, pb):
        wrong = request.speculation.draft_tokens and request.conversation.turns[0].parts[0].text == "question 1"
        yield from whole(request, pb, (1, 2, 9) if wrong else (1, 2, 3))

    with pretended(generate) as address:
        done, everything = evaluate(address, tmp_path)
    assert done.returncode == 1 and "1 of 3 compared texts differ between drafters, which must not be" in done.stderr
    (difference,) = everything["texts"]["list"]
    assert (difference["line"], difference["first_token"], difference["answer"]["drafter"], difference["beside"]["drafter"]) == (2, 2, "massv", "off")
    assert "line 2: massv, K = 5, greedy (T = 0) differs from off, K = 0, greedy (T = 0) from token 2 on" in (tmp_path / "out" / "report.md").read_text()


def test_a_service_that_is_away_for_a_moment_is_asked_again(tmp_path):
    def generate(request, count, context, pb):
        if count in (3, 4):  # in the middle of an answer, and before the next
            if count == 3:
                yield next(whole(request, pb))
            context.abort(grpc.StatusCode.UNAVAILABLE, "for a moment")
        yield from whole(request, pb)

    with pretended(generate) as address:
        done, everything = evaluate(address, tmp_path)
    assert done.returncode == 0, done.stderr
    tries = sorted(a["tries"] for a in answers_of(everything))
    assert tries == [1, 1, 1, 1, 1, 3] and everything["failures"] == []


def test_answers_that_end_early_and_answers_without_drafts_are_told(tmp_path):
    def generate(request, count, context, pb):
        text = request.conversation.turns[0].parts[0].text
        if text == "question 1" and request.speculation.draft_tokens:
            yield next(whole(request, pb))
            return
        yield from whole(request, pb, inactive="no room" if text == "question 2" else "")

    with pretended(generate) as address:
        done, everything = evaluate(address, tmp_path)
    assert done.returncode == 1 and "1 of 6 requests failed" in done.stderr
    (failure,) = everything["failures"]
    assert (failure["status"], failure["line"], failure["words"]) == ("DATA_LOSS", 2, "the stream ended before the answer did")
    assert everything["without_drafts"] == 1 and "line 3, massv, K = 5, greedy (T = 0): no room" in (tmp_path / "out" / "report.md").read_text()


def test_names_of_tasks_are_only_names(tmp_path):
    data = tmp_path / "data.jsonl"
    names = ['a"b\nEOD\nsystem("touch ' + str(tmp_path / "made") + '")', "<b>|'`c`**", "back\\slash"]
    data.write_text("".join(json.dumps({"prompt": "x", "task": name}) + "\n" for name in names * 2))
    with pretended(lambda request, count, context, pb: whole(request, pb)) as address:
        done = massv("eval", "--address", address, "--data", data, "--resamples", "100", "--out", tmp_path / "out")
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "out" / "plots" / "length-by-task-greedy.png").stat().st_size > 1000 and not (tmp_path / "made").exists()
    assert "<b>" not in (tmp_path / "out" / "report.html").read_text()
    assert {f["task"] for f in json.loads((tmp_path / "out" / "eval.json").read_text())["figures"]} == {"all", *names}


def test_a_terminal_gets_a_bar(tmp_path):
    def generate(request, count, context, pb):
        time.sleep(0.15)  # the bar is drawn ten times a second at most
        yield from whole(request, pb)

    data = tmp_path / "data.jsonl"
    data.write_text(json.dumps({"prompt": "x"}) + "\n" + json.dumps({"prompt": "y"}))
    ours, theirs = pty.openpty()
    with pretended(generate) as address:
        process = subprocess.Popen([BIN / "massv", "eval", "--address", address, "--data", data, "--resamples", "100", "--out", tmp_path / "out"],
                                   env=ENVIRONMENT, stdout=subprocess.DEVNULL, stderr=theirs)
        assert process.wait(60) == 0
    os.close(theirs)
    shown = os.read(ours, 1 << 16).decode()
    os.close(ours)
    assert re.search(r"\] \d/4.* massv K=5 greedy: 2\.00 a step", shown) and shown.endswith("\r\x1b[K"), shown


def test_private_services_get_over_the_death_of_their_groups(tmp_path):
    """Each restarts its own, with the secret that its coordinator knows."""
    ours, theirs = pty.openpty()
    evaluation = Process(BIN / "massv", "eval", *TARGET, *DRAFTERS, "--data", data_write(tmp_path, 24), "--temperature", "0,1,2,3", "--resamples", "100",
                         "--threads", "1", "--out", tmp_path / "out", stderr=theirs)
    os.close(theirs)
    try:
        shown = ""
        while not re.search(r"\] [1-9]\d*/288", shown):  # the bar, behind the warm-up
            shown += os.read(ours, 4096).decode()
        workers = [pid for pid, line in descendants(evaluation.process.pid).items() if line.split()[0].endswith("/massv-worker")]
        assert len(workers) == 2
        for pid in workers:
            os.kill(pid, signal.SIGKILL)
        with contextlib.suppress(OSError):  # its end
            while True:
                shown += os.read(ours, 4096).decode()
        status = evaluation.process.wait(START_S)
    finally:
        evaluation.stop()
        os.close(ours)
    assert status == 0, shown
    everything = json.loads((tmp_path / "out" / "eval.json").read_text())
    assert everything["whole_answers"] == 288 and everything["texts"]["different"] == 0
