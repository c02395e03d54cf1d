"""A short run of chaos.py from a fixed seed; `make chaos` is the long one."""
import subprocess

from harness import ENVIRONMENT, ROOT


def test_answers_survive_a_few_seconds_of_chaos():
    done = subprocess.run([ROOT / "tests/system/chaos.py", "--seed", "7", "--seconds", "8", "--streams", "8", "--every", "1"], env=ENVIRONMENT, cwd=ROOT,
                          text=True, capture_output=True, timeout=400, check=False)
    print(done.stdout)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "x kill" in done.stdout and "chaos: passed" in done.stdout
