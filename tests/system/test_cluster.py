"""Worker groups from outside: ranks that hang, mpirun killed, and ranks on two hosts that are network namespaces."""
import os
import pathlib
import re
import signal
import subprocess
import time

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
BUILD = (ROOT / os.environ.get("BUILD", "build")).resolve()
HOSTS = ROOT / "tests/system/hosts.sh"
LAUNCH = BUILD / "tests/cluster/test_launch"
COMM = BUILD / "tests/cluster/mpi_comm"


def environment(**more):
    return dict(os.environ, **more)


class Group:
    """A worker group started by cluster/launch.c, and what it says."""

    def __init__(self, ranks, *args, prefix=(), hosts="", env=None):
        self.ranks = ranks
        command = [*prefix, LAUNCH, str(ranks), hosts, "eth0", f"{HOSTS} rsh", COMM, *args]
        self.process = subprocess.Popen(command, cwd=ROOT, env=env or environment(), text=True, errors="replace",
                                        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)

    def wait_until_up(self):
        """Process ids of the ranks, in no order."""
        said = [self.process.stdout.readline() for _ in range(self.ranks)]
        pids = [int(pid) for pid in re.findall(r"rank \d+ is up: pid (\d+)", "".join(said))]
        assert len(pids) == self.ranks, said
        return pids

    def end(self, seconds):
        text, _ = self.process.communicate(timeout=seconds)
        return self.process.returncode, text


def parent_of(pid):
    return int(pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])


def is_alive(pid):
    try:
        return pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def end_within(pids, seconds):
    until = time.monotonic() + seconds
    while time.monotonic() < until and any(map(is_alive, pids)):
        time.sleep(0.02)
    left = [pid for pid in pids if is_alive(pid)]
    for pid in left:
        os.kill(pid, signal.SIGKILL)
    return not left


def test_a_rank_that_takes_no_part_ends_the_group_with_a_line_that_names_the_call():
    group = Group(3, "stuck", "5")  # seconds; MPI_Init and a barrier must fit too, on a loaded machine
    pids = group.wait_until_up()
    code, text = group.end(30)
    assert code != 0
    assert re.search(r"error \S+ pid \d+ \S+: rank [12]: all_reduce_sum took more than 5\.0 seconds", text), text
    assert "Process received signal" not in text  # no stack of the watchdog
    assert end_within(pids, 5)


def test_killing_a_rank_ends_the_group():
    group = Group(3, "idle")
    pids = group.wait_until_up()
    os.kill(pids[0], signal.SIGKILL)
    code, _ = group.end(30)
    assert code != 0
    assert end_within(pids, 5)


def test_killing_mpirun_leaves_no_rank_behind():
    group = Group(3, "idle")
    pids = group.wait_until_up()
    os.kill(parent_of(pids[0]), signal.SIGKILL)
    assert end_within(pids, 10)
    group.end(30)


def test_killing_whoever_started_mpirun_leaves_no_rank_behind():
    group = Group(2, "idle")
    pids = group.wait_until_up()
    mpirun = parent_of(pids[0])
    group.process.kill()
    assert end_within([mpirun, *pids], 15)
    group.end(30)


@pytest.fixture
def net():
    """Two hosts; the environment for hosts.sh."""
    env = environment(MASSV_NET=f"massv{os.getpid()}")
    made = subprocess.run([HOSTS, "up", "2"], env=env, text=True, capture_output=True)
    try:
        if made.returncode:
            pytest.skip(f"network namespaces cannot be made here: {made.stderr.strip().splitlines()[:1]}")
        yield env
    finally:
        subprocess.run([HOSTS, "down"], env=env)


def group_on_hosts(net, *args):
    name = net["MASSV_NET"]
    return Group(2, *args, prefix=[HOSTS, "exec", "1"], hosts=f"{name}-h1:1,{name}-h2:1", env=net)


def test_collectives_work_over_two_hosts(net):
    code, text = group_on_hosts(net).end(120)
    assert code == 0, text
    assert text.count("[  PASSED  ]") == 2, text


def test_ranks_run_on_the_hosts_they_were_given(net):
    group = group_on_hosts(net, "idle")
    pids = group.wait_until_up()
    on = [subprocess.run(["ip", "netns", "identify", str(pid)], text=True, capture_output=True).stdout.strip() for pid in pids]
    assert sorted(on) == [f"{net['MASSV_NET']}-h1", f"{net['MASSV_NET']}-h2"]
    group.process.kill()
    assert end_within(pids, 15)
    group.end(30)


@pytest.mark.parametrize("role", ["idle", "stuck"])
def test_a_host_that_is_cut_off_ends_the_group(net, role):
    group = group_on_hosts(net, role, "20")
    pids = group.wait_until_up()
    time.sleep(0.5)  # mpirun's connections are quiet then: TCP probes only those, and gives others up after a quarter of an hour
    subprocess.run([HOSTS, "cut", "1", "2"], env=net, check=True)
    code, _ = group.end(30)  # measured: 4 s (the keepalives of cluster/launch.c)
    assert code != 0
    assert end_within(pids, 30)


def test_hosts_leave_nothing_behind(net):
    subprocess.run([HOSTS, "down"], env=net, check=True)
    listed = subprocess.run(["ip", "netns", "list"], text=True, capture_output=True).stdout
    assert net["MASSV_NET"] not in listed
    assert not list(pathlib.Path("/etc/netns").glob(f"{net['MASSV_NET']}-*"))
