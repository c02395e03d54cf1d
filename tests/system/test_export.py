"""massv-train export: the folder that it makes is whole, or is not there; what failed or was killed can be made again."""
import os
import subprocess

import pytest

from harness import BIN, ENVIRONMENT, MODELS, PICTURES, ROOT, massv

TARGET, TEXT = MODELS / "scenes-small", MODELS / "scenes-drafter"
SMALL_DISK = 'mount -t tmpfs -o size="$1" tmpfs "$0" && shift && { "$@"; status=$?; ls -A "$0"; exit $status; }'  # of this command alone


@pytest.fixture(scope="module")
def phase1(tmp_path_factory):
    run = tmp_path_factory.mktemp("runs") / "phase1"
    subprocess.run([BIN / "massv-train", "project", "--target", TARGET, "--drafter", TEXT, "--data", PICTURES / "scenes.jsonl", "--out", run, "--steps", "1",
                    "--batch", "4", "--limit", "4"], cwd=ROOT, env=ENVIRONMENT, timeout=120, check=True)
    return run


def export(run, out, target=TARGET, under=()):
    words = [*under, BIN / "massv-train", "export", "--run", run, "--target", target, "--drafter", TEXT, "--out", out]
    return subprocess.run(words, cwd=ROOT, env=ENVIRONMENT, timeout=60, capture_output=True, text=True, check=False)


def test_an_export_that_fails_leaves_nothing_and_can_be_made_again(phase1, tmp_path):
    target, out = tmp_path / "target", tmp_path / "out"
    target.mkdir()
    for file in TARGET.iterdir():
        (target / file.name).symlink_to(file)
    out.mkdir()  # empty: as good as none
    for name, to, said in ("vocab.json", "vocab.json", "Too many levels of symbolic links"), ("merges.txt", "gone", "No such file"):
        (target / name).unlink(missing_ok=True)
        (target / name).symlink_to(to)
        done = export(phase1, out, target=target)
        assert done.returncode == 1 and f"{target / name}: cannot be copied to" in done.stderr and said in done.stderr
        assert sorted(tmp_path.iterdir()) == [out, target] and not list(out.iterdir())
        (target / name).unlink()
    for name in "vocab.json", "merges.txt":
        if (TARGET / name).exists():
            (target / name).symlink_to(TARGET / name)
    done = export(phase1, f"{out}/", target=target)
    assert done.returncode == 0 and sorted(tmp_path.iterdir()) == [out, target], done.stderr
    assert massv("inspect", out, "--with", TARGET).returncode == 0


def test_an_export_that_was_killed_can_be_made_again(phase1, tmp_path):
    """What it left beside its place goes; what somebody else put there stays, and is named."""
    whole, part = tmp_path / "whole", tmp_path / "whole.part"
    part.mkdir()
    for name in "model.safetensors.4711.part", "chat_template.jinja", "config.json":
        (part / name).write_text("half a")
    done = export(phase1, whole)
    assert done.returncode == 0 and list(tmp_path.iterdir()) == [whole], done.stderr
    assert not (whole / "chat_template.jinja").exists() or (whole / "chat_template.jinja").read_text() != "half a"
    again, other = tmp_path / "again", tmp_path / "again.part"
    other.mkdir()
    (other / "notes").write_text("somebody's own")
    done = export(phase1, again)
    assert done.returncode == 1 and f"{other}: an export is written there first, but something else is in it" in done.stderr
    assert (other / "notes").read_text() == "somebody's own" and not again.exists()
    done = export(phase1, whole)
    assert done.returncode == 1 and "whole: is not empty" in done.stderr and not (tmp_path / "whole.part").exists()


def test_a_full_disk_leaves_no_half_export(phase1, tmp_path):
    if os.geteuid() != 0:
        pytest.skip("only root can mount a small disk")
    for size, status, left in ("1M", 1, ""), ("50M", 0, "out"):
        done = export(phase1, tmp_path / "out", under=("unshare", "--mount", "sh", "-c", SMALL_DISK, tmp_path, size))
        assert done.returncode == status and done.stdout.splitlines()[-1:] == left.split(), done.stdout + done.stderr
        assert status == 0 or (f"{tmp_path}/out.part/" in done.stderr and "No space left on device" in done.stderr), done.stderr
