"""What massv-train exports, opened by Hugging Face transformers. It needs gigabytes from PyPI: `make transformers` installs them into
BUILD/transformers and runs this; where that was never done the test says so and is skipped."""
import json
import os
import subprocess
import sys

import pytest

from harness import BIN, ENVIRONMENT, GOLDEN, MODELS, PICTURES, ROOT, massv

VENV = BIN.parent / "transformers"
PACKAGES = ("torch", "torchvision", "transformers", "pillow")
QUESTION = "Give a short caption."


@pytest.fixture(scope="module")
def python():
    ready = VENV / "ready"
    if not ready.exists() and not os.environ.get("MASSV_TRANSFORMERS"):
        pytest.skip("`make transformers` installs torch and transformers for this")
    if not ready.exists():
        for words in ([sys.executable, "-m", "venv", VENV], [VENV / "bin/pip", "install", "-q", *PACKAGES]):
            done = subprocess.run(words, capture_output=True, text=True, timeout=1800, check=False)
            if done.returncode:
                pytest.skip(f"cannot be installed: {done.stderr.strip().splitlines()[-1:]}")
        ready.touch()
    return VENV / "bin/python"


def train(*words):
    done = subprocess.run([BIN / "massv-train", *map(str, words)], cwd=ROOT, env=ENVIRONMENT, timeout=180, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


FAMILIES = {
    "qwen": (MODELS / "scenes-small", MODELS / "scenes-drafter", PICTURES / "scenes.jsonl", PICTURES / "scene-00003.png", "Qwen2_5_VL"),
    "gemma": (GOLDEN / "gemma3-tiny", GOLDEN / "gemma3-text-tiny", PICTURES / "scenes.jsonl", GOLDEN / "images/photo.jpg", "Gemma3"),
}


@pytest.mark.parametrize("family, dtype", [("qwen", "f32"), ("gemma", "f32"), ("gemma", "bf16")])
def test_an_exported_drafter_is_the_same_there(python, family, dtype, tmp_path):
    target, drafter, data, picture, architecture = FAMILIES[family]
    models = ("--target", target, "--drafter", drafter)
    train("tune", *models, "--data", data, "--labels", "reference", "--steps", 6, "--batch", 8, "--learning-rate", "2e-3", "--out", tmp_path / "run")
    train("export", *models, "--run", tmp_path / "run", "--dtype", dtype, "--out", tmp_path / "drafter")
    done = massv("dump", "--model", tmp_path / "drafter", "--prompt", QUESTION, "--image", picture, "--activations", "f32", "--out",
                 tmp_path / "dump.safetensors")
    assert done.returncode == 0, done.stderr
    done = subprocess.run([python, ROOT / "tests/system/transformers_logits.py", tmp_path / "drafter", tmp_path / "dump.safetensors", picture, QUESTION],
                          env=dict(os.environ, HF_HUB_OFFLINE="1"), timeout=300, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout)
    print(said)
    assert said["class"] == f"{architecture}ForConditionalGeneration" and said["untouched"]
    assert said["same_ids"] is (True if (target / "chat_template.json").exists() else None)
    assert said["deviation"] > 0.5 and said["largest_difference"] < 2e-4
