"""A client nobody here wrote, and what a service does with bad requests: it names the fault, and lives on."""
import io
import json
import struct
import time
import zlib

import grpc
import PIL.Image
import pytest

from harness import GOLDEN, MODELS, PICTURES, massv, service

CODE = grpc.StatusCode
SCENE = PICTURES / "scene-00002.png"
QUESTION = "What can you see in this picture?"


@pytest.fixture(scope="module")
def client():
    with service(MODELS / "scenes-large", "--drafter", MODELS / "scenes-massv", "--ranks", "2") as running:
        yield running


def test_a_stock_client_gets_a_streamed_answer(client):
    events = list(client.stream(QUESTION, [SCENE], max_tokens=100))
    kinds = [event.WhichOneof("event") for event in events]
    assert kinds[0] == "prompt" and kinds[-1] == "finished" and kinds.count("finished") == 1
    tokens = [event.token for event in events if event.WhichOneof("event") == "token"]
    assert len(tokens) > 3, "the answer did not stream"
    finished, prompt = events[-1].finished, events[0].prompt
    assert finished.reason == "stop"
    assert finished.usage.completion_tokens == sum(len(t.token_ids) for t in tokens)
    assert finished.usage.prompt_tokens == prompt.prompt_tokens > prompt.image_tokens == sum(g.lines * g.columns for g in prompt.grids)
    assert "".join(t.text for t in tokens).startswith(("The picture", "This image"))
    assert 0 < finished.timing.first_token <= finished.timing.total


def test_speculation_figures_add_up(client):
    ids, _, finished = client.ask(QUESTION, [SCENE], k=5, max_tokens=100)
    s = finished.speculation
    assert s.drafter == "massv" and s.draft_tokens_per_step == 5
    assert sum(s.accepted_per_position) == s.accepted <= s.drafted <= 5 * s.steps
    assert list(s.accepted_per_position) == sorted(s.accepted_per_position, reverse=True)
    assert len(ids) <= 1 + s.accepted + s.steps  # the last step may reach beyond the end
    assert s.steps < len(ids) - 1, "no draft was accepted"


def test_marked_tokens_make_up_the_text(client):
    request = client.request(QUESTION, [SCENE], k=5, max_tokens=60)
    request.response.drafts = True
    tokens = [e.token for e in client.inference.Generate(request, timeout=60) if e.WhichOneof("event") == "token"]
    assert all(len(t.accepted) == len(t.token_ids) == len(t.token_texts) for t in tokens)
    assert all("".join(t.token_texts) == t.text for t in tokens)
    assert any(any(t.accepted) for t in tokens) and not all(all(t.accepted) for t in tokens)


@pytest.mark.parametrize("k", [0, 5])
def test_a_stop_string_ends_the_text_before_it(client, k):
    ids, text, finished = client.ask(QUESTION, [SCENE], max_tokens=100, k=k)
    assert finished.reason == "stop" and finished.stop_match == "<|im_end|>"
    for at in range(8, len(text) - 12, 5):
        stop = text[at:at + 7]
        at = text.index(stop)
        got_ids, got, finished = client.ask(QUESTION, [SCENE], max_tokens=100, k=k, stop=["not in it", stop])
        assert got == text[:at] and finished.stop_match == stop and finished.reason == "stop"
        assert got_ids == ids[:len(got_ids)] and finished.usage.completion_tokens == len(got_ids) < len(ids)
        s = finished.speculation
        assert sum(s.accepted_per_position) == s.accepted <= s.drafted and len(got_ids) <= 1 + s.accepted + s.steps


def test_held_back_text_comes_in_the_end(client):
    _, text, _ = client.ask(QUESTION, [SCENE], max_tokens=30)
    _, got, finished = client.ask(QUESTION, [SCENE], max_tokens=30, stop=[text[-4:] + "~"])
    assert got == text and finished.reason == "length" and finished.stop_match == ""


@pytest.mark.parametrize("k", [0, 5])
def test_an_answer_has_min_tokens(client, k):
    ids, _, _ = client.ask(QUESTION, [SCENE], max_tokens=100, k=k)
    more, _, finished = client.ask(QUESTION, [SCENE], max_tokens=200, k=k, min_tokens=len(ids) + 10)
    assert len(more) >= len(ids) + 10 and more[:len(ids) - 1] == ids[:-1]
    assert ids[-1] not in more[:len(ids) + 9], "a banned id was generated"
    assert finished.usage.completion_tokens == len(more)


def test_an_answer_has_256_tokens_where_nobody_says_how_many(client):
    assert client.ask(QUESTION, ignore_eos=True)[2].usage.completion_tokens == 256


def test_an_abort_ends_the_call_as_cancelled(client):
    stream = client.stream(QUESTION, [SCENE], max_tokens=2000, ignore_eos=True, request_id="to-abort")
    assert next(stream).WhichOneof("event") == "prompt"
    assert client.control.Abort(client.pb.AbortRequest(request_id="to-abort"), timeout=30).aborted
    last = None
    with pytest.raises(grpc.RpcError) as error:
        for last in stream:
            pass
    assert error.value.code() == CODE.CANCELLED and last.finished.reason == "cancelled"


def picture_claiming(width, height):
    """A PNG header of that size, without the pixels."""
    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    chunk = b"IHDR" + head
    return b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + chunk + struct.pack(">I", zlib.crc32(chunk))


def cut_picture():
    return SCENE.read_bytes()[:200]


def thin_picture():
    out = io.BytesIO()
    PIL.Image.new("RGB", (1, 4000)).save(out, "PNG")
    return out.getvalue()


BAD = {
    "no picture": (dict(prompt="x", pictures=[b""]), CODE.INVALID_ARGUMENT),
    "not a picture": (dict(prompt="x", pictures=[b"hello, this is text"]), CODE.INVALID_ARGUMENT),
    "a cut picture": (dict(prompt="x", pictures=[cut_picture()]), CODE.INVALID_ARGUMENT),
    "a huge picture": (dict(prompt="x", pictures=[picture_claiming(60000, 60000)]), CODE.INVALID_ARGUMENT),
    "an empty picture": (dict(prompt="x", pictures=[picture_claiming(0, 0)]), CODE.INVALID_ARGUMENT),
    "a very thin picture": (dict(prompt="x", pictures=[thin_picture()]), CODE.INVALID_ARGUMENT),
    "a prompt too long": (dict(prompt="many words " * 4000), CODE.INVALID_ARGUMENT),
    "too many drafts": (dict(prompt="x", k=17), CODE.INVALID_ARGUMENT),
    "a hot temperature": (dict(prompt="x", temperature=1000.0), CODE.INVALID_ARGUMENT),
    "a bias of no token": (dict(prompt="x", bias={10 ** 6: 1.0}), CODE.INVALID_ARGUMENT),
    "a bias without end": (dict(prompt="x", bias={5: float("inf")}), CODE.INVALID_ARGUMENT),
    "too many logprobs": (dict(prompt="x", logprobs=21), CODE.INVALID_ARGUMENT),
    "top-p of zero": (dict(prompt="x", sampling={"top_p": 0.0}), CODE.INVALID_ARGUMENT),
    "a negative temperature": (dict(prompt="x", temperature=-1.0), CODE.INVALID_ARGUMENT),
    "a penalty of zero": (dict(prompt="x", penalty=0.0), CODE.INVALID_ARGUMENT),
    "another model": (dict(prompt="x", model="llama"), CODE.NOT_FOUND),
    "a placeholder without a picture": (dict(prompt="<|vision_start|><|image_pad|><|vision_end|>x", raw=True), CODE.INVALID_ARGUMENT),
    "a picture without a placeholder": (dict(prompt="x", raw=True, pictures=[SCENE]), CODE.INVALID_ARGUMENT),
    "an empty stop string": (dict(prompt="x", stop=["a", ""]), CODE.INVALID_ARGUMENT),
    "a least above the most": (dict(prompt="x", max_tokens=4, min_tokens=5), CODE.INVALID_ARGUMENT),
    "a least above the most by default": (dict(prompt="x", min_tokens=300), CODE.INVALID_ARGUMENT),
    "no answers wanted": (dict(prompt="x", n=0), CODE.INVALID_ARGUMENT),
    "too many answers": (dict(prompt="x", n=17), CODE.INVALID_ARGUMENT),
    "no tokens wanted": (dict(prompt="x", max_tokens=0), CODE.INVALID_ARGUMENT),
}


@pytest.mark.parametrize("name", BAD)
def test_a_bad_request_is_refused_and_the_service_lives_on(client, name):
    how, code = BAD[name]
    got, words = client.refusal(**how)
    assert got == code, (got, words)
    assert words and "\n" not in words
    ids, _, _ = client.ask(QUESTION, [SCENE], max_tokens=8)
    assert len(ids) == 8


def test_an_unknown_role_is_refused(client):
    request = client.request("x")
    request.conversation.turns[0].role = "robot"
    with pytest.raises(grpc.RpcError) as error:
        list(client.inference.Generate(request, timeout=30))
    assert error.value.code() == CODE.INVALID_ARGUMENT and "robot" in error.value.details()


def test_ids_of_no_token_are_named_by_their_field(client):
    request = client.request("x", stop_ids=[5, 10 ** 6])
    for wanted in ("stopping.stop_token_ids[1]: 1000000 is not in the vocabulary of", "token_ids: the prompt's id 1000000 at 0 is outside 0.."):
        with pytest.raises(grpc.RpcError) as error:
            list(client.inference.Generate(request, timeout=30))
        assert error.value.code() == CODE.INVALID_ARGUMENT and error.value.details().startswith(wanted)
        request = client.pb.GenerateRequest(token_ids=client.pb.TokenIds(ids=[10 ** 6]))


def test_a_request_without_input_is_refused(client):
    with pytest.raises(grpc.RpcError) as error:
        list(client.inference.Generate(client.pb.GenerateRequest(), timeout=30))
    assert error.value.code() == CODE.INVALID_ARGUMENT


def test_a_message_that_is_no_message_is_refused(client):
    call = client.channel.unary_stream("/massv.v1.Inference/Generate", request_serializer=bytes, response_deserializer=bytes)
    with pytest.raises(grpc.RpcError) as error:
        list(call(b"\xff\xff\xff\xff not protobuf", timeout=30))
    assert error.value.code() in (CODE.INVALID_ARGUMENT, CODE.INTERNAL)
    assert len(client.ask("x", max_tokens=4)[0]) > 0


def test_a_cancelled_request_makes_room(client):
    stream = client.stream(QUESTION, [SCENE], max_tokens=2000, ignore_eos=True)
    next(iter(stream))
    stream.cancel()
    info = client.pb.GetServerInfoRequest()
    for _ in range(100):
        if client.control.GetServerInfo(info).running == 0:
            break
        time.sleep(0.05)
    assert client.control.GetServerInfo(info).running == 0


@pytest.mark.parametrize("k", [0, 5])
def test_one_call_streams_n_answers(client, k):
    ids, text, _ = client.ask(QUESTION, [SCENE], k=k)
    request = client.request(QUESTION, [SCENE], k=k)
    request.response.n = 4
    events = list(client.inference.Generate(request, timeout=60))
    assert [e.WhichOneof("event") for e in events].count("prompt") == 1
    for output in range(4):
        tokens = [e.token for e in events if e.WhichOneof("event") == "token" and e.token.output_index == output]
        finished = [e.finished for e in events if e.WhichOneof("event") == "finished" and e.finished.output_index == output]
        assert sum((list(t.token_ids) for t in tokens), []) == ids and "".join(t.text for t in tokens) == text
        assert len(finished) == 1 and finished[0].usage.completion_tokens == len(ids) and finished[0].reason == "stop"
    order = [e.token.output_index for e in events if e.WhichOneof("event") == "token"]
    assert order != sorted(order), "one after the other"


def test_load_is_what_runs_now(client):
    def load():
        return client.control.GetLoad(client.pb.GetLoadRequest())

    idle = load()
    assert (idle.running, idle.waiting, idle.kv_positions_reserved) == (0, 0, 0)
    assert (idle.max_running, idle.max_waiting) == (32, 128) and idle.kv_positions > 0
    stream = client.stream(QUESTION, [SCENE], max_tokens=2000, ignore_eos=True)
    assert next(stream) and next(stream)  # prompt, the first tokens
    busy = load()
    stream.cancel()
    assert busy.running == 1 and 0 < busy.kv_positions_reserved < busy.kv_positions == idle.kv_positions


def test_a_deadline_ends_a_request(client):
    assert client.refusal(QUESTION, [SCENE], max_tokens=3000, ignore_eos=True, timeout=0.2)[0] == CODE.DEADLINE_EXCEEDED


def test_generate_prints_the_object_of_the_contract(client):
    done = massv("generate", "--address", client.address, "--image", SCENE, "--prompt", QUESTION, "--draft-tokens", "5", "--json",
                 "--temperature", "0", "--repetition-penalty", "1")
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("\n") == 1
    answer = json.loads(done.stdout)
    ids, text, _ = client.ask(QUESTION, [SCENE], k=5)
    assert answer["token_ids"] == ids and answer["text"] == text
    assert set(answer) == {"id", "text", "token_ids", "finish_reason", "usage", "speculation", "timing_ms"}
    assert set(answer["usage"]) == {"prompt_tokens", "image_tokens", "completion_tokens", "cached_tokens"}
    s = answer["speculation"]
    assert set(s) == {"draft_tokens_per_step", "steps", "drafted", "accepted", "acceptance_rate", "mean_acceptance_length",
                      "accepted_per_position"}
    assert len(s["accepted_per_position"]) == 5
    assert s["mean_acceptance_length"] == pytest.approx(1 + s["accepted"] / s["steps"])
    assert s["acceptance_rate"] == pytest.approx(s["accepted"] / s["drafted"])
    assert set(answer["timing_ms"]) == {"queue", "image", "prefill", "first_token", "decode", "total"}


def test_generate_passes_stops_on(client):
    _, text, _ = client.ask(QUESTION, [SCENE])
    stop = text[20:25]
    done = massv("generate", "--address", client.address, "--image", SCENE, "--prompt", QUESTION, "--stop", "not in it", "--stop", stop,
                 "--repetition-penalty", "1")
    assert done.returncode == 0 and done.stdout == text[:text.index(stop)] + "\n", done.stderr
    few = massv("generate", "--address", client.address, "--image", SCENE, "--prompt", QUESTION, "--min-tokens", "80", "--max-tokens",
                "80", "--json")
    assert len(json.loads(few.stdout)["token_ids"]) == 80


def test_generate_streams_text_and_marks_drafts(client):
    plain = massv("generate", "--address", client.address, "--image", SCENE, "--prompt", QUESTION)
    marked = massv("generate", "--address", client.address, "--image", SCENE, "--prompt", QUESTION, "--show-drafts", "--draft-tokens", 5)
    assert plain.returncode == marked.returncode == 0, plain.stderr + marked.stderr
    assert "[" in marked.stdout and "\033" not in marked.stdout  # no terminal: brackets
    rest = marked.stdout
    while "{" in rest:  # rejected drafts are no part of the answer
        before, _, after = rest.partition("{")
        rest = before + after.partition("}")[2]
    assert rest.replace("[", "").replace("]", "") == plain.stdout
    assert "drafts accepted" in marked.stderr


def test_generate_marks_drafts_beside_its_json(client):
    plain = massv("generate", "--address", client.address, "--image", SCENE, "--prompt", QUESTION, "--show-drafts", "--draft-tokens", 5)
    done = massv("generate", "--address", client.address, "--image", SCENE, "--prompt", QUESTION, "--show-drafts", "--draft-tokens", 5, "--json")
    assert done.returncode == 0 and done.stdout.count("\n") == 1
    assert json.loads(done.stdout)["text"] + "\n" == massv("generate", "--address", client.address, "--image", SCENE, "--prompt", QUESTION).stdout
    assert done.stderr.startswith(plain.stdout) and "drafts accepted" in done.stderr


def test_generate_names_the_file_of_a_bad_picture(client, tmp_path):
    (tmp_path / "bad.png").write_bytes(cut_picture())
    done = massv("generate", "--address", client.address, "--image", SCENE, "--image", tmp_path / "bad.png", "--prompt", "x")
    assert done.returncode == 1 and done.stdout == "" and done.stderr.count("\n") == 1
    assert f"{tmp_path}/bad.png: media[1]" in done.stderr, done.stderr


def test_generate_prints_n_answers(client):
    ask = ["generate", "--address", client.address, "--image", SCENE, "--prompt", QUESTION, "--n", "2"]
    _, text, _ = client.ask(QUESTION, [SCENE], penalty=None)
    plain, whole = massv(*ask), massv(*ask, "--json")
    assert plain.stdout == f"[1 of 2]\n{text}\n\n[2 of 2]\n{text}\n", plain.stderr
    outputs = json.loads(whole.stdout)["outputs"]
    assert [o["text"] for o in outputs] == [text, text] and outputs[1]["finish_reason"] == "stop"


def test_generate_says_in_one_line_what_the_service_refused(client):
    done = massv("generate", "--address", client.address, "--prompt", "many words " * 4000)
    assert done.returncode == 1 and done.stdout == ""
    assert done.stderr.startswith(f"massv generate: {client.address}: INVALID_ARGUMENT: ") and done.stderr.count("\n") == 1


def test_a_private_service_answers_one_request():
    done = massv("generate", "--target", GOLDEN / "qwen25vl-tiny", "--drafter", GOLDEN / "massv-tiny", "--ranks", "2", "--prompt", "x",
                 "--max-tokens", "5", "--ignore-eos", "--json")
    assert done.returncode == 0, done.stderr
    assert len(json.loads(done.stdout)["token_ids"]) == 5
