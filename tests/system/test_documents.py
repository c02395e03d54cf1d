"""The pages of docs/ and the programs say the same: every flag of --help is explained on the page of its program, and every flag that a
page names is one of some program or script."""
import re
import subprocess

import pytest

from harness import BIN, ENVIRONMENT, ROOT

PAGES = {"operations.md": ("massv up", "massv generate", "massv chat", "massv top", "massv dump", "massv inspect", "massv-coordinator",
                           "massv-worker"),
         "bench.md": ("massv bench kernels", "massv bench step", "massv bench collectives", "massv bench serve"),
         "evaluation.md": ("massv eval",),
         "training.md": ("massv-train project", "massv-train tune", "massv-train distill", "massv-train export")}
TLS = {"--tls-ca", "--tls-certificate", "--tls-key", "--token-file"}  # of all clients alike: told once, in operations.md
EVERYWHERE = {"--help", "--usage", "--version"}
SCRIPTS = (ROOT / "tests/system/chaos.py", *sorted((ROOT / "bench").rglob("*.py")))  # pages tell of their flags, too
SLURM = re.compile(r"^.*sbatch .*$", re.M)


def flags_named(text):
    return set(re.findall(r"(?<![\w-])--[a-z][a-z0-9-]*", text))


def flags_of(command):
    words = command.split()
    text = subprocess.run([BIN / words[0], *words[1:], "--help"], env=ENVIRONMENT, timeout=60, capture_output=True, text=True, check=True).stdout
    return set(re.findall(r"^ +(?:-., )?(--[a-z][a-z0-9-]*)", text, re.M))


@pytest.mark.parametrize("page,command", [(page, command) for page, commands in PAGES.items() for command in commands])
def test_every_flag_is_explained(page, command):
    flags = flags_of(command)
    assert flags > EVERYWHERE
    told = flags_named((ROOT / "docs" / page).read_text()) | EVERYWHERE | (TLS if page != "operations.md" else set())
    assert sorted(flags - told) == [], f"docs/{page} says nothing of them"


def test_every_flag_that_is_named_exists():
    flags = {flag for commands in PAGES.values() for command in commands for flag in flags_of(command)}
    flags |= {flag for script in SCRIPTS for flag in flags_named(script.read_text())}
    for page in (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))):
        assert sorted(flags_named(SLURM.sub("", page.read_text())) - flags) == [], page.name
