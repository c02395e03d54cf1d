"""Services over two hosts (network namespaces): a group spread over both gives the answer of one; a host that is cut off only pauses it."""
import json
import os
import pathlib
import subprocess
import time

import pytest

from harness import BIN, ENVIRONMENT, MODELS, PICTURES, ROOT, Process, descendants, massv, wait_gone

HOSTS = ROOT / "tests" / "system" / "hosts.sh"
ASK = ["--image", PICTURES / "scene-00002.png", "--prompt", "What can you see in this picture?", "--draft-tokens", "4", "--temperature", "0",
       "--json"]
MODEL = ["--target", MODELS / "scenes-large", "--drafter", MODELS / "scenes-massv", "--ranks", "2"]


@pytest.fixture
def net():
    """The hosts' names have a dot: what is before it is the same for both."""
    env = dict(ENVIRONMENT, MASSV_NET=f"massvup{os.getpid()}.lan", OMPI_MCA_plm_rsh_agent=f"{HOSTS} rsh", OMPI_MCA_btl_tcp_if_include="eth0")
    try:
        made = subprocess.run([HOSTS, "up", "2"], env=env, text=True, capture_output=True, check=False)
        if made.returncode:
            pytest.skip(f"network namespaces cannot be made here: {made.stderr.strip().splitlines()[:1]}")
        yield env
    finally:
        subprocess.run([HOSTS, "down"], env=env, check=False)


def test_a_group_on_two_hosts_answers_like_one_host(net):
    name = net["MASSV_NET"]
    up = Process(HOSTS, "exec", "1", BIN / "massv", "up", *MODEL, "--hosts", f"{name}-h1:1,{name}-h2:1", "--listen", "127.0.0.1:0", env=net)
    address = up.line("serving ").rpartition(" on ")[2]
    on = {host: subprocess.run(["ip", "netns", "pids", f"{name}-{host}"], capture_output=True, text=True, check=True).stdout.split()
          for host in ("h1", "h2")}
    family = descendants(up.process.pid)
    done = subprocess.run([HOSTS, "exec", "1", BIN / "massv", "generate", "--address", address, *ASK], env=net, cwd=ROOT, timeout=120,
                          capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert any(pathlib.Path(f"/proc/{pid}/comm").read_text() == "massv-worker\n" for pid in on["h2"]), "no rank on the second host"
    assert up.stop() == 0, up.stderr()
    assert not wait_gone([*family, *map(int, on["h2"])], 10)
    one = massv("generate", *MODEL, *ASK)
    assert json.loads(done.stdout)["token_ids"] == json.loads(one.stdout)["token_ids"]


def test_collectives_of_two_hosts_stand_beside_a_connection_between_them(net):
    name = net["MASSV_NET"]
    done = subprocess.run([HOSTS, "exec", "1", BIN / "massv", "bench", "collectives", "--hosts", f"{name}-h1:1,{name}-h2:1", "--json"],
                          env=net, cwd=ROOT, timeout=120, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    answer = json.loads(done.stdout)
    assert answer["ranks"] == 2 and answer["probe"]["socket_us"] > 0 and not any(row["wrong"] for row in answer["rows"])


def test_a_leader_on_a_host_that_is_cut_off_only_pauses_the_answer(net):
    name = net["MASSV_NET"]
    up = Process(HOSTS, "exec", "1", BIN / "massv", "up", *MODEL, "--hosts", f"{name}-h2:2", "--listen", "127.0.0.1:0", "--threads", "1", env=net)
    address = up.line("serving ").rpartition(" on ")[2]
    ask = [HOSTS, "exec", "1", BIN / "massv", "generate", "--address", address, "--prompt", "Tell a story.", "--draft-tokens", "0", "--temperature", "0",
           "--max-tokens", "1500", "--ignore-eos"]
    whole = subprocess.run(ask, env=net, cwd=ROOT, timeout=120, capture_output=True, check=True).stdout
    asking = subprocess.Popen(ask, env=net, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, bufsize=0)
    got = asking.stdout.read(100)
    subprocess.run([HOSTS, "cut", "1", "2"], env=net, check=True)
    cut, lost = time.monotonic(), None
    while not lost and time.monotonic() < cut + 20:
        lost = "its stream has ended" in up.stderr() or "its heartbeat stopped" in up.stderr()
        time.sleep(0.05)
    noticed = time.monotonic() - cut
    subprocess.run([HOSTS, "heal", "1", "2"], env=net, check=True)
    rest, words = asking.communicate(timeout=120)
    assert asking.returncode == 0 and got + rest == whole, words
    assert lost and noticed < 5.5, f"noticed after {noticed:.1f} s"  # 5, and how often this looks
    assert up.stop() == 0, up.stderr()
