"""TLS, mutual TLS and tokens on both ports: who is served, who is refused, and in which words."""
import json
import pathlib
import subprocess

import grpc
import pytest

from harness import BIN, GOLDEN, ROOT, Process, descendants, massv, stubs

TINY = GOLDEN / "qwen25vl-tiny"
ASK = ["--prompt", "x", "--max-tokens", "4", "--ignore-eos", "--temperature", "0", "--json"]


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("certificates")
    subprocess.run([ROOT / "tests/proto/certificates.sh", folder], check=True, timeout=60)
    (folder / "token").write_text("sesame.42\n")
    (folder / "wrong").write_text("sesame.43\n")
    return folder


def asked(address, *flags):
    return massv("generate", "--address", address, *ASK, *flags)


def test_a_service_behind_tls_and_a_token(files):
    up = Process(BIN / "massv", "up", "--target", TINY, "--listen", "127.0.0.1:0", "--tls-certificate", files / "server.pem", "--tls-key", files / "server.key",
                 "--token-file", files / "token")
    address = up.line("serving ").rpartition(" on ")[2]
    good = asked(address, "--tls-ca", files / "ca.pem", "--token-file", files / "token")
    assert good.returncode == 0 and len(json.loads(good.stdout)["token_ids"]) == 4, good.stderr
    for flags, words in (([], "TLS"),
                         (["--tls-ca", files / "other-ca.pem", "--token-file", files / "token"], "certificate verify failed"),
                         (["--tls-ca", files / "ca.pem"], "bearer token"),
                         (["--tls-ca", files / "ca.pem", "--token-file", files / "wrong"], "bearer token")):
        refused = asked(address, *flags)
        assert refused.returncode == 1 and refused.stderr.count("\n") == 1 and words in refused.stderr, refused.stderr
    for pid, line in descendants(up.process.pid).items():
        secret = [e for e in pathlib.Path(f"/proc/{pid}/environ").read_text(errors="replace").split("\0") if e.startswith("MASSV_GROUP_TOKEN=")]
        assert len(secret) == 1 and len(secret[0]) == len("MASSV_GROUP_TOKEN=") + 32, f"{line}: {secret}"
        assert secret[0].partition("=")[2] not in line, "arguments are for all to read"
    assert up.stop() == 0, up.stderr()


def test_a_stock_client_comes_in_with_certificate_and_token(files):
    up = Process(BIN / "massv", "up", "--target", TINY, "--listen", "127.0.0.1:0", "--tls-certificate", files / "server.pem", "--tls-key", files / "server.key",
                 "--tls-client-ca", files / "ca.pem", "--token-file", files / "token")
    address = up.line("serving ").rpartition(" on ")[2]
    pb, services = stubs()

    def health(key, token="sesame.42"):
        pair = {"private_key": (files / f"{key}.key").read_bytes(), "certificate_chain": (files / f"{key}.pem").read_bytes()} if key else {}
        credentials = grpc.ssl_channel_credentials(root_certificates=(files / "ca.pem").read_bytes(), **pair)
        with grpc.secure_channel(address, credentials) as channel:
            return services.ControlStub(channel).Health(pb.HealthRequest(), timeout=10, metadata=[("authorization", f"Bearer {token}")]).state

    assert health("client") == "READY"
    for key, token, code in (("client", "sesame.43", grpc.StatusCode.UNAUTHENTICATED), ("other", "sesame.42", grpc.StatusCode.UNAVAILABLE),
                             (None, "sesame.42", grpc.StatusCode.UNAVAILABLE)):
        with pytest.raises(grpc.RpcError) as caught:
            health(key, token)
        assert caught.value.code() == code, caught.value
    assert up.stop() == 0, up.stderr()


def coordinator(*flags, worker_listen="127.0.0.1:0"):
    return Process(BIN / "massv-coordinator", "--target", TINY, "--listen", "127.0.0.1:0", "--worker-listen", worker_listen, *flags)


def worker(address, *flags):
    return Process(BIN / "massv-worker", "--target", TINY, "--coordinator", address, "--threads", "1", *flags)


def test_only_groups_with_the_secret_attach(files):
    process = coordinator("--worker-token-file", files / "token")
    address = process.line("workers on ")
    for flags in ([], ["--token-file", files / "wrong"]):
        stranger = worker(address, *flags)
        assert stranger.process.wait(30) == 1
        assert "bearer token" in stranger.stderr().splitlines()[-1], stranger.stderr()
    good = worker(address, "--token-file", files / "token")
    process.line("serving ")
    assert process.stop() == 0, process.stderr()
    assert good.process.wait(30) == 0, good.stderr()


def test_only_groups_with_a_certificate_attach(files):
    process = coordinator("--worker-tls-certificate", files / "server.pem", "--worker-tls-key", files / "server.key", "--worker-tls-client-ca", files / "ca.pem")
    address = process.line("workers on ")
    good = worker(address, "--tls-ca", files / "ca.pem", "--tls-certificate", files / "client.pem", "--tls-key", files / "client.key")
    process.line("serving ")
    assert process.stop() == 0, process.stderr()
    assert good.process.wait(30) == 0, good.stderr()


def test_up_hands_the_trust_of_its_groups_on(files):
    pair = ["--worker-tls-certificate", files / "server.pem", "--worker-tls-key", files / "server.key"]
    start = [BIN / "massv", "up", "--target", TINY, "--listen", "127.0.0.1:0", "--groups", "2", "--threads", "1", *pair]
    for more, shown in ((["--worker-tls-ca", files / "ca.pem"], False),
                        (["--worker-tls-ca", files / "ca.pem", "--worker-tls-client-ca", files / "ca.pem"], True)):
        up = Process(*start, *more, "--step-seconds", "77")
        address = up.line("serving ").rpartition(" on ")[2]
        assert asked(address).returncode == 0
        lines = descendants(up.process.pid).values()
        daemons = [line for line in lines if "/massv-coordinator" in line], [line for line in lines if "/massv-worker" in line]
        assert daemons[0] and len(daemons[1]) >= 2
        assert all("--step-seconds 77" in line for line in sum(daemons, [])), daemons
        assert all("--worker-tls-certificate" in line for line in daemons[0])
        assert all("--tls-ca" in line and ("--tls-certificate" in line) == shown for line in daemons[1]), daemons[1]
        assert up.stop() == 0, up.stderr()
    halves = massv("up", "--target", TINY, *pair)
    assert halves.returncode == 2 and "--worker-tls-ca" in halves.stderr


def test_a_workers_port_that_is_open_to_all_is_refused(files):
    for open_to_all in ("0.0.0.0:0", "127.example.org:1"):
        process = coordinator(worker_listen=open_to_all)
        assert process.process.wait(30) == 1
        assert "--worker-token-file" in process.stderr() and process.stderr().count("\n") == 1, process.stderr()
    process = coordinator("--worker-token-file", files / "token", worker_listen="0.0.0.0:0")
    process.line("workers on ")
    process.stop()


@pytest.mark.parametrize("flags, words", (
    (["--tls-certificate", "server.pem"], "--tls-key"), (["--tls-client-ca", "ca.pem"], "--tls-certificate"),
    (["--worker-tls-key", "server.key"], "--worker-tls-certificate")))
def test_halves_of_a_pair_are_wrong_usage(files, flags, words):
    process = coordinator(flags[0], files / flags[1])
    assert process.process.wait(30) == 2 and words in process.stderr(), process.stderr()


def test_a_file_that_is_no_certificate_is_named(files):
    process = coordinator("--tls-certificate", files / "token", "--tls-key", files / "server.key")
    assert process.process.wait(30) == 1
    assert f"{files / 'token'}: has no" in process.stderr() and process.stderr().count("\n") == 1, process.stderr()
