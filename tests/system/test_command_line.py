"""The command line: wrong usage ends with 2, a failure with 1 and one line on stderr, help with an example."""
import json
import os
import shlex
import shutil
import socket
import subprocess

import pytest

from harness import BIN, ENVIRONMENT, GOLDEN, MODELS, gemma_pan_and_scan, massv, read_tensors

TINY = GOLDEN / "qwen25vl-tiny"
COMMANDS = ["up", "generate", "chat", "top", "dump", "inspect", "bench kernels", "bench step", "bench collectives", "bench serve"]


HELPFUL = ["massv", *(f"massv {command}" for command in ("bench", "eval", *COMMANDS)), "massv-coordinator", "massv-worker", "massv-train",
           *(f"massv-train {command}" for command in ("project", "tune", "distill", "export"))]


def example(command):
    """The last lines of the command's help, as a shell reads them."""
    words = command.split()
    done = subprocess.run([BIN / words[0], *words[1:], "--help"], env=ENVIRONMENT, timeout=60, capture_output=True, text=True, check=True)
    assert f"Usage: {command}" in done.stdout
    return done.stdout.partition("\nExample:\n")[2].strip()


@pytest.mark.parametrize("command", HELPFUL)
def test_every_help_has_an_example_that_can_be_pasted(command):
    lines = example(command).replace("\\\n", " ").splitlines()
    assert len(lines) == 1, f"one command: help breaks long lines without asking: {lines}"
    assert command in " ".join(shlex.split(lines[0]))


@pytest.mark.parametrize("command", ["massv dump", "massv inspect"])
def test_the_example_works_as_it_stands(command, tmp_path):
    (tmp_path / "models").symlink_to(MODELS)
    done = subprocess.run(["bash", "-c", example(command)], cwd=tmp_path, env=dict(ENVIRONMENT, PATH=f"{BIN}:{os.environ['PATH']}"),
                          timeout=120, capture_output=True, text=True, check=False)
    assert done.returncode == 0 and done.stderr == "", done.stderr
    assert "kind massv" in done.stdout if command == "massv inspect" else read_tensors(tmp_path / "dump.safetensors")


def test_help_lists_the_commands():
    done = massv("--help")
    assert done.returncode == 0
    for command in ("up", "generate", "chat", "top", "dump", "inspect", "bench"):
        assert f"\n  {command} " in done.stdout


def test_all_programs_are_of_one_version():
    said = [subprocess.run([BIN / program, "--version"], env=ENVIRONMENT, timeout=60, capture_output=True, text=True, check=True).stdout
            for program in ("massv", "massv-coordinator", "massv-worker", "massv-train")]
    assert len({line.split()[1] for line in said}) == 1 and said[2].startswith("massv-worker "), said


@pytest.mark.parametrize("arguments", [
    [], ["fly"], ["--fly"], ["up"], ["up", "--target"], ["up", "--target", TINY, "--metrics", ":1"], ["up", "--target", TINY, "--ranks", "0"],
    ["up", "--target", TINY, "--draft-tokens", "17"], ["up", "--target", TINY, "--draft-tokens", "many"],
    ["up", "--target", TINY, "--device", "tpu"], ["up", "--target", TINY, "extra"], ["generate"], ["generate", "--prompt", "x"],
    ["generate", "--address", "a", "--target", TINY, "--prompt", "x"], ["generate", "--address", "a"],
    ["generate", "--address", "a", "--prompt", "x", "--ranks", "2"], ["generate", "--address", "a", "--prompt", "x", "--max-tokens", "0"],
    ["generate", "--address", "a", "--prompt", "x", "--temperature", "warm"], ["generate", "--address", "a", "--prompt", "x", "--fly"],
    ["bench", "serve", "--concurrency", "1"], ["bench", "serve", "--address", "a:1"],
    ["bench", "serve", "--address", "a:1", "--concurrency", "1", "--request-rate", "1"],
    ["bench", "serve", "--address", "a:1", "--concurrency", "1", "ttft:1"],
    ["bench", "serve", "--address", "a:1", "--concurrency", "1", "--goodput", "ttft:1", "first:1"],
    ["top"], ["top", "--address", "a:1", "--interval", "0"], ["chat"], ["chat", "--address", "a:1", "word"], ["chat", "--address", "a:1", "--max-tokens", "0"], ["dump", "--model", TINY], ["dump", "--model", TINY, "--prompt", "x", "--out", "o", "--activations", "f64"],
    ["dump", "--model", TINY, "--prompt", "x", "--out", "o", "--ranks", "two"], ["inspect"], ["inspect", TINY, TINY], ["bench"],
    ["bench", "fly"], ["bench", "step", "--fly"], ["up", "--target", TINY, "--listen", "50051"], ["up", "--target", TINY, "--tls-key", "key"],
    ["up", "--target", TINY, "--tls-client-ca", "ca"], ["up", "--target", TINY, "--worker-tls-client-ca", "ca"],
    ["up", "--target", TINY, "--listen", "localhost:99999"],
    ["generate", "--address", "nowhere", "--prompt", "x"], ["generate", "--address", "a:1", "--prompt", "a\udcff"],
    ["generate", "--address", "a:1", "--prompt", "x", "--stop", ""], ["generate", "--address", "a:1", "--prompt", "x", "--stop", "\udcc3"],
    ["dump", "--model", TINY, "--out", "o", "--prompt", "\udcc3"]], ids=lambda a: " ".join(str(x).rpartition("/")[2] for x in a) or "nothing")
def test_wrong_usage_ends_with_2(arguments):
    done = massv(*arguments)
    assert done.returncode == 2 and done.stdout == "" and "--help" in done.stderr, done.stderr


@pytest.mark.parametrize("program,arguments", [
    ("massv-worker", ["--target", TINY, "--coordinator", "nowhere"]),
    ("massv-coordinator", ["--target", TINY, "--listen", "nowhere", "--worker-listen", "127.0.0.1:0"]),
    ("massv-coordinator", ["--target", TINY, "--listen", "127.0.0.1:0", "--worker-listen", "127.0.0.1:65536"]),
    ("massv-coordinator", ["--target", TINY, "--listen", "127.0.0.1:0", "--worker-listen", "127.0.0.1:0", "--metrics", "nonsense"])])
def test_what_is_no_address_is_refused_before_a_model_is_read(program, arguments):
    done = subprocess.run([BIN / program, *arguments], env=ENVIRONMENT, timeout=20, capture_output=True, text=True, check=False)
    assert done.returncode == 2 and "not an address; right are host:port" in done.stderr, done.stderr


@pytest.mark.parametrize("arguments", [["inspect", TINY], ["inspect", TINY, "--json"], ["bench", "kernels", "--quick"],
                                       ["generate", "--target", TINY, "--prompt", "x", "--max-tokens", "9"],
                                       ["generate", "--target", TINY, "--prompt", "x", "--max-tokens", "9", "--json"]],
                         ids=lambda a: " ".join(a[:1] + [str(x) for x in a[-1:]]))
def test_what_cannot_be_printed_is_a_failure(arguments):
    for out in "/dev/full", None:
        done = subprocess.run(["bash", "-c", f'"$@" >{out or "&-"}', "bash", BIN / "massv", *arguments], env=ENVIRONMENT, timeout=120,
                              capture_output=True, text=True, check=False)
        assert done.returncode == 1 and "standard output" in done.stderr and done.stderr.count("\n") == 1, (out, done.stderr)


@pytest.mark.parametrize("text, words", (("", "--stop: is empty"), ("a\udcc3", "--stop: UTF-8 is wanted, but byte 1 is 0xc3")))
def test_a_stop_text_that_is_none_is_named_by_its_flag(text, words):
    assert words in massv("generate", "--address", "a:1", "--prompt", "x", "--stop", text).stderr


@pytest.mark.parametrize("command", ("up", "generate", "chat", "bench serve"))
def test_what_starts_its_ranks_itself_is_no_command_of_the_ranks(command):
    done = subprocess.run([BIN / "massv-mpi", *command.split(), "--target", TINY], env=ENVIRONMENT, timeout=60, capture_output=True, text=True, check=False)
    assert done.returncode == 2 and done.stderr == f"massv-mpi: massv {command}, not massv-mpi {command}, is right: it starts what it needs itself\n"


def failure(*arguments, **rest):
    """The one line on stderr of a command that fails."""
    done = massv(*arguments, **rest)
    assert done.returncode == 1 and done.stdout == "", (done.returncode, done.stdout, done.stderr)
    assert done.stderr.count("\n") == 1 and done.stderr.startswith("massv "), done.stderr
    return done.stderr


def test_nobody_at_the_address():
    words = failure("generate", "--address", "127.0.0.1:9", "--prompt", "x")
    assert "127.0.0.1:9: UNAVAILABLE" in words and "`massv up --target DIR` starts one" in words


def test_a_picture_that_is_not_there():
    assert "nowhere.png" in failure("generate", "--address", "127.0.0.1:9", "--prompt", "x", "--image", "nowhere.png")


def test_an_empty_picture(tmp_path):
    (tmp_path / "empty.png").write_bytes(b"")
    assert "empty.png: is empty" in failure("generate", "--address", "127.0.0.1:9", "--prompt", "x", "--image", tmp_path / "empty.png")


def test_up_with_a_host_that_cannot_be_reached():
    line = failure("up", "--target", TINY, "--ranks", "2", "--hosts", "127.0.0.1:1,192.0.2.1:1", "--listen", "127.0.0.1:0")
    assert "192.0.2.1" in line and "ORTE" not in line, line


def test_up_without_a_gpu_says_so():
    assert "--device cpu" in failure("up", "--target", TINY, "--device", "cuda")


def test_up_on_a_port_in_use():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        address = "127.0.0.1:%d" % taken.getsockname()[1]
        assert address in failure("up", "--target", TINY, "--listen", address)


def test_up_with_a_model_that_is_not_there():
    assert "nowhere" in failure("up", "--target", "nowhere", "--listen", "127.0.0.1:0")


def test_up_with_ranks_that_cannot_hold_the_model():
    assert "3" in failure("up", "--target", TINY, "--ranks", "3", "--listen", "127.0.0.1:0")


def copy(model, folder, **replaced):
    """A checkpoint of links to model's files, some of them replaced by a function of their text, or left out (None)."""
    folder.mkdir()
    for file in model.iterdir():
        change = replaced.get(file.name.replace(".", "_").replace("-", "_"), file)
        if change is file:
            if file.is_file():
                os.symlink(file, folder / file.name)
        elif change:
            (folder / file.name).write_text(change(file.read_text()))
    return folder


def other_tokenizer(text):
    """Two ids swapped."""
    tokenizer = json.loads(text)
    words = tokenizer["model"]["vocab"]
    a, b = list(words)[300:302]
    words[a], words[b] = words[b], words[a]
    return json.dumps(tokenizer)


def test_up_with_a_drafter_of_another_tokenizer(tmp_path):
    drafter = copy(GOLDEN / "qwen2-tiny", tmp_path / "other", tokenizer_json=other_tokenizer)
    line = failure("up", "--target", TINY, "--drafter", drafter, "--listen", "127.0.0.1:0")
    assert "token" in line and "other" in line


def test_up_with_a_missing_shard(tmp_path):
    target = copy(TINY, tmp_path / "target", model_00002_of_00002_safetensors=None)
    assert "model-00002-of-00002.safetensors" in failure("up", "--target", target, "--listen", "127.0.0.1:0")


def broken_weights(data):
    """The same file with NaN for every number."""
    begin = 8 + int.from_bytes(data[:8], "little")
    return data[:begin] + b"\xff\xff\xff\x7f" * ((len(data) - begin) // 4)


def test_up_with_a_model_that_computes_nonsense(tmp_path):
    target = copy(TINY, tmp_path / "target", model_00002_of_00002_safetensors=None)
    (target / "model-00002-of-00002.safetensors").write_bytes(broken_weights((TINY / "model-00002-of-00002.safetensors").read_bytes()))
    assert "the warm-up generation failed: the target's scores" in failure("up", "--target", target, "--listen", "127.0.0.1:0")


def config_with(**fields):
    return lambda text: json.dumps({**json.loads(text), **fields})


@pytest.mark.parametrize("replaced,words", [
    (dict(config_json=config_with(intermediate_size=464)), "mlp.gate_proj.weight is (232, 128) where the configuration wants (464, 128)"),
    (dict(config_json=config_with(num_hidden_layers=4)), "model.layers.3.self_attn.q_proj.weight is missing"),
    (dict(config_json=config_with(vocab_size=700)), "model.embed_tokens.weight is (672, 128)"),
    (dict(config_json=config_with(model_type="gemma9")), "model_type gemma9 is not supported"),
    (dict(tokenizer_json=None), "tokenizer.json: No such file"),
    (dict(model_00001_of_00002_safetensors=None), "model-00001-of-00002.safetensors: No such file"),
    (dict(model_safetensors_index_json=None), "has neither model.safetensors nor model.safetensors.index.json"),
    (dict(generation_config_json=config_with(eos_token_id=99999)), "eos_token_id must be an integer from 0 to 671")])
def test_inspect_says_what_is_wrong_with_a_checkpoint(replaced, words, tmp_path):
    line = failure("inspect", copy(TINY, tmp_path / "target", **replaced))
    assert words in line, line


def test_inspect_knows_what_git_leaves_of_a_large_file(tmp_path):
    target = copy(TINY, tmp_path / "target", model_00001_of_00002_safetensors=None)
    (target / "model-00001-of-00002.safetensors").write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0123\nsize 1064544\n")
    assert "00001-of-00002.safetensors: a Git LFS pointer" in failure("inspect", target)


def test_massv_alone_misses_its_programs(tmp_path):
    shutil.copy(BIN / "massv", tmp_path / "massv")
    done = subprocess.run([tmp_path / "massv", "up", "--target", TINY], env=ENVIRONMENT, capture_output=True, text=True, timeout=60)
    assert done.returncode == 1 and "massv-coordinator" in done.stderr and done.stderr.count("\n") == 1


def test_inspect_says_what_a_checkpoint_is():
    done = massv("inspect", TINY, "--json")
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    config = json.loads((TINY / "config.json").read_text())
    assert told["family"] == config["model_type"] and told["dtype"] == "F32"
    assert told["language"]["local_layers"] == 0 and told["vision"]["picture_tokens"] == 0
    assert told["language"]["layers"] == config["num_hidden_layers"] and told["language"]["vocabulary"] == config["vocab_size"]
    assert [r["ranks"] for r in told["ranks"]] == [1, 2, 4, 8]
    possible = {r["ranks"]: r for r in told["ranks"] if r["possible"]}
    assert set(possible) == {1, 2, 4} and "reason" in told["ranks"][3]
    assert possible[1]["weight_bytes_per_rank"] > possible[2]["weight_bytes_per_rank"] > possible[4]["weight_bytes_per_rank"]


def test_inspect_tells_local_layers_and_the_size_of_pictures(tmp_path):
    told = json.loads(massv("inspect", GOLDEN / "gemma3-tiny", "--json").stdout)
    assert told["language"]["local_layers"] == 6 and told["language"]["window"] == 20
    assert told["vision"]["picture_tokens"] == 16 and [r["possible"] for r in told["ranks"]] == [True] * 4
    layers = told["ranks"][0]  # one global layer keeps all of a context, the six local ones a window and a step's rows
    context = told["language"]["max_positions"]
    assert layers["cache_bytes_of_a_context"] < layers["cache_bytes_per_position"] / 7 * context * 1.1
    text = massv("inspect", GOLDEN / "gemma3-tiny").stdout
    assert "6 of the layers see the last 20 positions" in text and "16 tokens a picture;" in text and told["vision"]["most_crops"] == 0
    crops = gemma_pan_and_scan(tmp_path / "crops")
    assert "16 tokens a picture, and each of up to 4 crops of it;" in massv("inspect", crops).stdout
    assert json.loads(massv("inspect", crops, "--json").stdout)["vision"]["most_crops"] == 4


@pytest.mark.parametrize("target,drafter,kind", [
    (GOLDEN / "gemma3-tiny", GOLDEN / "gemma3-text-tiny", "text"), (GOLDEN / "gemma3-tiny", GOLDEN / "gemma3-tiny-bf16", "vision"),
    (GOLDEN / "gemma3-tiny-bf16", GOLDEN / "gemma3-tiny-resaved", "massv"),  # the same tower under other names
    (TINY, GOLDEN / "qwen2-tiny", "text"), (TINY, GOLDEN / "massv-tiny", "massv"), (TINY, GOLDEN / "qwen25vl-tiny-bf16", "vision"),
    (MODELS / "scenes-large", MODELS / "scenes-drafter", "text"), (MODELS / "scenes-large", MODELS / "scenes-massv", "massv")])
def test_inspect_tells_the_kind_of_drafter(target, drafter, kind):
    told = json.loads(massv("inspect", target, "--with", drafter, "--json").stdout)["with"]
    assert told["compatible"] and told["kind"] == kind


def test_inspect_says_why_a_drafter_does_not_go(tmp_path):
    drafter = copy(GOLDEN / "qwen2-tiny", tmp_path / "other", tokenizer_json=other_tokenizer)
    told = json.loads(massv("inspect", TINY, "--with", drafter, "--json").stdout)["with"]
    assert not told["compatible"] and told["reason"]
    text = massv("inspect", TINY, "--with", drafter)
    assert text.returncode == 0 and ": no: " in text.stdout


def test_inspect_and_up_agree_on_what_may_draft(tmp_path):
    """One list of reasons: a drafter that reads pictures differently is refused by both, one with a tower of its own by none."""
    other = copy(GOLDEN / "massv-tiny", tmp_path / "other", preprocessor_config_json=config_with(image_mean=[0.5, 0.5, 0.5]))
    told = json.loads(massv("inspect", TINY, "--with", other, "--json").stdout)["with"]
    assert not told["compatible"] and "image_mean" in told["reason"]
    assert told["reason"] in failure("up", "--target", TINY, "--drafter", other, "--listen", "127.0.0.1:0")
    assert json.loads(massv("inspect", GOLDEN / "qwen2-tiny", "--with", TINY, "--json").stdout)["with"]["compatible"]


def test_inspect_of_something_else_is_one_line(tmp_path):
    assert str(tmp_path) in failure("inspect", tmp_path)
