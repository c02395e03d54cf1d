"""Sampling through the whole service: coupled text is a function of model, prompt, parameters and seed; every parameter is heard."""
import concurrent.futures
import json
import os
import signal

import pytest

from harness import GOLDEN, MODELS, PICTURES, massv, service
from test_failures import workers

TINY = GOLDEN / "qwen25vl-tiny"
LARGE = MODELS / "scenes-large"
SCENE = PICTURES / "scene-00002.png"
QUESTION = "What can you see in this picture?"
COUPLED, REJECTION = 1, 2
STEADY = ("--stall-ms", 60000)  # the drafter reads a prompt at once, however slow the machine: by rejection, text depends on the drafts
PARAMETERS = [
    dict(temperature=2.0),
    dict(temperature=1.5, sampling=dict(top_k=30, top_p=0.9, min_p=0.01, repetition_penalty=1.1, presence_penalty=0.3,
                                        frequency_penalty=0.2), bias={40: 1.5, 303: -1.0}),
    dict(temperature=3.0, sampling=dict(top_k=8), logprobs=3, min_tokens=20),
]


def answer(client, seed=None, mode=COUPLED, sampling=None, prompt=QUESTION, pictures=(SCENE,), max_tokens=48, **how):
    """Token ids, log-probabilities and the Finished event."""
    sampling = dict(sampling or {}, mode=mode, **({} if seed is None else {"seed": seed}))
    ids, logprobs, finished = [], [], None
    for event in client.stream(prompt, pictures, sampling=sampling, max_tokens=max_tokens, **how):
        ids += event.token.token_ids
        logprobs += event.token.logprobs
        if event.WhichOneof("event") == "finished":
            finished = event.finished
    return ids, logprobs, finished


@pytest.fixture(scope="module")
def client():
    with service(LARGE, "--drafter", MODELS / "scenes-massv", "--ranks", "2", *STEADY) as client:
        yield client


@pytest.fixture(scope="module")
def plain(client):
    """What is sampled without drafts."""
    return {(i, seed): answer(client, seed=seed, k=0, **PARAMETERS[i])[:2] for i in range(len(PARAMETERS)) for seed in (1, 2 ** 63)}


def test_coupled_text_is_the_same_for_every_draft_length_and_neighbour(client, plain):
    def check(work):
        (i, seed), k = work
        ids, logprobs, finished = answer(client, seed=seed, k=k, **PARAMETERS[i])
        assert (ids, logprobs) == plain[i, seed], (i, seed, k)
        assert finished.seed == seed
        return finished.speculation.accepted
    work = [(key, k) for key in plain for k in range(9)]
    with concurrent.futures.ThreadPoolExecutor(8) as eight:
        assert sum(eight.map(check, work)) > 100
    assert len({tuple(ids) for ids, _ in plain.values()}) > len(plain) / 2, "the seed and the parameters change the text"


@pytest.mark.parametrize("drafter", (None, "scenes-drafter", "scenes-small"))
def test_coupled_text_is_the_same_with_any_drafter_or_none(plain, drafter):
    with service(LARGE, "--ranks", "2", *(["--drafter", MODELS / drafter] if drafter else [])) as client:
        for (i, seed), (ids, logprobs) in plain.items():
            assert answer(client, seed=seed, **PARAMETERS[i])[:2] == (ids, logprobs), (i, seed)


@pytest.mark.parametrize("mode", (COUPLED, REJECTION))
def test_a_killed_rank_does_not_change_what_is_sampled(mode):
    how = dict(prompt="Tell me everything.", pictures=(), max_tokens=400, ignore_eos=True, temperature=1.0, logprobs=3)
    with service(TINY, "--drafter", GOLDEN / "massv-tiny", "--ranks", "2", *STEADY) as client:
        whole = answer(client, seed=5, mode=mode, k=3, **how)[:2]
        ids, logprobs, killed = [], [], False
        for event in client.stream(sampling=dict(seed=5, mode=mode), k=3, **how):
            ids += event.token.token_ids
            logprobs += event.token.logprobs
            if len(ids) > 20 and not killed:
                os.kill(workers(client.up.process.pid)[-1], signal.SIGKILL)
                killed = True
        assert killed and (ids, logprobs) == whole


def test_rejection_accepts_drafts_and_gives_other_text_with_other_seeds(client):
    got = [answer(client, seed=s, mode=REJECTION, temperature=2.0, k=5) for s in (1, 2, 3, 3)]
    assert sum(f.speculation.accepted for _, _, f in got) > 20
    assert got[2][0] == got[3][0] and len({tuple(ids) for ids, _, _ in got}) == 3


def test_a_seed_that_was_drawn_repeats_the_answer(client):
    drawn = [answer(client, temperature=1.5) for _ in range(3)]
    seeds = {f.seed for _, _, f in drawn}
    assert len(seeds) == 3 and all(0 < s < 2 ** 52 for s in seeds)
    for ids, _, finished in drawn:
        assert answer(client, temperature=1.5, seed=finished.seed, k=2)[0] == ids
    assert answer(client, temperature=0.0)[2].seed == 0


def test_each_of_n_answers_is_that_of_its_own_seed(client):
    ids, seeds = [[], [], []], {}
    for event in client.stream(QUESTION, [SCENE], temperature=1.5, n=3, max_tokens=32, sampling=dict(seed=70)):
        ids[event.token.output_index] += event.token.token_ids
        if event.WhichOneof("event") == "finished":
            seeds[event.finished.output_index] = event.finished.seed
    assert seeds == {0: 70, 1: 71, 2: 72}
    for i in range(3):
        assert answer(client, temperature=1.5, seed=70 + i, max_tokens=32, k=0)[0] == ids[i]


def test_bias_decides(client):
    greedy = answer(client, temperature=0.0, max_tokens=8)[0]
    assert greedy[0] not in answer(client, temperature=0.0, max_tokens=8, bias={greedy[0]: -100.0})[0][:1]
    for k in (0, 4):
        assert answer(client, temperature=1.0, max_tokens=8, bias={77: 100.0}, k=k)[0] == [77] * 8
    penal = answer(client, temperature=0.0, max_tokens=8, bias={77: 20.0}, sampling=dict(frequency_penalty=2.0))[0]
    assert 77 in penal and penal != [77] * 8


def test_one_of_top_k_is_greedy(client):
    greedy = answer(client, temperature=0.0)[0]
    for how in (dict(top_k=1), dict(top_p=1e-6), dict(min_p=1.0)):
        for mode in (COUPLED, REJECTION):
            assert answer(client, temperature=3.0, sampling=how, mode=mode, seed=9)[0] == greedy, (how, mode)


def test_the_command_line_hears_the_same(client):
    ids, logprobs, _ = answer(client, seed=12, temperature=0.9, sampling=dict(top_p=0.95, top_k=40, min_p=0.02), bias={40: 2.0},
                              logprobs=2, max_tokens=16)
    ran = massv("generate", "--address", client.address, "--prompt", QUESTION, "--image", SCENE, "--temperature", 0.9, "--top-p", 0.95,
                "--top-k", 40, "--min-p", 0.02, "--logit-bias", "40=2", "--repetition-penalty", 1, "--seed", 12, "--mode", "coupled",
                "--logprobs", 2, "--max-tokens", 16, "--json")
    assert ran.returncode == 0, ran.stderr
    got = json.loads(ran.stdout)
    assert got["token_ids"] == ids and got["seed"] == 12
    assert [len(p["top"]) for p in got["logprobs"]] == [2] * len(ids)
    assert all(abs(p["logprob"] - q.logprob) < 1e-6 for p, q in zip(got["logprobs"], logprobs))


@pytest.mark.parametrize("flags", (["--mode", "guess"], ["--logit-bias", "7"], ["--logit-bias", "7=200"], ["--seed", "-1"],
                                   ["--top-p", "0"], ["--logprobs", "3"], ["--min-p", "2"]))
def test_wrong_sampling_flags_end_with_2(flags):
    ran = massv("generate", "--address", "127.0.0.1:1", "--prompt", "x", *flags)
    assert ran.returncode == 2 and flags[0] in ran.stderr, ran.stderr
