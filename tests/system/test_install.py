"""make install: programs, man pages and bash completion in one folder, and what they say is what --help says."""
import os
import pathlib
import re
import shutil
import subprocess

import pytest

from harness import BIN, ENVIRONMENT, ROOT

PREFIX = "/opt/massv"
COMMANDS = ("up", "generate", "chat", "top", "dump", "inspect", "eval", "bench kernels", "bench step", "bench collectives", "bench serve")
TRAIN_COMMANDS = ("project", "distill", "tune", "export")
PROGRAMS = ("massv", "massv-mpi", "massv-coordinator", "massv-worker", "massv-train")
PAGES = {name: name.split() for name in ("massv", "massv-coordinator", "massv-worker", "massv-train", *(f"massv {c}" for c in COMMANDS),
                                         *(f"massv-train {c}" for c in TRAIN_COMMANDS))}


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    stage = tmp_path_factory.mktemp("a stage")
    done = subprocess.run(["make", "--no-print-directory", "install", f"DESTDIR={stage}", f"PREFIX={PREFIX}", f"BUILD={BIN.parent}"],
                          cwd=ROOT, env=without_make(), timeout=300, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert [entry.name for entry in stage.iterdir()] == ["opt"], "everything lies under DESTDIR and PREFIX"
    return pathlib.Path(f"{stage}{PREFIX}")


def without_make():
    """The environment without that of a make which runs the tests: its flags are not for ours."""
    return {name: value for name, value in ENVIRONMENT.items() if name not in ("MAKEFLAGS", "MFLAGS", "MAKELEVEL", "MAKEOVERRIDES")}


def help_of(folder, words):
    return subprocess.run([folder / "bin" / words[0], *words[1:], "--help"], env=ENVIRONMENT, timeout=60, capture_output=True, text=True,
                          check=True).stdout


def flags_of(text):
    return set(re.findall(r"--[a-z][a-z-]*", text))


def test_all_programs_are_installed_and_run(installed):
    assert sorted(p.name for p in (installed / "bin").iterdir()) == sorted(PROGRAMS)
    for program in PROGRAMS:
        assert "Usage: " in help_of(installed, [program])


def test_there_is_one_man_page_for_each_program_and_command(installed):
    pages = {p.name for p in (installed / "share/man/man1").iterdir()}
    assert pages == {f"{name.replace(' ', '-')}.1" for name in PAGES}


@pytest.mark.parametrize("name", PAGES)
def test_the_man_page_names_all_flags_of_help(installed, name):
    page = (installed / f"share/man/man1/{name.replace(' ', '-')}.1").read_text(encoding="utf-8")
    title, _, summary = re.search(r"^\.SH NAME\n(\S+) (\\-) (.+)$", page, re.M).groups()
    assert title.replace("\\-", "-") == name.replace(" ", "-") and len(summary) > 10
    flags = flags_of(help_of(installed, PAGES[name]))
    assert "--help" in flags and flags_of(page.replace("\\-", "-")) == flags


@pytest.mark.skipif(not shutil.which("man"), reason="man is not installed")
@pytest.mark.parametrize("name", PAGES)
def test_man_shows_the_page_without_a_warning(installed, name):
    page = installed / f"share/man/man1/{name.replace(' ', '-')}.1"
    done = subprocess.run(["man", "--warnings", "-l", page], env=dict(os.environ, MANPAGER="cat", MANWIDTH="100", LC_ALL="C.UTF-8"), timeout=60,
                          capture_output=True, text=True, check=True)
    assert done.stderr == "" and "--help" in done.stdout


def complete(installed, *words, program="massv"):
    """What bash offers for the last of the words."""
    script = f'. "{installed}/share/bash-completion/completions/{program}"; COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); _massv; printf "%s\\n" "${{COMPREPLY[@]}}"'
    done = subprocess.run(["bash", "-c", script, "bash", installed / "bin" / program, *words], env=ENVIRONMENT, cwd=installed, timeout=60,
                          capture_output=True, text=True, check=True)
    assert done.stderr == ""
    return {word for word in done.stdout.split("\n") if word}


def test_completion_lists_the_commands(installed):
    assert complete(installed, "") == {c.split()[0] for c in COMMANDS}
    assert complete(installed, "in") == {"inspect"}
    assert complete(installed, "bench", "") == {"kernels", "step", "collectives", "serve"}
    assert complete(installed, "", program="massv-train") == set(TRAIN_COMMANDS)


@pytest.mark.parametrize("command", COMMANDS)
def test_completion_lists_the_flags_of_help(installed, command):
    words = command.split()
    assert complete(installed, *words, "--") == flags_of(help_of(installed, ["massv", *words]))
    assert complete(installed, *words, "--he") == {"--help"}
    assert "--help" in complete(installed, *words, "--help", "--"), "after another flag, too"


def test_completion_lists_folders_for_checkpoints_and_files_for_pictures(installed):
    assert complete(installed, "up", "--target", "") == {"bin", "share"}
    assert complete(installed, "inspect", "b") == {"bin"}
    assert complete(installed, "generate", "--image", "bin/massv-w") == {"bin/massv-worker"}
