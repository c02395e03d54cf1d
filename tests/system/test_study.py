"""bench/study/run: the quick study from fresh data to its report; what must hold of drafters in it; stages that are done stay done."""
import base64
import json
import os
import re
import shutil
import subprocess

import pytest

from harness import BIN, ENVIRONMENT, ROOT


def study(work, *arguments, build=BIN.parent):
    return subprocess.run([ROOT / "bench/study/run", "--quick", "--work", work, "--build", build, *arguments], cwd="/", env=ENVIRONMENT, timeout=600,
                          capture_output=True, text=True, check=False)


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    work = tmp_path_factory.mktemp("study")
    run = study(work)
    assert run.returncode == 0, run.stdout + run.stderr
    return work


def figures(done, stage):
    return json.loads((done / stage / "done.json").read_text())["figures"]


def length(said, drafter, k, task="all"):
    return next(f["mean_acceptance_length"]["value"] for f in said["figures"] if (f["drafter"], f["draft_tokens"], f["task"]) == (drafter, k, task))


def test_a_drafter_that_sees_is_ahead_of_one_that_does_not(done):
    for stage in "compare", "variants", "transfer":
        said = figures(done, stage)
        assert said["texts"]["compared"] > 100 and said["texts"]["different"] == 0
    for stage in "compare", "transfer":
        said = figures(done, stage)
        for k in 5, 10:
            assert length(said, "pytorch", k) > 1.2 * length(said, "text", k)
        distance = {t["drafter"]: t["mean"]["value"] for t in said["tvd"] if t["task"] == "all"}
        assert distance["pytorch"] < 0.6 * distance["text"]


def test_learning_from_the_target_helps_and_from_others_does_not(done):
    """The orderings of the paper, K = 5, from a fixed seed: each phase brings the drafter nearer, another annotator's words take it away."""
    said = figures(done, "compare")
    at = {name: length(said, name, 5) for name in ("text", "untrained", "mlp", "no-sdvit", "massv")}
    assert at["massv"] > at["text"] > at["no-sdvit"] and at["massv"] > at["mlp"] > at["untrained"], at
    distance = {t["drafter"]: t["mean"]["value"] for t in said["tvd"] if t["task"] == "all"}
    assert distance["massv"] < distance["text"] < distance["no-sdvit"], distance
    other = figures(done, "variants")  # another projector, another loss
    assert length(other, "kl", 5) > at["text"] and length(other, "resampler", 5) > at["untrained"], other
    assert next(t["mean"]["value"] for t in other["tvd"] if (t["drafter"], t["task"]) == ("kl", "all")) < distance["text"], other["tvd"]
    larger = figures(done, "transfer")
    assert length(larger, "massv", 5) > length(larger, "text", 5)


def test_every_section_stands_under_the_commands_that_made_it(done):
    report = (done / "docs/report.md").read_text()
    page = (done / "docs/report.html").read_text()
    stages = json.loads((done / "docs/study.json").read_text())["stages"]
    assert {"data", "baseline", "answers", "project", "tune", "ablate", "adapt", "compare", "variants", "sampled", "transfer", "unfamiliar", "speed"} <= set(stages)
    for name, stage in stages.items():
        assert f"\n## {name}: " in report and f"<h2>{name}: " in page
        for command in stage["commands"]:
            assert f"$ {command['command']}" in report


def test_plots_stand_in_the_folder_and_in_the_page(done):
    """As PNG, which the Markdown shows, and as SVG, small enough to be read over a network; the page needs neither file."""
    report, page = ((done / "docs" / name).read_text() for name in ("report.md", "report.html"))
    plots = {path.name: path.read_bytes() for path in (done / "docs/plots").iterdir()}
    stems = re.findall(r"!\[[^]]*\]\(plots/([^)]*)[.]png\)", report)
    assert len(stems) >= 5 and set(plots) == {stem + kind for stem in stems for kind in (".png", ".svg")}
    for stem in stems:
        svg = plots[stem + ".svg"]
        assert plots[stem + ".png"].startswith(b"\x89PNG") and b"<svg" in svg and len(svg) < 300_000
        assert f"]({'plots/' + stem}.svg)" in report and base64.b64encode(svg).decode() in page
    assert page.count("<img ") == page.count('src="data:') == len(stems)


def test_what_is_done_is_not_done_again_and_what_changed_is(done, tmp_path):
    again = study(done)
    assert again.returncode == 0 and "\n$ " not in again.stdout and again.stdout.count("done before") >= 9, again.stdout
    copy = tmp_path / "study"
    shutil.copytree(done, copy)
    record = json.loads((copy / "data/done.json").read_text())
    (copy / "data/done.json").write_text(json.dumps(dict(record, key="of other settings")))
    (copy / "data/begun").write_text("of other settings")
    changed = study(copy, "data")
    assert changed.returncode == 0 and changed.stdout.count("\n$ ") == len(record["commands"]), changed.stdout
    assert study(copy, "baseline").stdout.count("---- baseline: the text-only") == 1  # it was made from what is no more
    sets = [{p.name: p.read_bytes() for p in (folder / "data").glob("*.jsonl")} for folder in (copy, done)]
    assert sets[0] == sets[1]


def test_a_command_that_fails_ends_the_study_and_is_named(tmp_path):
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin/massv").write_text("#!/bin/sh\necho out of order >&2\nexit 3\n")
    os.chmod(tmp_path / "bin/massv", 0o755)
    run = study(tmp_path / "work", "baseline", build=tmp_path)
    assert run.returncode == 1 and "study: status 3 of: " in run.stderr and "/bin/massv eval " in run.stderr, run.stderr
    assert "out of order" in (tmp_path / "work/baseline/log").read_text() and not (tmp_path / "work/baseline/done.json").exists()


def test_an_unknown_stage_is_wrong_usage(tmp_path):
    run = study(tmp_path, "fly")
    assert run.returncode == 2 and "unknown stage fly; there are data baseline" in run.stderr
