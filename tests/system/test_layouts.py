"""Checkpoint folders as other programs leave them: massv dump must compute from them what it computes from the published layout."""
import json
import shutil
import struct

import numpy

from harness import GOLDEN, massv, read_tensors

VLM, TEXT = GOLDEN / "qwen25vl-tiny", GOLDEN / "qwen2-tiny"


def case_of(model, name):
    return next(c for c in json.loads((model / "golden" / "cases.json").read_text())["cases"] if c["name"] == name)


def dump(model, case, path):
    pictures = [f"--image={GOLDEN / 'images' / name}" for name in case["images"]]
    done = massv("dump", "--model", model, "--raw-prompt", "--prompt", case["prompt"], *pictures, "--out", path)
    assert done.returncode == 0, done.stderr
    return read_tensors(path)


def change(path, **fields):
    path.write_text(json.dumps(json.loads(path.read_text()) | fields))


def test_a_processor_saved_by_transformers_5(tmp_path):
    """It writes processor_config.json in place of preprocessor_config.json, chat_template.jinja, and a template in tokenizer.json."""
    folder, case = tmp_path / "resaved", case_of(VLM, "two-images")
    shutil.copytree(GOLDEN / "qwen25vl-tiny-resaved", folder)
    old = json.loads((folder / "preprocessor_config.json").read_text())
    settings = {"do_resize": True, "do_rescale": True, "do_normalize": True, "resample": 3, "rescale_factor": 1 / 255, "patch_size": 14,
                "merge_size": 2, "temporal_patch_size": 2, "image_mean": old["image_mean"], "image_std": old["image_std"],
                "size": {"longest_edge": old["max_pixels"], "shortest_edge": old["min_pixels"]}}
    (folder / "processor_config.json").write_text(json.dumps({"image_processor": settings, "video_processor": {}}))
    (folder / "preprocessor_config.json").unlink()
    (folder / "chat_template.jinja").write_text(json.loads((folder / "chat_template.json").read_text())["chat_template"])
    (folder / "chat_template.json").unlink()
    change(folder / "tokenizer.json", post_processor={"type": "TemplateProcessing", "single": [{"Sequence": {"id": "A", "type_id": 0}}],
                                                      "pair": [], "special_tokens": {}})
    ours, golden = dump(folder, case, tmp_path / "out.safetensors"), read_tensors(VLM / "golden" / case["file"])
    for name in ("input_ids", "position_ids", "grid_thw.0", "grid_thw.1"):
        assert numpy.array_equal(ours[name], golden[name]), name
    for name in ("pixel_values.0", "pixel_values.1"):
        assert numpy.abs(ours[name] - golden[name]).max() <= 1e-6, name
    expected = golden["logits_bf16_weights"]  # of the last positions
    assert numpy.abs(ours["logits"][-len(expected):] - expected).max() <= 2e-4


def add_head(path, turn):
    """Gives the file an lm_head.weight: the rows of the embedding table, turned by `turn`."""
    data = path.read_bytes()
    size = struct.unpack("<Q", data[:8])[0]
    head, body = json.loads(data[8:8 + size]), data[8 + size:]
    table = head["model.embed_tokens.weight"]
    begin, end = table["data_offsets"]
    rows = numpy.frombuffer(body[begin:end], "<f4").reshape(table["shape"])
    head["lm_head.weight"] = table | {"data_offsets": [len(body), len(body) + end - begin]}
    text = json.dumps(head).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + body + numpy.roll(rows, turn, 0).tobytes())


def test_a_tied_model_whose_file_has_another_head_uses_it(tmp_path):
    case = case_of(TEXT, "short")
    golden = read_tensors(TEXT / "golden" / case["file"])["logits"]
    for turn in (0, 1):
        folder = tmp_path / str(turn)
        shutil.copytree(TEXT, folder)
        add_head(folder / "model.safetensors", turn)
        ours = dump(folder, case, tmp_path / "out.safetensors")["logits"]
        assert numpy.abs(ours - numpy.roll(golden, turn, 1)).max() <= 2e-4, turn
