"""The rpc layer against a client that nobody here wrote: grpcio talks to the server of tests/proto/service.h (test_rpc_peers runs it)."""
import os
import pathlib
import subprocess

import grpc
import pytest

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
BUILD = (ROOT / os.environ.get("BUILD", "build")).resolve()
LIMIT_S = 20
MESSAGE_LIMIT = 1 << 20  # of that server


@pytest.fixture(scope="module")
def channel():
    server = subprocess.Popen([BUILD / "tests/proto/test_rpc_peers", "serve", ""], stdout=subprocess.PIPE, text=True)
    with grpc.insecure_channel(server.stdout.readline().strip()) as channel:
        yield channel
    server.kill()
    server.wait()


def refusal(call, *arguments, **options):
    with pytest.raises(grpc.RpcError) as caught:
        answer = call(*arguments, timeout=LIMIT_S, **options)
        list(answer)  # of a stream
    return caught.value.code(), caught.value.details()


@pytest.mark.parametrize("size", [0, 1, 70001, MESSAGE_LIMIT])
def test_unary_bytes_come_back(channel, size):
    assert channel.unary_unary("/t/Echo")(b"x" * size, timeout=LIMIT_S) == b"x" * size


def test_streams_come_in_order(channel):
    order = (1000).to_bytes(4, "little") + (4).to_bytes(4, "little")
    got = channel.unary_stream("/t/Count")(order, timeout=LIMIT_S)
    assert [int.from_bytes(x, "little") for x in got] == list(range(1000))


def test_chat_goes_both_ways(channel):
    words = [b"a", b"", b"x" * 100000]
    assert list(channel.stream_stream("/t/Chat")(iter(words), timeout=LIMIT_S)) == words


def test_statuses_and_words_arrive(channel):
    assert refusal(channel.unary_unary("/t/Refuse"), b"") == (
        grpc.StatusCode.INVALID_ARGUMENT, "sampling.temperature: -1 is below 0")
    assert refusal(channel.unary_unary("/t/Nothing"), b"") == (grpc.StatusCode.UNIMPLEMENTED, "unknown method /t/Nothing")
    assert refusal(channel.stream_stream("/t/Attach"), iter([b"x"])) == (
        grpc.StatusCode.FAILED_PRECONDITION, "version 2 is wrong")


def test_a_message_over_the_limit_is_refused(channel):
    code, words = refusal(channel.unary_unary("/t/Echo"), b"x" * (MESSAGE_LIMIT + 1))
    assert code == grpc.StatusCode.RESOURCE_EXHAUSTED and str(MESSAGE_LIMIT) in words


@pytest.mark.parametrize("compression", [grpc.Compression.Gzip, grpc.Compression.Deflate])
def test_compressed_messages_are_refused(channel, compression):
    """The limit would count their compressed bytes, and a small message could become any size."""
    code, words = refusal(channel.unary_unary("/t/Echo"), b"x" * 100000, compression=compression)
    assert code == grpc.StatusCode.UNIMPLEMENTED and "disabled" in words
    assert channel.unary_unary("/t/Echo")(b"plain", timeout=LIMIT_S) == b"plain"


def test_stubs_of_the_public_api_generate_and_import(tmp_path):
    subprocess.run(["protoc", "-Iproto", f"--python_out={tmp_path}", f"--grpc_out={tmp_path}",
                    "--plugin=protoc-gen-grpc=/usr/bin/grpc_python_plugin", "proto/massv.proto", "proto/worker.proto"],
                   cwd=ROOT, check=True, timeout=60)
    use = "import massv_pb2 as m, massv_pb2_grpc, worker_pb2_grpc; print(m.GenerateRequest(prompt='hi').SerializeToString())"
    done = subprocess.run(["/usr/bin/python3", "-c", use], cwd=tmp_path, stdout=subprocess.PIPE, text=True, timeout=60, check=True)
    assert done.stdout.strip() == r"b'\x1a\x02hi'"
