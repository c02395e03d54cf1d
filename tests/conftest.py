"""Collects the C test programs of build/tests beside the Python tests, and ends in one line that counts them all.

A program tests/<folder>/test_x.c is one item; mpi_x.c is run by mpirun on 1, 2 and 4 ranks, an item each; tests/fuzz/fuzz_x.c gets the files of
tests/fuzz/corpus/x."""
import os
import pathlib
import shutil
import subprocess
import tempfile

import pytest

ROOT = pathlib.Path(__file__).resolve().parent.parent
BUILD = (ROOT / os.environ.get("BUILD", "build")).resolve()
LIMIT_S = 900  # a hung program is a failed one
MPI_RANKS = (1, 2, 4)
ENVIRONMENT = dict(os.environ, OMPI_ALLOW_RUN_AS_ROOT="1", OMPI_ALLOW_RUN_AS_ROOT_CONFIRM="1")  # of programs
MPIRUN = ["mpirun", "--oversubscribe", "--bind-to", "none", "--mca", "mpi_yield_when_idle", "1", "-np"]


def pytest_configure(config):
    config.massv_partly = set()  # what programs said that they left out on this machine
    config.massv_reports = pathlib.Path(tempfile.mkdtemp(prefix="massv-sanitizer-"))
    for name in ("ASAN_OPTIONS", "UBSAN_OPTIONS", "TSAN_OPTIONS"):
        os.environ[name] = f"{os.environ.get(name, '')}:log_path={config.massv_reports / name}"


@pytest.hookimpl(trylast=True)  # behind the ends of services
def pytest_runtest_teardown(item):
    """A service goes on without the process that a sanitizer ended, so what it wrote is looked for."""
    reports = {path: path.read_text(errors="replace") for path in item.config.massv_reports.iterdir()}
    for path in reports:
        path.unlink()
    assert not reports, "\n".join(reports.values())[:8000]


def pytest_collect_file(parent, file_path):
    if file_path.suffix == ".c" and file_path.name.startswith(("test_", "mpi_", "fuzz_")):
        return ProgramFile.from_parent(parent, path=file_path)
    return None


class ProgramFile(pytest.File):
    def collect(self):
        program = BUILD / self.path.relative_to(ROOT).with_suffix("")
        if self.path.name.startswith("mpi_"):
            for ranks in MPI_RANKS:
                yield Program.from_parent(self, name=f"{ranks}-ranks", command=[*MPIRUN, str(ranks), str(program)])
        elif self.path.name.startswith("fuzz_"):
            corpus = sorted(map(str, (self.path.parent / "corpus" / self.path.stem.removeprefix("fuzz_")).glob("*")))
            yield Program.from_parent(self, name="corpus", command=[str(program), *corpus])
        else:
            yield Program.from_parent(self, name="program", command=[str(program)])


class Program(pytest.Item):
    def __init__(self, command, **rest):
        super().__init__(**rest)
        self.command = command

    def runtest(self):
        done = subprocess.run(self.command, cwd=ROOT, env=ENVIRONMENT, timeout=LIMIT_S, text=True, errors="replace",
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        if done.returncode:
            raise ProgramFailed(f"{' '.join(self.command)} exited {done.returncode}\n{done.stdout[-8000:]}")
        self.config.massv_partly.update(line for line in done.stdout.splitlines() if line.startswith("skipped"))

    def repr_failure(self, excinfo):
        if isinstance(excinfo.value, ProgramFailed):
            return str(excinfo.value)
        return super().repr_failure(excinfo)

    def reportinfo(self):
        return self.path, 0, f"{self.path.relative_to(ROOT)} {self.name}"


class ProgramFailed(Exception):
    pass


def pytest_terminal_summary(terminalreporter):
    count = {kind: len(terminalreporter.stats.get(kind, [])) for kind in ("passed", "failed", "error", "skipped")}
    for report in terminalreporter.stats.get("skipped", []):
        print("skipped:", report.nodeid, "-", report.longrepr[2] if isinstance(report.longrepr, tuple) else report.longrepr)
    for line in sorted(terminalreporter.config.massv_partly):
        print(line)
    terminalreporter.config.massv_summary = (
        f"{count['passed']} passed, {count['failed'] + count['error']} failed, {count['skipped']} skipped")


@pytest.hookimpl(trylast=True)
def pytest_unconfigure(config):
    shutil.rmtree(config.massv_reports, ignore_errors=True)
    if hasattr(config, "massv_summary"):
        print(config.massv_summary)
