"""What massv-train exports, opened by Hugging Face transformers. It needs gigabytes from PyPI: `make transformers` installs them into
BUILD/transformers and runs this; where that was never done the test says so and is skipped."""
import json
import os
import subprocess
import sys

import pytest

from harness import BIN, ENVIRONMENT, MODELS, PICTURES, ROOT, massv

VENV = BIN.parent / "transformers"
PACKAGES = ("torch", "torchvision", "transformers", "pillow")


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


def test_an_exported_drafter_is_the_same_there(python, tmp_path):
    models = ("--target", MODELS / "scenes-small", "--drafter", MODELS / "scenes-drafter")
    train("tune", *models, "--data", PICTURES / "scenes.jsonl", "--labels", "reference", "--steps", 6, "--batch", 8, "--learning-rate", "2e-3", "--out",
          tmp_path / "run")
    train("export", *models, "--run", tmp_path / "run", "--out", tmp_path / "drafter")
    done = massv("dump", "--model", tmp_path / "drafter", "--prompt", "Give a short caption.", "--image", PICTURES / "scene-00003.png", "--activations",
                 "f32", "--out", tmp_path / "dump.safetensors")
    assert done.returncode == 0, done.stderr
    done = subprocess.run([python, ROOT / "tests/system/transformers_logits.py", tmp_path / "drafter", tmp_path / "dump.safetensors"],
                          env=dict(os.environ, HF_HUB_OFFLINE="1"), timeout=300, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout)
    print(said)
    assert said["class"] == "Qwen2_5_VLForConditionalGeneration" and said["deviation"] > 1 and said["largest_difference"] < 2e-4
