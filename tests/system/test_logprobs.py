"""Log-probabilities through the whole service: those of every token are, bit for bit, those of one forward pass over prompt and answer, and
where drafts decide nothing those of the answer without drafts."""
import concurrent.futures
import math

import numpy
import pytest

from harness import GOLDEN, MODELS, PICTURES, massv, read_tensors, service
from test_sampling import COUPLED, REJECTION, STEADY, answer

SCENES = (MODELS / "scenes-large", MODELS / "scenes-massv", [PICTURES / "scene-00002.png"])  # bf16: activations may be rounded
GEMMA = (GOLDEN / "gemma3-tiny", GOLDEN / "gemma3-tiny-bf16", [GOLDEN / "images" / "palette.png", GOLDEN / "images" / "wide.png"])
LONG = "You are shown a picture and asked about it. Answer in whole sentences and say what is in it, where, and in which colour. " * 12
PENALTIES = dict(repetition_penalty=1.1, presence_penalty=0.3, frequency_penalty=0.2, top_p=0.95, top_k=40)
TOP = 20


def questions(pictures):
    """Greedy; coupled with all that changes a choice, behind a prompt of several chunks and pages; by rejection."""
    how = dict(max_tokens=40, ignore_eos=True, logprobs=TOP)
    return [dict(prompt="What can you see in this picture? Say it in one sentence, please.", pictures=pictures, **how),
            dict(prompt=LONG, pictures=pictures, seed=3, temperature=1.3, sampling=PENALTIES, bias={40: 1.5, 303: -1.0}, **how),
            dict(prompt=LONG + "Go.", pictures=[], seed=4, mode=REJECTION, temperature=0.7, **how)]


def said(logprobs):
    return [(p.logprob, [(t.token_id, t.logprob) for t in p.top]) for p in logprobs]


def forward(target, ranks, question, ids, out):
    """What the scores of massv dump make of an answer: double precision, rounded to f32 once."""
    pictures = [word for picture in question["pictures"] for word in ("--image", picture)]
    ran = massv("dump", "--model", target, "--prompt", question["prompt"], *pictures, "--answer-ids", ",".join(map(str, ids)), "--ranks", ranks,
                "--threads", 1, "--activations", "auto", "--out", out)
    assert ran.returncode == 0, ran.stderr
    tensors = read_tensors(out)
    assert tensors["input_ids"][-len(ids):].tolist() == ids
    found = []
    for token, row in zip(ids, tensors["logits"][-len(ids) - 1:-1].astype("f8").tolist()):
        largest = max(row)
        mass = math.log(math.fsum(math.exp(x - largest) for x in row))
        top = sorted(range(len(row)), key=lambda i: -row[i])[:TOP]
        found.append((float(numpy.float32(row[token] - largest - mass)), [(i, float(numpy.float32(row[i] - largest - mass))) for i in top]))
    return found


@pytest.mark.parametrize("model,ranks,groups", [(SCENES, 1, 2), (SCENES, 2, 1), (SCENES, 4, 1), (GEMMA, 1, 1), (GEMMA, 2, 1), (GEMMA, 4, 1)],
                         ids=lambda m: m[0].name if isinstance(m, tuple) else None)
def test_logprobs_are_those_of_a_forward_pass(model, ranks, groups, tmp_path):
    target, drafter, pictures = model
    asked = questions(pictures)
    with service(target, "--drafter", drafter, "--ranks", ranks, "--groups", groups, "--threads", 1, *STEADY) as client:
        plain = [answer(client, k=0, **q) for q in asked]
        assert all(len(logprobs) == len(ids) == 40 and f.usage.cached_tokens == 0 for ids, logprobs, f in plain)

        def check(work):
            i, k = work
            ids, logprobs, finished = answer(client, k=k, **asked[i])
            assert asked[i].get("mode") == REJECTION or (ids, logprobs) == plain[i][:2], (i, k)
            return i, k, ids, logprobs, finished

        with concurrent.futures.ThreadPoolExecutor(8) as eight:  # each beside 7 others
            done = list(eight.map(check, [(i, k) for k in range(9) for i in range(len(asked))]))
    assert sum(f.speculation.accepted for *_, f in done) > 50
    assert all(f.usage.cached_tokens >= 64 for i, *_, f in done if i > 0 and groups == 1), "they begin with pages of the first"
    drafted = [(i, ids, logprobs) for i, k, ids, logprobs, _ in done if i == 2 and k == 5]
    for i, ids, logprobs in [(i, *plain[i][:2]) for i in range(2)] + drafted:
        assert said(logprobs) == forward(target, ranks, asked[i], ids, tmp_path / "rows.safetensors"), i
