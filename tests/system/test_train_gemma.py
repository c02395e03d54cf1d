"""The whole way of a Gemma3 drafter, in little: a target that has learned something, its answers through the running service, both phases, an
ordinary checkpoint, and acceptance that has risen."""
import concurrent.futures
import json
import subprocess

import PIL.Image
import pytest

from harness import BIN, ENVIRONMENT, GOLDEN, ROOT, massv, service

TARGET, TEXT = GOLDEN / "gemma3-tiny", GOLDEN / "gemma3-text-tiny"
COLOURS = {"red": (214, 40, 40), "orange": (245, 133, 24), "yellow": (250, 215, 30), "green": (44, 160, 70), "blue": (40, 90, 220),
           "purple": (130, 60, 190), "black": (25, 25, 25), "white": (250, 250, 250)}
QUESTIONS = {"What colour is this?": "The whole picture is {}. There is nothing else in it.",
             "Describe the picture.": "I see one large square, and it is {} all over."}


def massv_train(*words):
    done = subprocess.run([BIN / "massv-train", *map(str, words)], cwd=ROOT, env=ENVIRONMENT, timeout=120, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def made(name, run, *words, target, drafter=TEXT):
    """A run of massv-train and its checkpoint."""
    models = ("--target", target, "--drafter", drafter)
    massv_train(name, *models, "--out", run, "--batch", 16, "--threads", 1, *words)
    massv_train("export", "--run", run, *models, "--out", f"{run}-model")
    return f"{run}-model"


def asked(model, data, out, *words):
    """The model's answers through its running service."""
    with service(model, "--threads", "1") as running:
        said = json.loads(massv_train("distill", "--address", running.address, "--data", data, "--out", out, "--max-tokens", 40, "--json", *words))
    assert said["made"] == said["wanted"] and said["skipped"] == {}


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """Pictures of one colour each; whoever does not see them cannot know which."""
    place = tmp_path_factory.mktemp("colours")
    with open(place / "data.jsonl", "w", encoding="utf-8") as out:
        for name, colour in COLOURS.items():
            PIL.Image.new("RGB", (56, 56), colour).save(place / f"{name}.png")
            for question, answer in QUESTIONS.items():
                out.write(json.dumps({"image": str(place / f"{name}.png"), "prompt": question, "reference": answer.format(name)}) + "\n")
    return place / "data.jsonl"


@pytest.fixture(scope="module")
def target(data):
    """gemma3-tiny after training as its own drafter, on the data's own answers: the tower stays random."""
    return made("tune", data.parent / "target", "--data", data, "--labels", "reference", "--steps", 60, "--learning-rate", 3e-3, target=TARGET,
                drafter=TARGET)


@pytest.fixture(scope="module")
def drafters(data, target):
    """untrained, after phase 1, after phase 2"""
    place, answers = data.parent, data.parent / "answers.jsonl"
    untrained = made("project", place / "untrained", "--data", data, "--steps", 1, "--learning-rate", 0, target=target)
    phase1 = made("project", place / "phase1", "--data", data, "--steps", 20, "--learning-rate", 3e-3, target=target)
    asked(target, data, answers, "--samples", 2, "--temperatures", "0,0.7", "--logprobs", 20)
    tuned = made("tune", place / "massv", "--data", answers, "--from", place / "phase1", "--steps", 80, "--learning-rate", 3e-3, target=target)
    return {"untrained": untrained, "phase1": phase1, "massv": tuned}


def test_acceptance_rises(data, target, drafters, tmp_path):
    words = [word for name, folder in drafters.items() for word in ("--drafter", f"{name}={folder}")]
    done = massv("eval", "--target", target, *words, "--data", data, "--max-tokens", 40, "--draft-tokens", 5, "--resamples", 200, "--threads", 1, "--tvd",
                 "--out", tmp_path / "out", "--json")
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout)
    assert said["failures"] == [] and said["texts"]["compared"] > 0 and said["texts"]["different"] == 0
    lengths = {f["drafter"]: f["mean_acceptance_length"]["value"] for f in said["figures"] if f["task"] == "all"}
    distance = {t["drafter"]: t["mean"]["value"] for t in said["tvd"] if t["task"] == "all"}
    assert lengths["untrained"] < 1.5 and lengths["massv"] > 4.5 and lengths["massv"] > lengths["phase1"], lengths
    assert distance["massv"] < 0.3 < 0.8 < distance["untrained"], distance


def test_what_was_trained_sees(data, drafters, tmp_path):
    """The target's greedy answers, and those of the drafter served alone, name the colours."""
    asked(drafters["massv"], data, tmp_path / "answers.jsonl", "--temperatures", "0")
    for path in data.parent / "answers.jsonl", tmp_path / "answers.jsonl":
        lines = [json.loads(line) for line in path.read_text().splitlines()]
        right = [line["answer"] == line["reference"] for line in lines if line["temperature"] == 0]
        assert len(right) == len(COLOURS) * len(QUESTIONS) and sum(right) >= 0.75 * len(right), lines


@pytest.mark.parametrize("ranks", [1, 2, 4])
def test_no_text_changes_where_some_drafts_are_accepted(data, target, drafters, ranks):
    """Prompts of several windows, answers of more than one, one picture and two; some drafts stand and some are rolled back."""
    red, blue, story = data.parent / "red.png", data.parent / "blue.png", "Here is a small story about a picture. " * 6
    asked = [dict(prompt="Describe the picture.", pictures=[red]), dict(prompt=story + "What colour is this?", pictures=[blue]),
             dict(prompt=story + "Describe the picture.", pictures=[red, blue]), dict(prompt="What colour is this?", penalty=1.2)]
    with service(target, "--drafter", drafters["massv"], "--ranks", ranks, "--threads", "1") as client:
        def answer(k, i):
            ids, text, finished = client.ask(k=k, max_tokens=60, ignore_eos=True, **asked[i])
            return ids, text, finished.speculation

        plain = [answer(0, i)[:2] for i in range(len(asked))]
        work = [(k, i) for k in range(1, 9) for i in range(len(asked))]
        alone = [answer(*w) for w in work]
        with concurrent.futures.ThreadPoolExecutor(8) as eight:
            together = list(eight.map(lambda w: answer(*w), work[::-1]))[::-1]
    for (k, i), one, other in zip(work, alone, together):
        assert one[:2] == other[:2] == plain[i], (k, i)
        assert not one[2].inactive and one[2].drafted > 0
    accepted, drafted = (sum(getattr(one[2], name) for one in alone) for name in ("accepted", "drafted"))
    assert 0.1 * drafted < accepted < 0.9 * drafted, (accepted, drafted)


@pytest.mark.parametrize("loss", ["kl", "tvd"])
def test_losses_against_the_targets_probabilities(data, target, drafters, tmp_path, loss):
    assert drafters
    massv_train("tune", "--target", target, "--drafter", TEXT, "--from", data.parent / "phase1", "--data", data.parent / "answers.jsonl", "--out",
                tmp_path / "run", "--batch", 16, "--threads", 1, "--steps", 20, "--learning-rate", 3e-3, "--loss", loss, "--recompute", "--weights", "bf16")
    curve = [json.loads(line)["loss"] for line in (tmp_path / "run/loss.jsonl").read_text().splitlines()]
    assert curve[-1] < 0.8 * curve[0], curve
