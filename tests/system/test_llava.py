"""Data as LLaVA has it, one JSON array of conversations, through project, distill and tune: the same bits as the lines that say the same; turns
before a question are asked and trained on; what cannot be used is told with its place."""
import json
import subprocess

import pytest

from harness import BIN, ENVIRONMENT, MODELS, PICTURES, ROOT, massv, service

TARGET, TEXT = MODELS / "scenes-small", MODELS / "scenes-drafter"
FAST = ("--batch", "8", "--learning-rate", "2e-3", "--threads", "1", "--steps", "4")


def trainer(*words):
    return subprocess.run([BIN / "massv-train", *map(str, words)], cwd=ROOT, env=ENVIRONMENT, timeout=180, capture_output=True, text=True, check=False)


def fit(command, data, out, *more):
    return trainer(command, "--target", TARGET, "--drafter", TEXT, "--data", data, "--out", out, *FAST, *more)


def distill(address, data, out, *more):
    return trainer("distill", "--address", address, "--data", data, "--out", out, *more)


def said(text, answer):
    return [{"from": "human", "value": text}, {"from": "gpt", "value": answer}]


@pytest.fixture(scope="module")
def client():
    with service(TARGET, "--drafter", MODELS / "scenes-massv", "--threads", "1", "--kv-positions", "65536") as running:
        yield running


@pytest.fixture(scope="module")
def pairs(tmp_path_factory):
    """The same one-turn data twice: lines beside their pictures, an array elsewhere. Every fifth has no picture."""
    place = tmp_path_factory.mktemp("pairs")
    lines = [json.loads(line) for line in (PICTURES / "scenes.jsonl").read_text().splitlines()]
    entries = []
    for i, line in enumerate(lines):
        line["image"] = None if i % 5 == 4 else str(PICTURES / line["image"])
        text = line["prompt"] if not line["image"] else "<image>\n" + line["prompt"] if i % 2 else line["prompt"] + "\n<image>"
        entries.append({"id": f"{i:09d}", "conversations": said(text, line["reference"])})
        if line["image"]:
            entries[-1]["image"] = f"pictures/scene-{i:05d}.png"
    (place / "lines.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    (place / "array.json").write_text(json.dumps(entries))
    return place


@pytest.fixture(scope="module")
def answers(client, pairs):
    for name, root in ("lines.jsonl", ()), ("array.json", ("--image-root", MODELS)):
        done = distill(client.address, pairs / name, pairs / f"answers-{name}l", "--max-tokens", "24", *root)
        assert done.returncode == 0, done.stderr
    return pairs / "answers-lines.jsonll", pairs / "answers-array.jsonl"


def test_an_array_trains_the_projector_to_the_same_bits(pairs, tmp_path):
    for name, root in ("lines.jsonl", ()), ("array.json", ("--image-root", MODELS)):
        done = fit("project", pairs / name, tmp_path / name, *root)
        assert done.returncode == 0, done.stderr
    assert (tmp_path / "lines.jsonl" / "state.safetensors").read_bytes() == (tmp_path / "array.json" / "state.safetensors").read_bytes()
    same = fit("project", pairs / "lines.jsonl", tmp_path / "held", "--held-out", pairs / "array.json", "--image-root", MODELS)
    assert same.returncode == 1 and "array.json: entry 1 (line 1), question 1: the same picture and prompt are in" in same.stderr


def test_an_array_is_answered_by_the_same_lines(answers):
    lines, array = (sorted((json.loads(line) for line in path.read_text().splitlines()), key=lambda a: a["line"]) for path in answers)
    assert len(lines) == 24 and sum(a["image"] is not None for a in array) == 20
    for a, b in zip(lines, array):
        assert a["image"] is None or (answers[1].parent / b["image"]).samefile(a["image"])
        del a["image"], b["image"]
    assert lines == array


def test_answers_tune_to_the_same_bits(answers, tmp_path):
    states = []
    for path in answers:
        path.write_text("".join(sorted(path.read_text().splitlines(True), key=lambda line: json.loads(line)["line"])))
        done = fit("tune", path, tmp_path / path.name)
        assert done.returncode == 0, done.stderr
        states.append((tmp_path / path.name / "state.safetensors").read_bytes())
    assert states[0] == states[1]


@pytest.fixture
def talk(tmp_path):
    """Two conversations; the first of three questions, of which the last has no answer in the data."""
    entries = [{"id": "a", "image": ["scene-00000.png"],
                "conversations": [*said("<image>\nHow many things are there?", "There are three things."),
                                  *said("Which?", "The key, the airplane and the mushroom."), {"from": "human", "value": "What can you see?"}]},
               {"id": "b", "conversations": said("Which day comes after Monday?", "Tuesday.")}]
    (tmp_path / "talk.json").write_text(json.dumps(entries, indent=2))
    return tmp_path / "talk.json"


def test_turns_before_a_question_are_asked_and_kept(client, talk, tmp_path):
    out = tmp_path / "answers.jsonl"
    words = ("--temperatures", "0", "--max-tokens", "16", "--image-root", PICTURES)
    done = distill(client.address, talk, out, *words)
    assert done.returncode == 0, done.stderr
    lines = sorted((json.loads(line) for line in out.read_text().splitlines()), key=lambda a: a["line"])
    assert [(a["line"], len(a.get("earlier", [])), a["prompt"], a.get("reference")) for a in lines] == [
        (1, 0, "How many things are there?", "There are three things."), (2, 2, "Which?", "The key, the airplane and the mushroom."),
        (3, 4, "What can you see?", None), (4, 0, "Which day comes after Monday?", "Tuesday.")]
    request = client.request(lines[0]["prompt"], [PICTURES / "scene-00000.png"], k=0, max_tokens=16)
    for role, text in zip(("assistant", "user") * 2, (*lines[2]["earlier"][1:], lines[2]["prompt"])):
        request.conversation.turns.add(role=role).parts.add(text=text)
    tokens = [token for event in client.inference.Generate(request, timeout=60) for token in event.token.token_ids]
    assert tokens == lines[2]["ids"]
    before = out.read_bytes()
    again = distill(client.address, talk, out, *words)
    assert again.returncode == 0 and "4 of 4 answers were in" in again.stdout and out.read_bytes() == before
    talk.write_text(talk.read_text().replace("There are three things.", "There are two things."))
    other = distill(client.address, talk, out, *words)
    assert other.returncode == 1 and any(f"on line {i} of the data" in other.stderr or f"than line {i} of the data" in other.stderr for i in (1, 2, 3))
    done = fit("tune", out, tmp_path / "run")
    assert done.returncode == 0 and "over 4 records" in done.stdout, done.stderr


def test_eval_and_bench_ask_them_too(client, talk, tmp_path):
    here = tmp_path / "scene-00000.png"
    here.symlink_to(PICTURES / here.name)
    done = massv("eval", "--address", client.address, "--data", talk, "--max-tokens", "8", "--resamples", "100", "--out", tmp_path / "out")
    assert done.returncode == 0, done.stderr
    asked = json.loads((tmp_path / "out" / "eval.json").read_text())["per_prompt"]
    assert [(q["line"], len(q["earlier"])) for q in asked] == [(1, 0), (2, 2), (3, 4), (4, 0)]
    done = massv("bench", "serve", "--address", client.address, "--data", talk, "--max-tokens", "8", "--requests", "4", "--concurrency", "2", "--json")
    assert done.returncode == 0 and json.loads(done.stdout)["completed"] == 4, done.stderr


BROKEN = [  # never skipped
    ('[{"conversations": []},\n{"conv', "line 2: not JSON: "), ("[]", "has no question"), ("[1]", "line 1: a conversation, "),
    ('[{"conversations": []}]\nmore', "line 2: nothing may follow the array"), ('[{"conversations": []} {', "line 1: not JSON: , or ] is wanted"),
]
UNUSABLE = [  # skipped where that is asked for
    ({"conversations": []}, "conversations: 0 turns"), ({"image": 5, "conversations": said("<image>", "x")}, "image: a path"),
    ({"conversations": "x"}, "conversations: an array of turns"), ({"conversations": said("x", "y")[::-1]}, 'it is the turn of "human"'),
    ({"image": "none.png", "conversations": said("<image>x", "y")}, "none.png: No such file"),
    ({"image": "scene-00000.png", "conversations": said("x", "y")}, "0 times <image>"),
    ({"conversations": [{"from": "gpt", "value": "x"}]}, 'it is the turn of "human"'),
]


def one_line(done, data, words):
    assert done.returncode == 1 and f": {data}: " in done.stderr and words in done.stderr and done.stderr.count("\n") == 1, done.stderr


@pytest.mark.parametrize("text,words", BROKEN)
def test_a_broken_array_is_never_skipped(client, tmp_path, text, words):
    data = tmp_path / "bad.json"
    data.write_text(text)
    one_line(fit("project", data, tmp_path / "run", "--on-error", "skip"), data, words)
    one_line(distill(client.address, data, tmp_path / "out", "--on-error", "skip"), data, words)


@pytest.mark.parametrize("entry,words", UNUSABLE)
def test_an_entry_that_cannot_be_used_is_named_or_counted(client, tmp_path, entry, words):
    data = tmp_path / "bad.json"
    good = {"conversations": said("Which day comes after Monday?", "Tuesday.")}
    data.write_text(json.dumps([good, entry, good]))
    for command in lambda *more: fit("project", data, tmp_path / "run", "--image-root", PICTURES, *more), lambda *more: distill(
            client.address, data, tmp_path / "out", "--max-tokens", "4", "--image-root", PICTURES, *more):
        stopped, skipped = command(), command("--on-error", "skip")
        one_line(stopped, data, words)
        assert f"{data}: entry 2 (line 1)" in stopped.stderr
        assert skipped.returncode == 0 and f"{data}: entry 2 (line 1)" in skipped.stdout and "1 " in skipped.stdout, skipped.stderr
    assert [json.loads(line)["line"] for line in (tmp_path / "out").read_text().splitlines()] in ([1, 3], [3, 1])
