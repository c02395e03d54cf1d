"""Parity with Hugging Face transformers: massv dump against tests/golden, through the real program."""
import json
import os

import numpy
import pytest

from harness import GOLDEN, gemma_pan_and_scan, massv, read_tensors

VLM = "qwen25vl-tiny"
GEMMA = "gemma3-tiny"
# Other layouts of the same weights, rounded to bf16.
VARIANTS = {f"{VLM}-bf16": VLM, f"{VLM}-resaved": VLM, f"{VLM}-names": VLM, f"{GEMMA}-bf16": GEMMA, f"{GEMMA}-resaved": GEMMA}
EXACT = {"input_ids", "position_ids", "grid_thw", "greedy_ids"}
TOLERANCE = {"pixel_values": 1e-6, "image_features": 1e-4, "logits": 2e-4}  # tests/golden: f32 against f32, see "Tolerances" there


def cases(model):
    return json.loads((GOLDEN / model / "golden" / "cases.json").read_text())["cases"]


def dump(model, case, path, ranks=1, *words):
    pictures = [f"--image={GOLDEN / 'images' / name}" for name in case["images"]]
    done = massv("dump", "--model", GOLDEN / model, "--raw-prompt", "--prompt", case["prompt"], *pictures, "--ranks", ranks, *words, "--out",
                 path)
    assert done.returncode == 0, done.stderr
    return read_tensors(path)


def compare(ours, golden, what):
    for name in sorted(ours):
        stem = name.partition(".")[0]
        if stem in EXACT and stem in what:
            assert numpy.array_equal(ours[name], golden[name]), name
        elif stem in what:
            assert ours[name].shape == golden[name].shape, name
            assert numpy.abs(ours[name] - golden[name]).max() <= TOLERANCE[stem], name
    missing = [n for n in golden if n.partition(".")[0] in what and n not in ours]
    assert not missing


@pytest.mark.parametrize("model,case", [pytest.param(m, c, id=f"{m}-{c['name']}")
                                        for m in (VLM, "massv-tiny", "qwen2-tiny", GEMMA, "gemma3-text-tiny")
                                        for c in cases(m)])
def test_dump_equals_transformers_in_f32(model, case, tmp_path):
    golden = read_tensors(GOLDEN / model / "golden" / case["file"])
    ours = dump(model, case, tmp_path / "out.safetensors")
    compare(ours, golden, EXACT | set(TOLERANCE))


@pytest.mark.parametrize("model,case", [pytest.param(m, c, id=f"{m}-{c['name']}") for m, of in VARIANTS.items() for c in cases(of)])
def test_dump_of_bf16_weights_equals_transformers(model, case, tmp_path):
    golden = read_tensors(GOLDEN / VARIANTS[model] / "golden" / case["file"])
    ours = dump(model, case, tmp_path / "out.safetensors")
    compare(ours, golden, {"input_ids", "position_ids", "grid_thw", "pixel_values"})
    expected = golden["logits_bf16_weights"]  # of the last positions
    assert numpy.abs(ours["logits"][-len(expected):] - expected).max() <= TOLERANCE["logits"]


@pytest.mark.parametrize("case", json.loads((GOLDEN / "pan_and_scan/cases.json").read_text())["prompts"], ids=lambda c: c["name"])
def test_dump_of_pictures_in_crops_equals_transformers(case, tmp_path):
    on, off = gemma_pan_and_scan(tmp_path / "on"), gemma_pan_and_scan(tmp_path / "off", do_pan_and_scan=False)

    def run(folder, *words, name="out.safetensors"):
        pictures = [f"--image={GOLDEN / 'images' / picture}" for picture in case["images"]]
        done = massv("dump", "--model", folder, "--raw-prompt", "--prompt", case["prompt"], *pictures, *words, "--out", tmp_path / name)
        assert done.returncode == 0, done.stderr
        return read_tensors(tmp_path / name)

    ours = run(on)
    assert ours["input_ids"].tolist() == case["ids"] and ours["greedy_ids"].tolist() == case["greedy_ids"]
    assert numpy.abs(ours["logits"][-1] - case["logits"]).max() <= TOLERANCE["logits"]
    views = sum(name.startswith("pixel_values.") for name in ours)
    assert views == case["ids"].count(830) > len(case["images"])  # 830: <start_of_image>
    told, same, without = run(off, "--pan-and-scan", "on"), run(on, "--ranks", "2"), run(on, "--pan-and-scan", "off")
    assert all(numpy.array_equal(told[name], ours[name]) for name in ours)
    assert numpy.array_equal(same["greedy_ids"], ours["greedy_ids"])
    assert sum(name.startswith("pixel_values.") for name in without) == len(case["images"])
    assert numpy.array_equal(without["input_ids"], run(off)["input_ids"]) and len(without["input_ids"]) < len(ours["input_ids"])


@pytest.mark.parametrize("ranks", (2, 4))  # 4: more ranks than key/value heads, which are then replicated
@pytest.mark.parametrize("model,name", [(VLM, "two-images"), (VLM, "two-turns"), (VLM, "text-only"), ("massv-tiny", "picture"),
                                        ("qwen2-tiny", "unicode"), (GEMMA, "two-images"), ("gemma3-text-tiny", "long")])
def test_dump_on_ranks_equals_one_rank(model, name, ranks, tmp_path):
    case = next(c for c in cases(model) if c["name"] == name)
    golden = read_tensors(GOLDEN / model / "golden" / case["file"])
    one = dump(model, case, tmp_path / "one.safetensors")
    many = dump(model, case, tmp_path / "many.safetensors", ranks)
    compare(many, golden, EXACT | set(TOLERANCE))
    assert numpy.abs(one["logits"] - many["logits"]).max() <= TOLERANCE["logits"]


@pytest.mark.parametrize("model", (VLM, GEMMA))
def test_a_conversation_is_rendered_as_the_chat_template_does(model, tmp_path):
    case = next(c for c in cases(model) if len(c["turns"]) == 1 and len(c["images"]) == 1)
    turn = case["turns"][0]
    done = massv("dump", "--model", GOLDEN / model, "--prompt", turn["text"], "--image", GOLDEN / "images" / turn["images"][0], "--out",
                 tmp_path / "out.safetensors")
    assert done.returncode == 0, done.stderr
    golden = read_tensors(GOLDEN / model / "golden" / case["file"])
    assert numpy.array_equal(read_tensors(tmp_path / "out.safetensors")["input_ids"], golden["input_ids"])


@pytest.mark.parametrize("model", (VLM, GEMMA))
def test_an_answer_stands_behind_the_prompt(model, tmp_path):
    case = next(c for c in cases(model) if c["name"] == "two-images")
    plain = dump(model, case, tmp_path / "plain.safetensors")
    n, greedy = len(plain["input_ids"]), plain["greedy_ids"].tolist()
    said = dump(model, case, tmp_path / "said.safetensors", 1, "--answer-ids", ",".join(map(str, greedy[:20])))
    assert said["input_ids"].tolist() == plain["input_ids"].tolist() + greedy[:20]
    assert numpy.array_equal(said["logits"][:n], plain["logits"]) and said["logits"][n - 1:].argmax(axis=1).tolist() == greedy[:21]
    assert said["greedy_ids"][:28].tolist() == greedy[20:]


@pytest.mark.parametrize("ids", ("", "1,,2", "1,x", "-1"))
def test_wrong_answer_ids_end_with_2(ids, tmp_path):
    done = massv("dump", "--model", GOLDEN / VLM, "--prompt", "x", "--answer-ids", ids, "--out", tmp_path / "out.safetensors")
    assert done.returncode == 2 and "--answer-ids" in done.stderr and "a whole number from 0" in done.stderr, done.stderr


@pytest.mark.parametrize("arguments,words", [
    (["--model", "nowhere", "--prompt", "x"], "nowhere"),
    (["--model", GOLDEN / VLM, "--prompt", "x", "--image", "nowhere.png"], "nowhere.png"),
    (["--model", GOLDEN / VLM, "--prompt", "x", "--image", GOLDEN / VLM / "config.json"], "config.json"),
    (["--model", GOLDEN / "qwen2-tiny", "--prompt", "x", "--image", GOLDEN / "images" / "deep.png"], "deep.png"),
    (["--model", GOLDEN / VLM, "--prompt", "<|image_pad|>", "--raw-prompt"], "picture"),
    (["--model", GOLDEN / VLM, "--prompt", "x" * 70000, "--raw-prompt"], "at most"),
    (["--model", GOLDEN / VLM, "--prompt", "x", "--answer-ids", "5,672"], "id 672 of the answer, but the vocabulary of qwen25vl-tiny is 672"),
    (["--model", GOLDEN / VLM, "--prompt", "x", "--answer-ids", ",".join(4096 * ["1"])], "holds at most 4096"),
    (["--model", GOLDEN / VLM, "--prompt", "x", "--ranks", "3"], "3"),
    (["--model", GOLDEN / VLM, "--prompt", "x", "--pan-and-scan", "on"], "qwen25vl-tiny cannot pan and scan"),
    (["--model", GOLDEN / "gemma3-text-tiny", "--prompt", "x", "--pan-and-scan", "on", "--ranks", "2"], "gemma3-text-tiny cannot pan and scan"),
    (["--model", GOLDEN / VLM, "--prompt", "x", "--image", GOLDEN / VLM / "config.json", "--ranks", "2"], "config.json"),
])
def test_bad_input_is_one_line(arguments, words, tmp_path):
    done = massv("dump", *arguments, "--out", tmp_path / "out.safetensors")
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1 and done.stderr.startswith("massv dump: ") and words in done.stderr, done.stderr
    assert not (tmp_path / "out.safetensors").exists()


@pytest.mark.parametrize("ranks", (1, 2))
def test_an_unwritable_file_is_one_line(ranks, tmp_path):
    os.mkfifo(tmp_path / "pipe")
    for out in tmp_path / "none" / "out.safetensors", tmp_path, tmp_path / "pipe":
        done = massv("dump", "--model", GOLDEN / VLM, "--prompt", "x", "--ranks", ranks, "--out", out)
        assert done.returncode == 1 and done.stderr.startswith(f"massv dump: {out}: cannot be written: "), done.stderr
        assert done.stderr.count("\n") == 1
    assert (tmp_path / "pipe").is_fifo()
