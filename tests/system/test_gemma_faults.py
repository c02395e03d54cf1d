"""Gemma3 checkpoints and questions that are wrong: massv dump says in one line what is, and nothing crashes. Numbers that contradict each other within
a configuration file are tests/model/test_config_gemma.c's."""
import json
import shutil
import struct
import zlib

import pytest

from harness import GOLDEN, massv, tensor_bytes, write_tensors

GEMMA, TEXT = GOLDEN / "gemma3-tiny", GOLDEN / "gemma3-text-tiny"
WIDE = f"--image={GOLDEN / 'images/wide.png'}"
RAW = ("--raw-prompt", "--prompt", "<bos><start_of_turn>user\n<start_of_image>What?<end_of_turn>\n<start_of_turn>model\n")
ASKED = ("--prompt", "What?")


def config(**fields):
    """Fields of config.json; text__x is x of text_config, vision__x of vision_config."""
    def change(folder):
        file = folder / "config.json"
        root = json.loads(file.read_text())
        for name, value in fields.items():
            part, _, rest = name.partition("__")
            (root[f"{part}_config"] if rest else root)[rest or name] = value
        file.write_text(json.dumps(root))
    return change


def tensors(name, change):
    """change(dtype, shape, data) of the tensor whose name ends so; None removes it."""
    def rewrite(folder):
        all_of = tensor_bytes(folder)
        full = next(n for n in all_of if n.endswith(name))
        found = change(*all_of.pop(full))
        for old in folder.glob("model*"):
            old.unlink()
        write_tensors(folder / "model.safetensors", all_of | ({full: found} if found else {}))
    return rewrite


def without(name):
    return tensors(name, lambda *_: None)


def shaped(name, *shape):
    return tensors(name, lambda dtype, _, data: (dtype, list(shape), data))


def filled(name, value):
    return tensors(name, lambda dtype, shape, data: (dtype, shape, struct.pack("<f", value) * (len(data) // 4)))


def token_gone(name):
    def change(folder):
        file = folder / "tokenizer.json"
        root = json.loads(file.read_text())
        root["added_tokens"] = [t for t in root["added_tokens"] if t["content"] != name]
        root["model"]["vocab"].pop(name, None)
        file.write_text(json.dumps(root))
    return change


def cut(name, size):
    def change(folder):
        (folder / name).write_bytes((folder / name).read_bytes()[:size])
    return change


def huge_png(folder):
    """600 million pixels, says its header."""
    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", 60000, 10000, 8, 2, 0, 0, 0))
    (folder / "huge.png").write_bytes(b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(bytes(1000))) + chunk(b"IEND", b""))


def nothing(_):
    pass


@pytest.mark.parametrize("change,arguments,words", [
    (config(text__head_dim=32), ASKED, "q_proj.weight is (128, 64) where the configuration wants (256, 64)"),
    (config(text__num_key_value_heads=8), ASKED, "k_proj.weight is (64, 64) where the configuration wants (128, 64)"),
    (config(text__num_hidden_layers=8), ASKED, "layers.7.self_attn.q_proj.weight is missing"),
    (config(text__vocab_size=1000), ASKED, "embed_tokens.weight is (896, 64) where the configuration wants (1000, 64)"),
    (config(vision__num_hidden_layers=4), (*ASKED, WIDE), "encoder.layers.3.layer_norm1.weight is missing"),
    (config(text__max_position_embeddings=64), (*ASKED, WIDE), "prompt and answer have 34 tokens; with the 48 of their continuation"),
    (config(image_token_index=831), (*ASKED, WIDE), "<image_soft_token> is id 832 in tokenizer.json, but config.json's image_token_index is 831"),
    (config(image_token_index=831), (*RAW, WIDE), "<image_soft_token> is id 832 in tokenizer.json, but config.json's image_token_index is 831"),
    (config(boi_token_index=5), (*RAW, WIDE), "<start_of_image> is id 830 in tokenizer.json, but config.json's boi_token_index is 5"),
    (without("layers.3.self_attn.q_norm.weight"), ASKED, "layers.3.self_attn.q_norm.weight is missing"),
    (without("layers.6.post_feedforward_layernorm.weight"), ASKED, "layers.6.post_feedforward_layernorm.weight is missing"),
    (without("post_layernorm.bias"), (*ASKED, WIDE), "vision tower: "),
    (without("mm_soft_emb_norm.weight"), (*ASKED, WIDE), "mm_soft_emb_norm.weight is missing"),
    (shaped("mm_input_projection_weight", 64, 48), (*ASKED, WIDE), "mm_input_projection_weight is (64, 48) where the configuration wants (48, 64)"),
    (shaped("layers.0.self_attn.q_norm.weight", 8, 2), ASKED, "q_norm.weight is (8, 2)"),
    (filled("layers.0.input_layernorm.weight", float("nan")), ASKED, "the scores of generated token 0 are not numbers"),
    (filled("mm_input_projection_weight", float("inf")), (*ASKED, WIDE), "the scores of generated token 0 are not numbers"),
    (token_gone("<start_of_image>"), (*RAW, WIDE), "tokenizer.json has no token <start_of_image>"),
    (token_gone("<image_soft_token>"), (*RAW, WIDE), "tokenizer.json has no token <image_soft_token>"),
    (token_gone("<end_of_image>"), (*ASKED, WIDE), "tokenizer.json has no token <end_of_image>"),
    (token_gone("<start_of_turn>"), ASKED, "tokenizer.json has no token <start_of_turn>"),
    (token_gone("<bos>"), ASKED, "tokenizer.json has no token <bos>"),
    (cut("tokenizer.json", 5000), ASKED, "tokenizer.json: line "),
    (cut("model-00002-of-00002.safetensors", 1000), ASKED, "does not fit into the file of 1000"),
    (nothing, RAW, "the prompt has 1 picture placeholder, the request 0 pictures"),
    (nothing, (*RAW, WIDE, WIDE), "the prompt has 1 picture placeholder, the request 2 pictures"),
    (nothing, ("--raw-prompt", "--prompt", "no picture", WIDE), "the prompt has 0 picture placeholders, the request 1 picture"),
    (nothing, (*ASKED, "--image=/"), "/: is a folder, not a picture file"),
    (huge_png, (*ASKED, "--image=FOLDER/huge.png"), "60000 x 10000 pixels; at most"),
    (config(text__max_position_embeddings=300), ("--prompt", "word " * 400), "tokens; with the 48 of their continuation"),
], ids=lambda value: value.replace(" ", "-")[:60] if isinstance(value, str) else "")
def test_what_is_wrong_is_said_in_one_line(change, arguments, words, tmp_path):
    folder = tmp_path / "gemma"
    shutil.copytree(GEMMA, folder, ignore=shutil.ignore_patterns("golden"))
    change(folder)
    arguments = [word.replace("FOLDER", str(folder)) for word in arguments]
    done = massv("dump", "--model", folder, *arguments, "--out", tmp_path / "out.safetensors")
    assert done.returncode == 1 and done.stdout == "", done.stderr
    assert done.stderr.count("\n") == 1 and done.stderr.startswith("massv dump: ") and words in done.stderr, done.stderr
    assert not (tmp_path / "out.safetensors").exists()


def test_a_text_model_of_gemma_sees_no_picture(tmp_path):
    done = massv("dump", "--model", TEXT, *ASKED, WIDE, "--out", tmp_path / "out.safetensors")
    assert done.returncode == 1 and "a text-only model cannot look at" in done.stderr and done.stderr.count("\n") == 1
