"""harness.py - what the system tests share: the programs, a service, a gRPC client made from proto/massv.proto by stock tools."""
import contextlib
import functools
import importlib
import json
import os
import pathlib
import queue
import shutil
import signal
import struct
import subprocess
import sys
import tempfile
import threading
import time

import grpc
import numpy
import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
BIN = (ROOT / os.environ.get("BUILD", "build") / "bin").resolve()
GOLDEN = ROOT / "tests" / "golden"
MODELS = ROOT / "models"
PICTURES = MODELS / "pictures"
START_S = 120  # a service of small models needs two; sanitizers and a busy machine more
ENVIRONMENT = dict(os.environ, OMPI_ALLOW_RUN_AS_ROOT="1", OMPI_ALLOW_RUN_AS_ROOT_CONFIRM="1")


def massv(*arguments, timeout=START_S, **rest):
    """Runs massv to its end; stdout, stderr and returncode as text."""
    return subprocess.run([BIN / "massv", *map(str, arguments)], cwd=ROOT, env=rest.pop("env", ENVIRONMENT), timeout=timeout,
                          stdout=subprocess.PIPE, stderr=subprocess.PIPE, encoding="utf-8", errors="replace", **rest)


def read_tensors(path):
    """A .safetensors file as numpy arrays (bf16 is not needed here)."""
    data = pathlib.Path(path).read_bytes()
    size = struct.unpack("<Q", data[:8])[0]
    kinds = {"F32": "<f4", "I64": "<i8", "I32": "<i4", "U8": "u1"}
    return {name: numpy.frombuffer(data, kinds[t["dtype"]], count=int(numpy.prod(t["shape"])),
                                   offset=8 + size + t["data_offsets"][0]).reshape(t["shape"])
            for name, t in json.loads(data[8:8 + size]).items() if name != "__metadata__"}


def tensor_bytes(folder):
    """All tensors of a checkpoint folder as they are stored: name -> (dtype, shape, bytes)."""
    found = {}
    for path in sorted(pathlib.Path(folder).glob("*.safetensors")):
        data = path.read_bytes()
        size = struct.unpack("<Q", data[:8])[0]
        for name, t in json.loads(data[8:8 + size]).items():
            if name != "__metadata__":
                begin, end = t["data_offsets"]
                found[name] = (t["dtype"], t["shape"], data[8 + size + begin:8 + size + end])
    return found


def write_tensors(path, tensors):
    """The other way round, into one file."""
    head, at = {}, 0
    for name, (dtype, shape, data) in tensors.items():
        head[name] = {"dtype": dtype, "shape": shape, "data_offsets": [at, at + len(data)]}
        at += len(data)
    text = json.dumps(head).encode()
    pathlib.Path(path).write_bytes(struct.pack("<Q", len(text)) + text + b"".join(t[2] for t in tensors.values()))


def gemma_massv(folder):
    """A Gemma3 drafter with its target's eyes: tower of gemma3-tiny, layers of gemma3-text-tiny, a projector of its own. The id of a
    picture's token is one beyond its table, as in drafters made of the published 270M and 1B."""
    target, text = GOLDEN / "gemma3-tiny", GOLDEN / "gemma3-text-tiny"
    shutil.copytree(target, folder, ignore=shutil.ignore_patterns("golden", "model*"))
    config, own = json.loads((target / "config.json").read_text()), json.loads((text / "config.json").read_text())
    config["text_config"] = {name: value for name, value in own.items() if name not in ("architectures", "torch_dtype")}
    (folder / "config.json").write_text(json.dumps(config))
    wide, d = config["vision_config"]["hidden_size"], own["hidden_size"]
    draw = numpy.random.default_rng(20261126)
    tensors = {name: t for name, t in tensor_bytes(target).items() if name.startswith("vision_tower.")}
    tensors |= {"language_" + name.replace("model.", "model.model.", 1): t for name, t in tensor_bytes(text).items()}
    for name, shape in (("mm_input_projection_weight", [wide, d]), ("mm_soft_emb_norm.weight", [wide])):
        values = draw.normal(0, 0.2, shape).astype("<f4")
        tensors["multi_modal_projector." + name] = ("F32", shape, values.tobytes())
    write_tensors(folder / "model.safetensors", tensors)
    return folder


def gemma_pan_and_scan(folder, **settings):
    """gemma3-tiny with its pictures in crops, of sizes as tests/golden/pan_and_scan has them."""
    shutil.copytree(GOLDEN / "gemma3-tiny", folder, ignore=shutil.ignore_patterns("golden"))
    file = folder / "preprocessor_config.json"
    settings = json.loads((GOLDEN / "pan_and_scan/cases.json").read_text())["settings"] | {"do_pan_and_scan": True} | settings
    file.write_text(json.dumps(json.loads(file.read_text()) | settings))
    return folder


def descendants(pid):
    """Process ids of all children, grandchildren, ... of pid that are no zombies, with their command lines."""
    children = {}
    for entry in pathlib.Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError):
                stat = (entry / "stat").read_text().rpartition(")")[2].split()
                if stat[0] != "Z":
                    line = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
                    children.setdefault(int(stat[1]), []).append((int(entry.name), line))
    found, look = {}, [pid]
    while look:
        for child, line in children.get(look.pop(), []):
            found[child] = line
            look.append(child)
    return found


def workers(pid):
    """The ranks below pid; mpirun's own command line names the program, too."""
    return [p for p, line in descendants(pid).items() if "massv-worker" in line and "mpirun" not in line]


def alive(pid):
    with contextlib.suppress(OSError):
        return pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    return False


def wait_gone(pids, seconds):
    """The pids that are still there after at most that long."""
    until = time.monotonic() + seconds
    left = [p for p in pids if alive(p)]
    while left and time.monotonic() < until:
        time.sleep(0.05)
        left = [p for p in left if alive(p)]
    return left


class Process:
    """A program whose stdout lines can be waited for; stderr goes to a file."""

    def __init__(self, *command, env=None, stderr=None):
        self.log = tempfile.TemporaryFile("w+")
        self.lines = queue.Queue()
        self.process = subprocess.Popen([str(c) for c in command], cwd=ROOT, env=env or ENVIRONMENT, stdout=subprocess.PIPE,
                                        stderr=self.log if stderr is None else stderr, encoding="utf-8")
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self):
        for line in self.process.stdout:
            self.lines.put(line.rstrip("\n"))
        self.lines.put(None)

    def line(self, start, seconds=START_S):
        """The rest of the next line that starts so."""
        until = time.monotonic() + seconds
        while True:
            line = self.lines.get(timeout=max(0.01, until - time.monotonic()))
            assert line is not None, f"ended with {self.process.wait()} before saying {start!r}: {self.stderr()}"
            if line.startswith(start):
                return line[len(start):].strip()

    def stderr(self):
        self.log.seek(0)
        return self.log.read()

    def stop(self, how=signal.SIGTERM, seconds=30):
        """Its exit status, after a signal."""
        if self.process.poll() is None:
            self.process.send_signal(how)
        try:
            return self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            raise


@functools.lru_cache
def stubs(name="massv"):
    """massv_pb2 and massv_pb2_grpc, or those of another file in proto/, generated into a folder that is gone once they are loaded."""
    with tempfile.TemporaryDirectory(prefix="massv-stubs-") as folder:
        subprocess.run(["protoc", f"-I{ROOT / 'proto'}", f"--python_out={folder}", f"--grpc_out={folder}",
                        "--plugin=protoc-gen-grpc=/usr/bin/grpc_python_plugin", f"{name}.proto"], check=True)
        sys.path.insert(0, folder)
        try:
            return importlib.import_module(f"{name}_pb2"), importlib.import_module(f"{name}_pb2_grpc")
        finally:
            sys.path.remove(folder)


@functools.lru_cache
def stock_python():
    """The Python of a virtual environment with the clients of stock_clients.txt, which is made once under build/; skips the test where
    PyPI cannot be reached."""
    folder, pins = ROOT / "build" / "stock-clients", ROOT / "tests" / "system" / "stock_clients.txt"
    made = folder / pins.name  # a copy: the last thing that is written
    if not made.exists() or made.read_text() != pins.read_text():
        subprocess.run(["/usr/bin/python3", "-m", "venv", "--clear", folder], check=True)
        done = subprocess.run([folder / "bin" / "pip", "install", "-q", "--disable-pip-version-check", "--timeout", "10", "--retries", "1",
                               "-r", pins], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, encoding="utf-8")
        if done.returncode:
            pytest.skip(f"stock clients: no {pins.name} from PyPI: {done.stdout.strip().splitlines()[-1]}")
        made.write_text(pins.read_text())
    return folder / "bin" / "python"


class Client:
    def __init__(self, address):
        self.address = address
        # A service that was started again is found at once: by default the pauses between tries grow to two minutes.
        self.channel = grpc.insecure_channel(address, options=[("grpc.max_reconnect_backoff_ms", 1000)])
        self.pb, services = stubs()
        self.inference = services.InferenceStub(self.channel)
        self.control = services.ControlStub(self.channel)

    def request(self, prompt, pictures=(), k=None, max_tokens=None, ignore_eos=False, raw=False, temperature=0.0, penalty=1.0,
                stop=(), stop_ids=(), min_tokens=0, n=None, logprobs=None, bias=None, sampling=None, **more):
        pb = self.pb
        request = pb.GenerateRequest(**more)
        if raw:
            request.prompt = prompt
        else:
            turn = request.conversation.turns.add(role="user")
            for _ in pictures:
                turn.parts.add(picture=True)
            turn.parts.add(text=prompt)
        for picture in pictures:
            request.media.add(raw_bytes=picture if isinstance(picture, bytes) else pathlib.Path(picture).read_bytes())
        if temperature is not None:
            request.sampling.temperature = temperature
        if penalty is not None:
            request.sampling.repetition_penalty = penalty
        for name, value in (sampling or {}).items():
            setattr(request.sampling, name, value)
        for token, value in (bias or {}).items():
            request.sampling.logit_bias.add(token_id=token, bias=value)
        if logprobs is not None:
            request.response.logprobs = logprobs
        if max_tokens is not None:
            request.stopping.max_tokens = max_tokens
        request.stopping.ignore_eos = ignore_eos
        request.stopping.stop_strings.extend(stop)
        request.stopping.stop_token_ids.extend(stop_ids)
        request.stopping.min_tokens = min_tokens
        if n is not None:
            request.response.n = n
        if k == "auto":
            request.speculation.auto_draft_tokens = True
        elif k is not None:
            request.speculation.draft_tokens = k
        return request

    def stream(self, *arguments, timeout=START_S, **how):
        return self.inference.Generate(self.request(*arguments, **how), timeout=timeout)

    def ask(self, *arguments, **how):
        """Token ids, text and the Finished event of a whole answer."""
        ids, text, finished = [], "", None
        for event in self.stream(*arguments, **how):
            assert finished is None, "an event after the last one"
            kind = event.WhichOneof("event")
            if kind == "token":
                ids += event.token.token_ids
                text += event.token.text
            elif kind == "finished":
                finished = event.finished
        assert finished is not None, "the stream ended without a Finished event"
        return ids, text, finished

    def refusal(self, *arguments, **how):
        """Status code and message of a request that must fail."""
        try:
            self.ask(*arguments, **how)
        except grpc.RpcError as error:
            return error.code(), error.details()
        raise AssertionError("the request was answered")

    def close(self):
        self.channel.close()


@contextlib.contextmanager
def service(target, *arguments):
    """A running `massv up`; gives a Client whose .up is the Process. Checks that it ends well and leaves nothing behind."""
    up = Process(BIN / "massv", "up", "--target", target, "--listen", "127.0.0.1:0", *arguments)
    client = None
    try:
        client = Client(up.line("serving ").rpartition(" on ")[2])
        client.up = up
        yield client
    finally:
        family = descendants(up.process.pid)
        if client:
            client.close()
        status = up.stop()
        left = wait_gone(family, 10)
    assert status == 0, up.stderr()
    assert up.lines.get(timeout=5) is None, "one line on stdout, no more"
    assert not left, [family[p] for p in left]
