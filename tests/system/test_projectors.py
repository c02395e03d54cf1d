"""Drafters with a projector that is not their family's: trained, exported, served; what training computes is what serving computes."""
import json
import shutil
import subprocess

import numpy
import pytest

from harness import BIN, ENVIRONMENT, GOLDEN, MODELS, PICTURES, ROOT, massv, read_tensors, service, tensor_bytes, write_tensors

TARGET, TEXT = MODELS / "scenes-small", MODELS / "scenes-drafter"
KINDS = {"linear": 36, "resampler": 7}  # tokens of a picture


def massv_train(*words):
    done = subprocess.run([BIN / "massv-train", *map(str, words)], cwd=ROOT, env=ENVIRONMENT, timeout=240, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """The 24 pictures' conversations; the last is held out."""
    place = tmp_path_factory.mktemp("projectors")
    records = [json.loads(line) for line in (PICTURES / "scenes.jsonl").read_text().splitlines()]
    for record in records:
        record["image"] = str(PICTURES / record["image"])
    (place / "train.jsonl").write_text("".join(json.dumps(r) + "\n" for r in records[:-1]))
    (place / "held-out.jsonl").write_text(json.dumps(records[-1]) + "\n")
    return place, records


@pytest.fixture(scope="module", params=KINDS)
def drafter(request, data):
    """Phase 1 and 2 in a few steps; the kind, the checkpoint, the held-out loss of its last step."""
    place, kind = data[0], request.param
    files = ("--data", place / "train.jsonl", "--held-out", place / "held-out.jsonl", "--features", place / "features", "--threads", "1")
    models = ("--target", TARGET, "--drafter", TEXT)
    how = ("--labels", "reference", "--batch", "8", "--learning-rate", "2e-3", "--steps", "12")
    massv_train("project", *models, *files, *how[2:], "--projector", kind, *(("--queries", "7") if kind == "resampler" else ()),
                "--out", place / f"{kind}-project")
    said = massv_train("tune", *models, *files, *how, "--from", place / f"{kind}-project", "--out", place / f"{kind}-tune", "--json")
    out = place / f"{kind}-drafter"
    words = massv_train("export", "--run", place / f"{kind}-tune", *models, "--out", out, "--dtype", "f32")
    assert f"of kind {kind}" in words and "transformers does not open it" in words
    return kind, out, json.loads(said)["held_out_loss"]


def test_config_says_which(drafter):
    kind, out, _ = drafter
    said = json.loads((out / "config.json").read_text())["massv"]
    assert said == {"projector": kind} | ({"queries": 7} if kind == "resampler" else {})
    assert "kind massv" in massv("inspect", TARGET, "--with", out).stdout
    told = json.loads(massv("inspect", out, "--json").stdout)["vision"]
    assert told["projector"] == kind and told["picture_tokens"] == (7 if kind == "resampler" else 0)


def test_serving_computes_what_was_trained(drafter, data, tmp_path):
    """The mean loss of the held-out answer, from the scores that massv dump has along it."""
    kind, out, loss = drafter
    record = data[1][-1]
    raw = ("<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n<|im_start|>user\n<|vision_start|><|image_pad|><|vision_end|>"
           f"{record['prompt']}<|im_end|>\n<|im_start|>assistant\n{record['reference']}<|im_end|>")
    done = massv("dump", "--model", out, "--raw-prompt", "--prompt", raw, "--image", record["image"], "--out", tmp_path / "rows.safetensors",
                 "--activations", "auto")  # as training saw the picture
    assert done.returncode == 0, done.stderr
    rows = read_tensors(tmp_path / "rows.safetensors")
    assert rows["image_features.0"].shape == (KINDS[kind], 128)
    ids, scores = rows["input_ids"], rows["logits"].astype(float)
    assert (ids == json.loads((out / "config.json").read_text())["image_token_id"]).sum() == KINDS[kind]
    begin = 1 + max(i for i in range(len(ids)) if ids[i] == ids[0]) + 2  # behind <|im_start|>assistant\n
    chosen = scores - numpy.log(numpy.exp(scores - scores.max(axis=1, keepdims=True)).sum(axis=1, keepdims=True)) - scores.max(axis=1, keepdims=True)
    losses = [-chosen[i - 1][ids[i]] for i in range(begin, len(ids))]
    assert numpy.mean(losses) == pytest.approx(loss, rel=2e-5)


@pytest.mark.parametrize("ranks", [1, 2])
def test_no_token_changes_and_drafts_stand(drafter, data, ranks):
    _, out, _ = drafter
    asked = [dict(prompt=r["prompt"], pictures=[r["image"]], max_tokens=64) for r in data[1][:3]]
    asked.append(dict(prompt="Compare the two pictures.", pictures=[data[1][0]["image"], data[1][5]["image"]], max_tokens=40, ignore_eos=True))
    asked.append(dict(prompt="Name the days of the week.", max_tokens=32, ignore_eos=True))
    with service(TARGET, "--drafter", out, "--ranks", ranks, "--threads", "1") as client:
        plain = [client.ask(k=0, **p) for p in asked]
        accepted = 0
        for k in (1, 3, 8, "auto"):
            for words, before in zip(asked, plain):
                ids, text, finished = client.ask(k=k, **words)
                assert ids == before[0] and text == before[1], (words, k)
                assert not finished.speculation.inactive
                accepted += finished.speculation.accepted
        assert accepted > 100


def test_a_checkpoint_that_contradicts_itself_is_named(drafter, tmp_path):
    kind, out, _ = drafter
    def refused(said, change=None, drop=None):
        copy = tmp_path / str(len(list(tmp_path.iterdir())))
        shutil.copytree(out, copy)
        config = json.loads((copy / "config.json").read_text())
        (copy / "config.json").write_text(json.dumps(config | (change or {})))
        if drop:
            write_tensors(copy / "model.safetensors", {n: t for n, t in tensor_bytes(out).items() if n != drop})
        done = massv("generate", "--target", TARGET, "--drafter", copy, "--prompt", "x", "--max-tokens", "1")
        assert done.returncode != 0 and said in done.stderr, done.stderr
    refused('massv.projector is "linaer"; it must be one of mlp, linear, resampler, plain', {"massv": {"projector": "linaer"}})
    refused("massv.queries must be an integer from 1 to 4096", {"massv": {"projector": "resampler", "queries": -1}})
    refused("tensor visual.merger", {"massv": None})
    refused("projector.norm.weight is missing", drop="projector.norm.weight")
    if kind == "resampler":
        refused("projector.queries is (7, 128) where the configuration wants (8, 128)", {"massv": {"projector": "resampler", "queries": 8}})


def test_a_run_keeps_the_kind_of_its_drafter(drafter, data, tmp_path):
    kind, out, _ = drafter
    words = ("--target", TARGET, "--drafter", out, "--data", data[0] / "train.jsonl", "--features", data[0] / "features", "--threads", "1",
             "--steps", "1", "--batch", "2")
    massv_train("tune", *words, "--labels", "reference", "--train", "projector", "--out", tmp_path / "run")
    assert json.loads((tmp_path / "run" / "settings.json").read_text())["projector"] == kind
    other = subprocess.run([str(w) for w in (BIN / "massv-train", "project", *words, "--projector", "mlp", "--out", tmp_path / "other")], cwd=ROOT,
                           env=ENVIRONMENT, timeout=120, capture_output=True, text=True, check=False)
    assert other.returncode == 1 and f"has a projector of kind {kind} already; --projector mlp begins with a text model" in other.stderr


@pytest.mark.parametrize("kind", KINDS)
def test_another_family_has_them_too(kind, data, tmp_path):
    """Gemma3, whose pictures' tokens see each other: the drafter has fewer of them in its own prompt."""
    models = ("--target", GOLDEN / "gemma3-tiny", "--drafter", GOLDEN / "gemma3-text-tiny")
    massv_train("project", *models, "--data", data[0] / "train.jsonl", "--features", tmp_path / "features", "--threads", "1", "--steps", "2", "--batch", "4",
                "--projector", kind, "--out", tmp_path / "run")
    massv_train("export", "--run", tmp_path / "run", *models, "--out", tmp_path / "drafter")
    asked = [dict(prompt="Which one is red?", pictures=[GOLDEN / "images/palette.png", GOLDEN / "images/wide.png"], max_tokens=40, ignore_eos=True),
             dict(prompt="Only words.", max_tokens=24, ignore_eos=True)]
    with service(GOLDEN / "gemma3-tiny", "--drafter", tmp_path / "drafter", "--threads", "1") as client:
        for words in asked:
            plain = client.ask(k=0, **words)
            ids, text, finished = client.ask(k=5, **words)
            assert ids == plain[0] and text == plain[1] and finished.speculation.drafted > 0 and not finished.speculation.inactive
