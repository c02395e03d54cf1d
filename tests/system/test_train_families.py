"""What massv-train takes from the target's family: its projector, of every kind, up to a drafter that serves; models that do not go together."""
import json
import shutil
import subprocess

import pytest

from harness import BIN, ENVIRONMENT, GOLDEN, ROOT, gemma_pan_and_scan, massv, read_tensors, service

TARGET, TEXT = GOLDEN / "gemma3-tiny", GOLDEN / "gemma3-text-tiny"
PICTURES = sorted((GOLDEN / "images").iterdir())
OWN = {f"multi_modal_projector.{part}" for part in ("mm_soft_emb_norm.weight", "mm_input_projection_weight")}


def run(name, *words, target=TARGET, drafter=TEXT, ranks=1):
    start = ["mpirun", "--oversubscribe", "-n", str(ranks)] if ranks > 1 else []
    return subprocess.run([*start, BIN / "massv-train", name, "--target", target, "--drafter", drafter, *map(str, words)], cwd=ROOT, env=ENVIRONMENT, timeout=120,
                          capture_output=True, text=True, check=False)


@pytest.fixture(scope="module")
def captions(tmp_path_factory):
    place = tmp_path_factory.mktemp("captions")
    records = [{"image": str(picture), "prompt": "What is it?", "reference": f"It is {picture.stem}."} for picture in PICTURES]
    (place / "captions.jsonl").write_text("".join(json.dumps(record) + "\n" for record in records))
    return place / "captions.jsonl"


@pytest.mark.parametrize("kind, tokens, trained", [
    ("mlp", 16, OWN),
    ("linear", 16, {"projector.norm.weight", "projector.linear.weight", "projector.linear.bias"}),
    ("resampler", 5, {f"projector.{part}" for part in ("norm.weight", "queries", "k.weight", "v.weight", "v.bias", "out.weight", "out.bias")}),
])
def test_every_projector_of_a_gemma3_target_learns_and_serves(captions, tmp_path, kind, tokens, trained):
    more = ("--queries", tokens) if kind == "resampler" else ()
    done = run("project", "--data", captions, "--out", tmp_path / "run", "--projector", kind, *more, "--batch", 11, "--steps", 20, "--learning-rate", "1e-2",
               "--features", captions.parent / "features")
    assert done.returncode == 0, done.stderr
    state, curve = read_tensors(tmp_path / "run/state.safetensors"), [json.loads(line)["loss"] for line in open(tmp_path / "run/loss.jsonl", encoding="utf-8")]
    assert {name[6:] for name in state if name.startswith("value/")} == trained and curve[-1] < curve[0]
    assert len(list((captions.parent / "features").glob("*/*.safetensors"))) == len(PICTURES)
    done = run("export", "--run", tmp_path / "run", "--out", tmp_path / "drafter")
    assert done.returncode == 0 and ("transformers does not open it" in done.stdout) == (kind != "mlp"), done.stderr
    assert "kind massv" in massv("inspect", TARGET, "--with", tmp_path / "drafter").stdout
    massv("dump", "--model", tmp_path / "drafter", "--image", PICTURES[0], "--prompt", "What is it?", "--out", tmp_path / "dump.safetensors")
    assert len(read_tensors(tmp_path / "dump.safetensors")["image_features.0"]) == tokens
    texts = [json.loads(massv("generate", "--target", TARGET, "--drafter", drafter, "--image", PICTURES[0], "--prompt", "What is it?", "--max-tokens", "24", "--temperature", "0",
                              "--draft-tokens", "4", "--json").stdout)["text"] for drafter in (tmp_path / "drafter", TEXT)]
    assert texts[0] == texts[1]


@pytest.mark.parametrize("kind, more", [("mlp", ()), ("resampler", ("--queries", 5))])
def test_a_drafter_learns_from_crops_and_serves_with_them(captions, tmp_path, kind, more):
    target = gemma_pan_and_scan(tmp_path / "target")
    done = run("project", "--data", captions, "--out", tmp_path / "run", "--projector", kind, *more, "--batch", 11, "--steps", 20, "--learning-rate", "1e-2", target=target)
    assert done.returncode == 0, done.stderr
    curve = [json.loads(line)["loss"] for line in open(tmp_path / "run/loss.jsonl", encoding="utf-8")]
    assert curve[-1] < curve[0]
    assert run("export", "--run", tmp_path / "run", "--out", tmp_path / "drafter", target=target).returncode == 0
    with service(target, "--drafter", tmp_path / "drafter") as client:
        asked = dict(prompt="What is it?", pictures=[GOLDEN / "images/wide.png", GOLDEN / "images/speck.png"], max_tokens=24, ignore_eos=True)
        plain = client.ask(k=0, **asked)
        assert plain[2].usage.image_tokens == (5 + 1) * 16
        for k in (1, 4, 8):
            ids, text, finished = client.ask(k=k, **asked)
            assert (ids, text) == plain[:2] and finished.speculation.drafted > 0 and not finished.speculation.inactive


@pytest.mark.parametrize("ranks, crops", [(1, False), (2, False), (2, True)])
def test_a_gemma3_drafter_goes_on_to_the_same_bits(captions, tmp_path, ranks, crops):
    """From the third of six steps, alone and where ranks share a batch of pictures - in crops, too - and words."""
    target, data = gemma_pan_and_scan(tmp_path / "target") if crops else TARGET, tmp_path / "data.jsonl"
    data.write_text(captions.read_text() + "".join(json.dumps({"prompt": f"Count to {i}.", "reference": " ".join(map(str, range(i)))}) + "\n" for i in (3, 5, 9)))
    words = ("--data", data, "--labels", "reference", "--batch", 5, "--steps", 6, "--learning-rate", "3e-3", "--features", tmp_path / "features", "--threads", 1)

    def losses(out):
        return [json.loads(line)["loss"] for line in (out / "loss.jsonl").read_text().splitlines()]

    whole, stopped, alone = (tmp_path / name for name in ("whole", "stopped", "alone"))
    done = run("tune", "--out", whole, *words, "--checkpoint-seconds", 0, "--keep", 6, target=target, ranks=ranks)
    assert done.returncode == 0, done.stderr
    stopped.mkdir()
    shutil.copy(whole / "settings.json", stopped)
    shutil.copy(whole / "state-3.safetensors", stopped / "state.safetensors")
    (stopped / "loss.jsonl").write_text("".join((whole / "loss.jsonl").read_text().splitlines(True)[:3]))
    done = run("tune", "--out", stopped, *words, "--resume", target=target, ranks=ranks)
    assert done.returncode == 0, done.stderr
    assert (stopped / "state.safetensors").read_bytes() == (whole / "state.safetensors").read_bytes()
    assert losses(stopped) == losses(whole) and len(losses(whole)) == 6
    if ranks > 1:
        assert run("tune", "--out", alone, *words, target=target).returncode == 0
        assert losses(whole) == pytest.approx(losses(alone), rel=2e-3)


@pytest.mark.parametrize("target, drafter, said", [
    ("gemma3-tiny", "qwen2-tiny", "qwen2-tiny is a model of qwen2, gemma3-tiny of gemma3: a drafter is made of a small language model of the target's own"),
    ("qwen25vl-tiny", "gemma3-text-tiny", "gemma3-text-tiny is a model of gemma3_text, qwen25vl-tiny of qwen2_5_vl"),
    ("gemma3-text-tiny", "gemma3-text-tiny", "is a text model: there is no vision tower to draft with"),
])
def test_models_that_do_not_go_together_are_named(captions, tmp_path, target, drafter, said):
    for more in (), ("--dry-run",):
        done = run("project", "--data", captions, "--out", tmp_path / "run", *more, target=GOLDEN / target, drafter=GOLDEN / drafter)
        assert done.returncode == 1 and said in done.stderr and not (tmp_path / "run").exists()


def test_another_tokenizer_is_named(captions, tmp_path):
    other = tmp_path / "other"
    other.mkdir()
    for file in TEXT.iterdir():
        if file.is_file():
            (other / file.name).write_bytes(file.read_bytes())
    tokenizer = json.loads((TEXT / "tokenizer.json").read_text())
    vocabulary = tokenizer["model"]["vocab"]
    (a, x), (b, y) = list(vocabulary.items())[500:502]
    vocabulary[a], vocabulary[b] = y, x
    (other / "tokenizer.json").write_text(json.dumps(tokenizer))
    done = run("project", "--data", captions, "--out", tmp_path / "run", drafter=other)
    assert done.returncode == 1 and "drafter other: its tokenizer is not the target's" in done.stderr
