"""bench/run: the parts that are quick run to their end, print the command before the figures and check what they measure."""
import subprocess

from harness import BIN, ENVIRONMENT, ROOT


def run(*arguments):
    return subprocess.run([ROOT / "bench/run", *arguments], cwd="/", env=dict(ENVIRONMENT, BUILD=str(BIN.parent)), timeout=400,
                          capture_output=True, text=True, check=False)


def test_the_quick_parts_run_and_check_themselves():
    done = run("--quick", "ranks", "collectives", "overhead", "stall", "streams", "accuracy", "modes", "training")
    assert done.returncode == 0, done.stdout + done.stderr
    for part in ("ranks", "collectives", "overhead", "stall", "streams", "accuracy", "modes", "training"):
        assert f"---- {part} ----" in done.stdout
    assert "$ /usr/bin/python3 bench/ranks.py " in done.stdout and "(goal 0.9: " in done.stdout
    assert "identical tokens: yes" in done.stdout
    assert "40 streams at once, 120 requests of 50 tokens a round" in done.stdout and "errors: 0, kept" in done.stdout
    assert "of 9 fresh pictures" in done.stdout
    assert "bench/train_step.py --alone" in done.stdout and " tokens/s, " in done.stdout and " Gflop/s, " in done.stdout
    assert done.stdout.count(" coupled ") == done.stdout.count(" rejection ") == 6
    assert "---- kernels ----" not in done.stdout, "only what was asked for"


def test_an_unknown_part_is_wrong_usage():
    done = run("fly")
    assert done.returncode == 2 and "parts: kernels step shards ranks collectives open overhead stall prefix streams accuracy modes drafting lengths training" in done.stderr


def test_a_part_that_fails_is_told_and_the_others_run():
    done = subprocess.run([ROOT / "bench/run", "--quick", "kernels", "step"], cwd="/", timeout=400, capture_output=True, text=True,
                          check=False, env=dict(ENVIRONMENT, BUILD=str(BIN.parent), MASSV_ISA="fly"))
    assert done.returncode == 1 and done.stderr.count("bench: status 1 of: ") == 2, done.stdout + done.stderr
