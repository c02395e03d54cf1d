"""massv-train distill: the same lines however often it is killed, whatever drafts; what is refused, torn, full or away is told."""
import json
import resource
import signal
import subprocess
import time

import pytest

from harness import BIN, ENVIRONMENT, MODELS, PICTURES, ROOT, Process, service

TARGET = ("--threads", "1", "--kv-positions", "65536")


@pytest.fixture(scope="module")
def client():
    with service(MODELS / "scenes-small", "--drafter", MODELS / "scenes-massv", *TARGET) as running:
        yield running


def distill(address, out, *arguments, data=PICTURES / "scenes.jsonl", **how):
    return subprocess.run([BIN / "massv-train", "distill", "--address", address, "--data", data, "--out", out, *map(str, arguments)], cwd=ROOT,
                          env=ENVIRONMENT, timeout=120, capture_output=True, text=True, check=False, **how)


def lines(out):
    return sorted(out.read_text().splitlines())


@pytest.fixture(scope="module")
def whole(client, tmp_path_factory):
    """An undisturbed run's lines: 24 questions, 4 samples, one of each temperature."""
    out = tmp_path_factory.mktemp("distill") / "whole.jsonl"
    done = distill(client.address, out, "--samples", "4", "--draft-tokens", "5", "--json")  # auto follows the time: its figures say nothing
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert report["made"] == report["wanted"] == 96 and report["before"] == report["retries"] == 0 and report["skipped"] == {}
    assert report["mean_acceptance_length"] > 3 and report["tokens"] == sum(len(json.loads(line)["ids"]) for line in lines(out))
    return out


def test_lines_say_how_they_were_made(whole, client):
    answers = [json.loads(line) for line in lines(whole)]
    questions = [json.loads(line) for line in (PICTURES / "scenes.jsonl").read_text().splitlines()]
    assert sorted((a["line"], a["sample"]) for a in answers) == [(i, s) for i in range(1, 25) for s in range(4)]
    for number, question in enumerate(questions, 1):
        mine = [a for a in answers if a["line"] == number]
        assert sorted(a["temperature"] for a in mine) == [0, 0.3, 0.7, 1] and len({a["seed"] for a in mine}) == 4
        assert all(a["prompt"] == question["prompt"] and a["reference"] == question["reference"] for a in mine)
        assert all((whole.parent / a["image"]).samefile(PICTURES / question["image"]) for a in mine)
    for a in answers[::7]:  # what a client gets who asks so himself
        ids, text, finished = client.ask(a["prompt"], [whole.parent / a["image"]], temperature=a["temperature"], k=0, max_tokens=a["max_tokens"],
                                         sampling={"top_p": a["top_p"], "seed": a["seed"]})
        assert (ids, text, finished.reason) == (a["ids"], a["answer"], a["finish"])


def test_killed_runs_go_on_to_the_same_lines(client, whole, tmp_path):
    out, had = tmp_path / "answers.jsonl", 0
    for wait in 10, 30, 50:
        run = Process(BIN / "massv-train", "distill", "--address", client.address, "--data", PICTURES / "scenes.jsonl", "--out", out, "--samples",
                      "4", "--in-flight", "3")
        until = time.monotonic() + 60
        while not out.exists() or out.read_bytes().count(b"\n") < wait:
            assert time.monotonic() < until, run.stderr()
        run.stop(signal.SIGKILL)
        n = out.read_bytes().count(b"\n")
        assert had < n < 96
        had = n
        with out.open("a") as f:
            f.write('{"image":"torn')
    done = distill(client.address, out, "--samples", "4", "--draft-tokens", "0")
    assert done.returncode == 0 and "a torn last line of 14 bytes was cut off" in done.stderr, done.stderr
    assert f"{had} of 96 answers were in " in done.stdout
    assert [json.loads(line)["ids"] for line in lines(out)] == [json.loads(line)["ids"] for line in lines(whole)]
    assert len(lines(out)) == 96 and {json.loads(line)["seed"] for line in lines(out)} == {json.loads(line)["seed"] for line in lines(whole)}
    before = out.read_bytes()
    assert distill(client.address, out, "--samples", "4").returncode == 0 and out.read_bytes() == before


def test_control_c_leaves_whole_lines(client, tmp_path):
    out = tmp_path / "answers.jsonl"
    run = Process(BIN / "massv-train", "distill", "--address", client.address, "--data", PICTURES / "scenes.jsonl", "--out", out, "--samples", "100",
                  "--in-flight", "2")
    until = time.monotonic() + 60
    while not out.exists() or not out.stat().st_size:
        assert time.monotonic() < until, run.stderr()
    assert run.stop(signal.SIGINT) == 130
    n = len([json.loads(line) for line in lines(out)])
    assert f"has {n} of 2400 answers; the same command goes on from there" in run.stderr()


@pytest.mark.parametrize("arguments,words", [(("--top-p", "0.9"), "drawn with --top-p 0.95"), (("--seed", "1"), "another --seed"),
                                             (("--temperatures", "0,1,2,3"), "other --temperatures"), (("--samples", "2"), "--samples was more than"),
                                             (("--logprobs", "2"), "without --logprobs"), (("--limit", "3"), "which the data does not have")])
def test_another_run_does_not_add_to_the_file(client, whole, arguments, words):
    before = whole.read_bytes()
    done = distill(client.address, whole, "--samples", "4", *arguments)
    assert done.returncode == 1 and done.stderr.startswith(f"massv-train distill: {whole}: line ") and words in done.stderr, done.stderr
    assert "another --out" in done.stderr and done.stderr.count("\n") == 1 and whole.read_bytes() == before


def test_changed_data_does_not_add_to_the_file(client, whole, tmp_path):
    data = tmp_path / "questions.jsonl"
    questions = [json.loads(line) for line in (PICTURES / "scenes.jsonl").read_text().splitlines()]
    for question in questions:
        question["image"] = str(PICTURES / question["image"])
    questions[5]["prompt"] = "What else?"
    data.write_text("".join(json.dumps(q) + "\n" for q in questions))
    done = distill(client.address, whole, "--samples", "4", data=data)
    assert done.returncode == 1 and "answers another question than line" in done.stderr


def test_logprobs_are_the_targets(client, tmp_path):
    out = tmp_path / "answers.jsonl"
    assert distill(client.address, out, "--logprobs", "5", "--limit", "3", "--temperatures", "1").returncode == 0
    for answer in map(json.loads, lines(out)):
        assert len(answer["logprobs"]) == len(answer["ids"])
        for chosen, top in answer["logprobs"]:
            assert len(top) == 5 and chosen <= top[0][1] <= 0 and [p for _, p in top] == sorted((p for _, p in top), reverse=True)


@pytest.fixture
def refused(tmp_path):
    """Questions of which the second is no picture, and the fourth too long for a message of the model."""
    (tmp_path / "no.png").write_text("no picture")
    questions = [{"image": None, "prompt": "Which day comes after Monday?"}, {"image": "no.png", "prompt": "What?"}, {"prompt": "Name the days."},
                 {"prompt": "word " * 20000}]
    (tmp_path / "questions.jsonl").write_text("".join(json.dumps(q) + "\n" for q in questions))
    return tmp_path / "questions.jsonl"


def test_a_refused_line_ends_the_run_or_is_counted(client, refused, tmp_path):
    out = tmp_path / "answers.jsonl"
    done = distill(client.address, out, "--in-flight", "1", data=refused)
    assert done.returncode == 1 and f"{refused}: line 2: INVALID_ARGUMENT: media[0]" in done.stderr, done.stderr
    assert "1 of 4 answers" in done.stderr and len(lines(out)) == 1
    done = distill(client.address, out, "--on-error", "skip", "--in-flight", "1", data=refused)  # several may be refused in any order
    assert done.returncode == 0 and len(lines(out)) == 2, done.stderr
    assert "2 skipped; the first: " in done.stdout and "line 2: INVALID_ARGUMENT: media[0]" in done.stdout


def test_a_full_disk_is_told_and_what_is_there_stays_whole(client, tmp_path):
    out = tmp_path / "answers.jsonl"
    full = lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (5000, resource.RLIM_INFINITY))  # noqa: E731
    done = distill(client.address, out, preexec_fn=full, restore_signals=False)  # Python ignores SIGXFSZ, and so does its child
    assert done.returncode == 1 and f"massv-train distill: {out}: " in done.stderr and "goes on from there" in done.stderr, done.stderr
    n = len([json.loads(line) for line in lines(out)])
    assert 0 < n < 24
    done = distill(client.address, out)
    assert done.returncode == 0 and f"{n} of 24 answers were in " in done.stdout and len(lines(out)) == 24


def test_a_service_that_goes_away_is_waited_for(tmp_path):
    out = tmp_path / "answers.jsonl"
    socket = f"unix:{tmp_path}/massv"
    run = None
    for _ in range(2):
        up = Process(BIN / "massv", "up", "--target", MODELS / "scenes-small", "--listen", socket, *TARGET)
        up.line("serving ")
        if not run:
            run = Process(BIN / "massv-train", "distill", "--address", socket, "--data", PICTURES / "scenes.jsonl", "--out", out, "--samples", "20",
                          "--json", "--in-flight", "4")
            until = time.monotonic() + 60
            while not out.exists() or out.read_bytes().count(b"\n") < 5:
                assert time.monotonic() < until, run.stderr()
                time.sleep(0.01)
        else:
            assert run.process.wait(120) == 0, run.stderr()
        up.stop(signal.SIGTERM)
    report = json.loads(run.lines.get(timeout=5))
    assert report["made"] == 480 and report["retries"] > 0
    answers = [json.loads(line) for line in lines(out)]
    assert len({(a["line"], a["sample"]) for a in answers}) == len(answers) == 480


def test_nobody_there(tmp_path):
    done = distill("127.0.0.1:9", tmp_path / "answers.jsonl")
    assert done.returncode == 1 and "127.0.0.1:9: UNAVAILABLE" in done.stderr and done.stderr.count("\n") == 1


@pytest.mark.parametrize("arguments,words", [(("--temperatures", "0,x"), "--temperatures 0,x: numbers"), (("--logprobs", "21"), "--logprobs 21: "),
                                             (("--on-error", "cry"), "--on-error cry: stop or skip"), (("--top-p", "0"), "--top-p 0: ")])
def test_wrong_usage(tmp_path, arguments, words):
    done = distill("127.0.0.1:9", tmp_path / "x", *arguments)
    assert done.returncode == 2 and words in done.stderr
