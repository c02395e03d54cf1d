"""train/recipe.sh, the Slurm job of docs/training.md, in small and with one node: it goes from LLaVA's data to a drafter that drafts, and on from
where it was."""
import json
import socket
import subprocess

from harness import BIN, ENVIRONMENT, MODELS, PICTURES, ROOT, massv

TARGET, TEXT = MODELS / "scenes-small", MODELS / "scenes-drafter"


def ports():
    """A free port with a free one behind it."""
    while True:
        with socket.socket() as first, socket.socket() as second:
            first.bind(("127.0.0.1", 0))
            try:
                second.bind(("127.0.0.1", first.getsockname()[1] + 1))
                return first.getsockname()[1]
            except (OSError, OverflowError):
                continue


def test_the_recipe_makes_a_drafter_and_goes_on_where_it_was(tmp_path):
    talks = []
    for i, line in enumerate((PICTURES / "scenes.jsonl").read_text().splitlines()):
        scene = json.loads(line)
        talks.append({"id": str(i), "image": scene["image"], "conversations": [{"from": "human", "value": "<image>\n" + scene["prompt"]},
                                                                              {"from": "gpt", "value": scene["reference"]}]})
    talks[3]["image"] = "none.png"  # left out
    (tmp_path / "talks.json").write_text(json.dumps(talks))
    (tmp_path / "scontrol").write_text('#!/bin/sh\n[ "$*" = "show hostnames nodes" ] && echo localhost\n')
    (tmp_path / "scontrol").chmod(0o755)
    out = tmp_path / "out"
    small = {"TARGET": TARGET, "DRAFTER": TEXT, "OUT": out, "PAIRS": tmp_path / "talks.json", "PAIRS_IMAGES": PICTURES, "TALKS": tmp_path / "talks.json",
             "TALKS_IMAGES": PICTURES, "QUESTIONS": 8, "SLURM_JOB_NODELIST": "nodes", "PATH": f"{tmp_path}:{BIN}:{ENVIRONMENT['PATH']}",
             "PROJECT_FLAGS": "--steps 2 --batch 8", "TUNE_FLAGS": "--steps 2 --batch 8 --loss kl", "DISTILL_FLAGS": "--max-tokens 8 --logprobs 20"}

    def recipe(**more):
        how = dict(ENVIRONMENT, **{name: str(value) for name, value in (small | {"PORT": ports()} | more).items()})
        return subprocess.run([ROOT / "train" / "recipe.sh"], cwd=ROOT, env=how, timeout=300, capture_output=True, text=True, check=False)

    stopped = recipe(DISTILL_FLAGS="--max-tokens 0")
    assert stopped.returncode == 2 and "--max-tokens 0" in stopped.stderr and (out / "phase1" / "done").exists(), stopped.stderr
    before = (out / "phase1" / "state.safetensors").stat().st_mtime_ns
    whole = recipe()
    assert whole.returncode == 0, whole.stderr
    assert (out / "phase1" / "state.safetensors").stat().st_mtime_ns == before
    assert "1 questions cannot be asked" in whole.stdout and len((out / "answers.jsonl").read_text().splitlines()) == 7
    again = recipe()
    assert again.returncode == 0 and len(again.stdout.splitlines()) == 1, again.stdout
    asked = massv("generate", "--target", TARGET, "--drafter", out / "drafter", "--image", PICTURES / "scene-00000.png", "--prompt", "What is it?",
                  "--max-tokens", "16", "--draft-tokens", "3", "--json")
    assert asked.returncode == 0 and json.loads(asked.stdout)["speculation"]["drafted"] > 0
