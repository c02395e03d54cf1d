"""massv-train project, tune, export: what is learned, what is stopped and goes on to the same bits, what is refused."""
import json
import os
import pathlib
import re
import shutil
import signal
import subprocess
import time

import pytest

from harness import BIN, ENVIRONMENT, GOLDEN, MODELS, PICTURES, ROOT, massv, read_tensors, tensor_bytes

TARGET, TEXT = MODELS / "scenes-small", MODELS / "scenes-drafter"
FAST = ("--batch", "8", "--learning-rate", "2e-3", "--threads", "1")


def command(name, data, out, *more, target=TARGET, drafter=TEXT):
    return [str(word) for word in (BIN / "massv-train", name, "--target", target, "--drafter", drafter, "--data", data, "--out", out, *FAST, *more)]


def train(name, data, out, *more, ranks=1, **models):
    start = ["mpirun", "--oversubscribe", "-n", str(ranks)] if ranks > 1 else []
    return subprocess.run([*start, *command(name, data, out, *more, **models)], cwd=ROOT, env=ENVIRONMENT, timeout=180, capture_output=True, text=True,
                          check=False)


def journal(run):
    return [json.loads(line) for line in (run / "loss.jsonl").read_text().splitlines()]


@pytest.fixture(scope="module")
def captions(tmp_path_factory):
    """The 24 pictures' own conversations, and beside them lines as the target would have answered, with its probabilities."""
    place = tmp_path_factory.mktemp("data")
    records = [json.loads(line) for line in (PICTURES / "scenes.jsonl").read_text().splitlines()]
    for record in records:
        record["image"] = str(PICTURES / record["image"])
    (place / "captions.jsonl").write_text("".join(json.dumps(r) + "\n" for r in records))
    return place / "captions.jsonl"


@pytest.fixture(scope="module")
def phase1(captions):
    run = captions.parent / "phase1"
    done = train("project", captions, run, "--steps", "12", "--json", "--checkpoint-seconds", "0")
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert report["steps"] == report["wanted"] == 12 and report["samples"] == 24 and report["skipped"] == 0
    return run


def test_phase_1_trains_the_projector_alone(phase1):
    state, curve = read_tensors(phase1 / "state.safetensors"), journal(phase1)
    values = {name for name in state if name.startswith("value/")}
    assert values == {f"value/visual.merger.{part}" for part in ("ln_q.weight", "mlp.0.weight", "mlp.0.bias", "mlp.2.weight", "mlp.2.bias")}
    assert state["steps"] == [12] and [step["step"] for step in curve] == list(range(1, 13))
    assert curve[-1]["epoch"] == 4 and curve[-1]["loss"] < curve[0]["loss"] and curve[0]["learning_rate"] == pytest.approx(2e-3)
    assert (phase1 / "loss.png").stat().st_size > 5000 and (phase1 / "loss.svg").read_text().startswith("<?xml")


def test_stopped_runs_go_on_to_the_same_bits(captions, phase1, tmp_path):
    run = tmp_path / "stopped"
    words = command("project", captions, run, "--steps", "12", "--checkpoint-seconds", "0")
    for how in signal.SIGINT, signal.SIGKILL:  # one says how to go on, the other cannot
        process = subprocess.Popen(words, cwd=ROOT, env=ENVIRONMENT, stderr=subprocess.PIPE, text=True)
        before, until = len(journal(run)) if (run / "loss.jsonl").exists() else 0, time.monotonic() + 60
        while time.monotonic() < until and process.poll() is None:
            if (run / "state.safetensors").exists() and len((run / "loss.jsonl").read_text().splitlines()) > before + 1:
                break
            time.sleep(0.002)
        process.send_signal(how)
        _, said = process.communicate(timeout=60)
        if how == signal.SIGINT and process.returncode != 0:
            assert process.returncode == 130 and "--resume goes on from there" in said
        words = [*command("project", captions, run, "--steps", "12", "--checkpoint-seconds", "0"), "--resume"]
    done = subprocess.run(words, cwd=ROOT, env=ENVIRONMENT, timeout=120, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert (run / "state.safetensors").read_bytes() == (phase1 / "state.safetensors").read_bytes()
    assert [step["loss"] for step in journal(run)] == [step["loss"] for step in journal(phase1)]
    other = train("project", captions, run, "--steps", "13", "--resume")
    assert other.returncode == 1 and "steps 12, the command now says 13" in other.stderr


def test_the_last_states_are_kept_where_that_is_asked_for(captions, phase1, tmp_path):
    run = tmp_path / "run"
    (tmp_path / "run").mkdir()
    (run / "state-x.safetensors").write_text("somebody's own")
    done = train("project", captions, run, "--steps", "12", "--checkpoint-seconds", "0", "--keep", "3")
    assert done.returncode == 0, done.stderr
    assert {path.name for path in run.glob("state*")} == {"state.safetensors", "state-x.safetensors", *(f"state-{i}.safetensors" for i in (10, 11, 12))}
    states = {i: read_tensors(run / f"state-{i}.safetensors") for i in (10, 11, 12)}
    assert all(state["steps"] == [i] for i, state in states.items())
    assert (run / "state.safetensors").samefile(run / "state-12.safetensors")
    assert (run / "state.safetensors").read_bytes() == (phase1 / "state.safetensors").read_bytes()
    for step, more in (10, ("--step", "10")), (12, ()):
        export = [BIN / "massv-train", "export", "--run", run, "--target", TARGET, "--drafter", TEXT, "--out", tmp_path / str(step), "--dtype", "f32", *more]
        done = subprocess.run(export, cwd=ROOT, env=ENVIRONMENT, timeout=60, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        stored = tensor_bytes(tmp_path / str(step))["visual.merger.mlp.0.weight"][2]
        assert stored == states[step]["value/visual.merger.mlp.0.weight"].tobytes()
    export[-1:] = ["f32", "--out", tmp_path / "none", "--step", "9"]
    done = subprocess.run(export, cwd=ROOT, env=ENVIRONMENT, timeout=60, capture_output=True, text=True, check=False)
    assert done.returncode == 1 and "state-9.safetensors: No such file" in done.stderr


def test_ranks_share_a_batch(captions, phase1, tmp_path):
    """Sums in another order: close to one rank's, and the same bits every time."""
    runs = [tmp_path / "a", tmp_path / "b"]
    for run in runs:
        done = train("project", captions, run, "--steps", "12", ranks=2)
        assert done.returncode == 0, done.stderr
    assert (runs[0] / "state.safetensors").read_bytes() == (runs[1] / "state.safetensors").read_bytes()
    for both, one in zip(journal(runs[0]), journal(phase1)):
        assert both["loss"] == pytest.approx(one["loss"], rel=2e-3)


def test_work_is_that_of_all_ranks_beside_what_their_cores_can_do(captions, tmp_path):
    """The same records are the same work on any number of ranks; the summary and every step say what share of the peak it was."""
    work = []
    for ranks in 1, 2:
        run = tmp_path / str(ranks)
        done = train("project", captions, run, "--steps", "12", "--json", ranks=ranks)
        assert done.returncode == 0, done.stderr
        report, steps = json.loads(done.stdout), journal(run)
        work.append(report["gflop_per_s"] * report["seconds"])
        assert report["utilisation"] == pytest.approx(report["gflop_per_s"] / report["peak_gflop_per_s"], rel=1e-4) and report["utilisation"] > 0.001
        for step in steps:
            assert step["utilisation"] == pytest.approx(step["gflop_per_s"] / report["peak_gflop_per_s"], rel=1e-4)
        tokens = sum(step["gflop_per_s"] / step["tokens_per_s"] for step in steps) / len(steps)  # GFLOP each
        assert tokens == pytest.approx(work[-1] / report["tokens"], rel=0.1)
    assert work[1] == pytest.approx(work[0], rel=1e-4)
    said = train("project", captions, tmp_path / "said", "--steps", "2").stdout
    assert re.search(r", \d+ tokens/s, [\d.]+ GFLOP/s, \d+ % of a peak of [\d.]+\n", said), said


def test_memory_is_saved_without_another_bit(captions, tmp_path):
    plain, saving = tmp_path / "plain", tmp_path / "saving"
    for run, more in (plain, ()), (saving, ("--recompute", "--threads", "2")):
        done = train("tune", captions, run, "--labels", "reference", "--steps", "3", *more)
        assert done.returncode == 0, done.stderr
    assert (plain / "state.safetensors").read_bytes() == (saving / "state.safetensors").read_bytes()


def test_an_exported_drafter_drafts(captions, phase1, tmp_path):
    tuned, out = tmp_path / "tuned", tmp_path / "drafter"
    done = train("tune", captions, tuned, "--from", phase1, "--labels", "reference", "--steps", "6")
    assert done.returncode == 0, done.stderr
    export = [BIN / "massv-train", "export", "--run", tuned, "--target", TARGET, "--drafter", TEXT, "--out", out]
    done = subprocess.run(export, cwd=ROOT, env=ENVIRONMENT, timeout=60, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "kind massv" in massv("inspect", out, "--with", TARGET).stdout
    assert "massv" not in json.loads((out / "config.json").read_text())  # transformers knows no such member: an ordinary checkpoint
    assert {path.name for path in out.iterdir()} >= {"config.json", "model.safetensors", "tokenizer.json", "preprocessor_config.json"}
    question = json.loads(captions.read_text().splitlines()[0])
    answers = [json.loads(massv("generate", "--target", TARGET, "--drafter", drafter, "--image", question["image"], "--prompt", question["prompt"],
                                "--max-tokens", "24", "--draft-tokens", "5", "--json").stdout) for drafter in (out, TEXT)]
    assert answers[0]["text"] == answers[1]["text"] and answers[0]["speculation"]["drafted"] > 0
    again = subprocess.run(export, cwd=ROOT, env=ENVIRONMENT, timeout=60, capture_output=True, text=True, check=False)
    assert again.returncode == 1 and "is not empty" in again.stderr
    alone = train("tune", captions, tmp_path / "alone", "--from", tuned, "--labels", "reference", "--train", "projector", "--steps", "1")
    assert alone.returncode == 1 and "name the checkpoint as --drafter" in alone.stderr
    alone = train("tune", captions, tmp_path / "alone2", "--labels", "reference", "--train", "projector", "--steps", "1", drafter=out)
    assert alone.returncode == 0, alone.stderr


@pytest.mark.parametrize("line, said", [
    ('{"image": "no-such.png", "prompt": "x", "reference": "y"}', "no-such.png: No such file"),
    ('{"image": null, "prompt": "x"}', "has no reference"),
    ('{"image": null, "prompt": 5}', "prompt"),
    ('{"image": null, ', "line 25"),
    ('{"image": null, "prompt": "%s", "reference": "y"}' % ("word " * 3000), "--max-length is 2048"),
])
def test_a_bad_record_is_named(captions, tmp_path, line, said):
    data = tmp_path / "bad.jsonl"
    data.write_text(captions.read_text() + line + "\n")
    done = train("project", data, tmp_path / "run", "--steps", "1")
    assert done.returncode == 1 and said in done.stderr and "bad.jsonl: line 25" in done.stderr
    if said == "prompt":
        both = train("project", data, tmp_path / "both", "--steps", "1", ranks=2)  # each rank reads every line; one tells
        assert both.returncode == 1 and both.stderr.count("bad.jsonl: line 25: prompt") == both.stderr.count("massv-train project: ") == 1, both.stderr
    skipped = train("project", data, tmp_path / "run2", "--steps", "1", "--on-error", "skip")
    if said == "line 25":  # what is no JSON is never skipped: nobody knows where the next record begins
        assert skipped.returncode == 1 and said in skipped.stderr
    else:
        assert skipped.returncode == 0 and "1 records skipped; the first: " in skipped.stdout


def test_what_cannot_be_trained_is_refused(captions, phase1, tmp_path):
    def refused(said, name, out, *more, **models):
        done = train(name, captions, out, *more, **models)
        assert done.returncode in (1, 2) and said in done.stderr, done.stderr
    refused("the same picture and prompt are in", "project", tmp_path / "a", "--held-out", captions)
    refused("holds a run; --resume", "project", phase1, "--steps", "12")
    refused("nothing to --resume", "project", tmp_path / "b", "--resume")
    refused("is a text model", "project", tmp_path / "c", target=TEXT)
    refused("has no answer of a target", "tune", tmp_path / "d")
    refused("needs the target's probabilities", "tune", tmp_path / "e", "--labels", "reference", "--loss", "kl")
    refused("cannot be made", "project", tmp_path / "no" / "where")
    refused("one of mlp, linear, resampler is wanted", "project", tmp_path / "g", "--projector", "cnn")


def test_a_folder_that_is_no_run_is_named_once(captions, phase1, tmp_path):
    """The file and what is wrong with it, in one line, whoever reads it."""
    run = tmp_path / "run"
    shutil.copytree(phase1, run)
    settings = run / "settings.json"
    for spoil, said in (lambda: settings.write_text('{\n"version": ,'), ": line 2: "), (settings.unlink, ": No such file or directory; a run of massv-train "):
        spoil()
        for name, out, *more in ("project", run, "--steps", "12", "--resume"), ("tune", tmp_path / "next", "--labels", "reference", "--from", run):
            done = train(name, captions, out, *more)
            assert done.returncode == 1 and done.stderr.startswith(f"massv-train {name}: {settings}{said}"), done.stderr
            assert done.stderr.count("settings.json") == done.stderr.count("\n") == 1, done.stderr


def test_a_run_that_fails_says_which_state_is_there(captions, tmp_path):
    run, steep = tmp_path / "run", ("--weight-decay", "100", "--learning-rate", "100", "--steps", "60", "--warmup", "0")
    (run / "state-2.safetensors").mkdir(parents=True)  # the name under which a state is to be kept
    done = train("project", captions, run, *steep, "--checkpoint-seconds", "0", "--keep", "2")
    assert done.returncode == 1 and "state-2.safetensors: cannot be kept: Is a directory" in done.stderr
    assert "holds a state of 2 steps; the same command with --resume goes on from there" in done.stderr
    assert read_tensors(run / "state.safetensors")["steps"] == [2]
    before = (run / "state.safetensors").read_bytes()
    for ranks in 1, 2:
        words = ("--resume",) if ranks == 1 else ("--checkpoint-seconds", "3600")
        done = train("project", captions, run if ranks == 1 else tmp_path / "both", *steep, *words, ranks=ranks)
        found = re.findall(r"captions.jsonl: line \d+: step (\d+): the loss is -?(?:nan|inf), .* a smaller --learning-rate may help", done.stderr)
        assert done.returncode == 1 and len(found) == 1 and int(found[0]) > 3, done.stderr
        assert ("holds a state of 2 steps" in done.stderr) == (ranks == 1)
    assert (run / "state.safetensors").read_bytes() == before


def test_a_spoilt_cache_is_made_again(captions, tmp_path):
    folder = tmp_path / "features"
    for run in "a", "b":
        done = train("project", captions, tmp_path / run, "--steps", "1", "--features", folder)
        assert done.returncode == 0, done.stderr
        files = sorted(folder.glob("*/*.safetensors"))
        assert len(files) == 24
        if run == "a":
            kept = [file.read_bytes() for file in files]
            files[0].write_bytes(kept[0][:1000])
            files[1].write_bytes(kept[1][:-4] + b"\0\0\0\1")
            files[2].write_bytes(b"")
    assert [file.read_bytes() for file in files] == kept


def test_a_full_disk_loses_nothing(captions, tmp_path):
    if os.geteuid() != 0:
        pytest.skip("only root can mount a small disk")
    disk = tmp_path / "disk"
    disk.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=5M", "tmpfs", disk], check=True)
    try:
        done = train("tune", captions, disk / "run", "--labels", "reference", "--steps", "3", "--checkpoint-seconds", "0", "--features", tmp_path / "features")
        assert done.returncode == 1 and "No space left on device" in done.stderr and str(disk) in done.stderr
        assert not list(pathlib.Path(disk / "run").glob("*.part"))
    finally:
        subprocess.run(["umount", disk], check=True)


def test_a_full_disk_is_no_fault_of_records(captions, tmp_path):
    """Pictures whose features cannot be kept end the run, whatever is to be skipped: it would learn from those that had room."""
    if os.geteuid() != 0:
        pytest.skip("only root can mount a small disk")
    words = [str(word) for word in command("project", captions, tmp_path / "run", "--steps", "1", "--features", tmp_path / "disk/features", "--on-error", "skip")]
    (tmp_path / "disk").mkdir()
    done = subprocess.run(["unshare", "--mount", "sh", "-c", 'mount -t tmpfs -o size=500k tmpfs "$0" && exec "$@"', tmp_path / "disk", *words], cwd=ROOT,
                          env=ENVIRONMENT, timeout=60, capture_output=True, text=True, check=False)
    assert done.returncode == 1 and done.stderr.startswith(f"massv-train project: {tmp_path}/disk/features/"), done.stdout + done.stderr
    assert "cannot be written: No space left on device" in done.stderr and "skipped" not in done.stdout and not (tmp_path / "run/state.safetensors").exists()


def test_tasks_of_srun_do_not_share_a_run(captions, tmp_path):
    words = command("project", captions, tmp_path / "run", "--steps", "1")
    for tasks, status in ("8", 1), ("1", 0):
        done = subprocess.run(words, cwd=ROOT, env=dict(ENVIRONMENT, SLURM_STEP_NUM_TASKS=tasks), timeout=60, capture_output=True, text=True, check=False)
        assert done.returncode == status, done.stderr
        assert status == 0 or ("srun started this 8 times over" in done.stderr and not (tmp_path / "run").exists())
    again = subprocess.run(["mpirun", "--oversubscribe", "-n", "2", *command("project", captions, tmp_path / "ranks", "--steps", "1")], cwd=ROOT,
                           env=dict(ENVIRONMENT, SLURM_STEP_NUM_TASKS="2"), timeout=60, capture_output=True, text=True, check=False)
    assert again.returncode == 0, again.stderr


@pytest.mark.parametrize("name, batch, rate", [("project", "256", "0.001"), ("tune", "128", "2e-05")])
def test_help_says_the_defaults_of_each_command(name, batch, rate):
    said = " ".join(subprocess.run([BIN / "massv-train", name, "--batch", "5", "--help"], env=ENVIRONMENT, timeout=60, capture_output=True, text=True,
                                   check=True).stdout.split())
    assert f"records of a step, over all ranks; default {batch} " in said and f"at its highest; default {rate} " in said, said
    assert said.count("; default ") > 10


def test_a_dry_run_tells_what_is_needed():
    words = [BIN / "massv-train", "tune", "--target", TARGET, "--drafter", TEXT, "--dry-run"]
    done = subprocess.run(words, cwd=ROOT, env=ENVIRONMENT, timeout=60, capture_output=True, text=True, check=False)
    assert done.returncode == 0 and "GFLOP a token" in done.stdout and "MiB" in done.stdout
    wide = json.loads((TARGET / "config.json").read_text())["vision_config"]
    assert f"pictures: {4 * wide['spatial_merge_size']**2 * wide['hidden_size'] / 1024:.0f} KiB for each" in done.stdout
