"""bench/study/data.py: the same bytes from the same seed, splits that share no scene, questions of every task, and what a check finds."""
import collections
import json
import pathlib
import subprocess

import pytest

from harness import ROOT


def data(*arguments):
    return subprocess.run(["/usr/bin/python3", ROOT / "bench/study/data.py", *map(str, arguments)], capture_output=True, text=True, timeout=120,
                          check=False)


def made(folder, kind, *arguments):
    done = data(kind, "--out", folder, *arguments)
    assert done.returncode == 0, done.stderr
    path = pathlib.Path(done.stdout.partition(":")[0])
    return path, [json.loads(line) for line in path.read_text().splitlines()]


@pytest.mark.parametrize("kind", ["train", "held-out", "train-text", "varied", "text", "backgrounds", "sizes", "drawings", "photographs"])
def test_a_seed_gives_the_same_bytes(tmp_path, kind):
    for folder in "a", "b":
        made(tmp_path / folder, kind, "--count", "24", "--seed", "5")
    files = [{p.relative_to(tmp_path / f): p.read_bytes() for p in (tmp_path / f).rglob("*") if p.is_file()} for f in "ab"]
    assert files[0] == files[1]
    _, other = made(tmp_path / "c", kind, "--count", "24", "--seed", "6")
    assert other != [json.loads(line) for line in (tmp_path / "a" / f"{kind}.jsonl").read_text().splitlines()]


def test_sets_of_one_seed_share_their_pictures(tmp_path):
    _, asked = made(tmp_path, "train", "--name", "asked", "--count", "40", "--questions", "2")
    _, captions = made(tmp_path, "train", "--name", "captions", "--count", "40", "--task", "caption")
    _, others = made(tmp_path, "train", "--name", "others", "--count", "40", "--questions", "2", "--other-words")
    assert len(asked) == 80 and all(a["image"] == b["image"] == c["image"] for a, b, c in zip(asked[::2], asked[1::2], captions))
    assert len(list((tmp_path / "pictures").iterdir())) == 40
    assert all(a["prompt"] == b["prompt"] for a, b in zip(asked, others)) and sum(a["reference"] != b["reference"] for a, b in zip(asked, others)) > 60
    assert all(line["task"] == "caption" for line in captions)


def test_every_task_is_asked_as_often(tmp_path):
    _, visual = made(tmp_path, "held-out", "--count", "44")
    _, text = made(tmp_path, "text", "--count", "24")
    assert set(collections.Counter(line["task"] for line in visual).values()) == {4} and len({line["task"] for line in visual}) == 11
    assert set(collections.Counter(line["task"] for line in text).values()) == {4} and len({line["task"] for line in text}) == 6
    assert all(line["image"] is None for line in text)


def test_splits_share_no_scene_and_the_check_would_find_one(tmp_path):
    train, lines = made(tmp_path, "train", "--count", "400")
    held, others = made(tmp_path, "held-out", "--count", "100", "--seed", "7")
    assert not {line["scene"] for line in lines} & {line["scene"] for line in others}
    asked, asking = ({line["prompt"] for line in made(tmp_path, kind, "--count", "300")[1]} for kind in ("train-text", "text"))
    assert len(asked) > 60 and len(asking) > 30 and not asked & asking
    done = data("check", "--train", train, "--held-out", held)
    assert done.returncode == 0 and "100 held-out lines" in done.stdout
    with held.open("a") as f:
        f.write(json.dumps(dict(lines[3], image=others[0]["image"])) + "\n")
    done = data("check", "--train", train, "--held-out", held)
    assert done.returncode == 1 and f"scene {lines[3]['scene']} is in {train}" in done.stderr
    held.write_text("".join(json.dumps(line) + "\n" for line in others))
    varied, unlike = made(tmp_path, "varied", "--count", "80")
    landscapes, _ = made(tmp_path, "photographs", "--count", "24")
    assert sum(line["scene"] is None for line in unlike) == 20 and not {line["scene"] for line in unlike if line["scene"]} & {line["scene"] for line in others}
    done = data("check", "--train", varied, "--held-out", held, landscapes)  # they ask alike about pictures of nothing; that is no question of its own
    assert done.returncode == 0, done.stderr
    with landscapes.open("a") as f:
        f.write(json.dumps(next(line for line in unlike if line["scene"] is None)) + "\n")
    done = data("check", "--train", varied, "--held-out", landscapes)
    assert done.returncode == 1 and "picture " in done.stderr and f"is in {varied}" in done.stderr
    held.write_text('{"image": "none.png", "prompt": ""}\n')
    done = data("check", "--train", train, "--held-out", held)
    assert done.returncode == 1 and f"{held}: line 1: " in done.stderr and "none.png" in done.stderr


def test_what_training_varies_is_not_what_is_evaluated():
    """Neither a colour nor a size of the unlike sets is in the training's own unlike pictures."""
    said = subprocess.run(["/usr/bin/python3", "-c", "import strange, scenes; print(set(strange.GAUDY) & set(strange.CALM), set(strange.SIZES) & "
                           "set(strange.OTHER_SIZES), (scenes.SIZE, scenes.SIZE) in strange.SIZES + strange.OTHER_SIZES)"],
                          cwd=ROOT / "bench/study", capture_output=True, text=True, timeout=60, check=True, env={"PYTHONDONTWRITEBYTECODE": "1"})
    assert said.stdout == "set() set() False\n"
