"""Prompts that begin alike are computed once: no text changes, and answers and metrics say how much was there."""
import concurrent.futures
import json
import re
import urllib.request

import pytest

from harness import MODELS, PICTURES, massv, service
from test_metrics import metrics_url

LONG = "You are shown a picture and asked about it. Answer in whole sentences and say what is in it, where, and in which colour. " * 3
COUPLED = dict(temperature=1.0, sampling=dict(seed=5, top_p=0.95, mode=1))
PICTURE = [PICTURES / "scene-00002.png"]


def questions(k):
    """Shared beginnings: the same twice, another end, a picture twice and another one, and all of it sampled."""
    for how in {}, COUPLED:
        for prompt, pictures in (LONG + "Go.", []), (LONG + "Go.", []), (LONG + "Stop.", []), (LONG, PICTURE), (LONG, PICTURE), \
                (LONG, [PICTURES / "scene-00008.png"]), (LONG, PICTURE * 2), ("Short.", []):
            yield dict(prompt=prompt, pictures=pictures, k=k, max_tokens=40, ignore_eos=True, **how)


def answers(client, k):
    """One after the other, and all at once."""
    alone = [client.ask(**q) for q in questions(k)]
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        together = list(pool.map(lambda q: client.ask(**q), questions(k)))
    assert [a[:2] for a in together] == [a[:2] for a in alone]
    return alone


@pytest.mark.parametrize("ranks", (1, 2))
def test_no_text_changes(ranks):
    words = (MODELS / "scenes-small", "--drafter", MODELS / "scenes-massv", "--ranks", ranks, "--threads", 1)
    with service(*words, "--prefix-cache", "off") as client:
        without = {k: answers(client, k) for k in (0, 4)}
    with service(*words, "--kv-positions", 64 * 64) as client:
        cached = {k: answers(client, k) for k in (0, 4)}
    for k in 0, 4:
        assert [a[:2] for a in cached[k]] == [a[:2] for a in without[k]]
        assert all(a[2].usage.cached_tokens == 0 for a in without[k])
    first = [a[2].usage for a in cached[0]]
    assert first[0].cached_tokens == 0 and first[1].cached_tokens == (first[1].prompt_tokens - 1) // 64 * 64 > 64
    assert 64 <= first[2].cached_tokens <= first[1].cached_tokens and first[4].cached_tokens == (first[4].prompt_tokens - 1) // 64 * 64
    assert first[5].cached_tokens < 64 and first[7].cached_tokens == 0  # another picture stands at the prompt's beginning
    again = [a[2].usage for a in cached[4]]
    assert all(u.cached_tokens == (u.prompt_tokens - 1) // 64 * 64 for u in again)


def conversation(client):
    """Two turns about a picture; the answer to the second and its usage."""
    request = client.request(LONG, PICTURE, k=3, max_tokens=40, ignore_eos=True)
    answer = "".join(e.token.text for e in client.inference.Generate(request, timeout=60) if e.WhichOneof("event") == "token")
    request.conversation.turns.add(role="assistant").parts.add(text=answer)
    request.conversation.turns.add(role="user").parts.add(text="And what else?")
    events = list(client.inference.Generate(request, timeout=60))
    return answer, "".join(e.token.text for e in events if e.WhichOneof("event") == "token"), events[-1].finished.usage


def test_a_second_turn_begins_with_the_first():
    words = (MODELS / "scenes-small", "--drafter", MODELS / "scenes-massv", "--threads", 1)
    with service(*words, "--prefix-cache", "off") as client:
        *without, usage = conversation(client)
        assert usage.cached_tokens == 0
    with service(*words) as client:
        *cached, usage = conversation(client)
        assert cached == without
        assert 64 <= usage.cached_tokens < usage.prompt_tokens - 40 and usage.cached_tokens > usage.image_tokens


def test_what_was_there_is_counted():
    with service(MODELS / "scenes-small", "--threads", 1, "--metrics", "127.0.0.1:0") as client:
        first = json.loads(massv("generate", "--address", client.address, "--prompt", LONG, "--max-tokens", 8, "--json").stdout)
        second = json.loads(massv("generate", "--address", client.address, "--prompt", LONG, "--max-tokens", 8, "--json").stdout)
        assert first["usage"]["cached_tokens"] == 0 and second["usage"]["cached_tokens"] >= 64 and first["text"] == second["text"]
        load = client.control.GetLoad(client.pb.GetLoadRequest())
        assert load.kv_positions_reserved == 0 and load.kv_positions_cached == second["usage"]["cached_tokens"]
        text = urllib.request.urlopen(metrics_url(client.up), timeout=10).read().decode()
        assert f"massv_prefix_cache_hits_total {second['usage']['cached_tokens']}" in text
        assert f"massv_prefix_cache_queries_total {first['usage']['prompt_tokens'] * 2}" in text
        _, _, short = client.ask(prompt="x", max_tokens=2, ignore_eos=True)  # less than a page: asked for, and not found
        assert short.usage.prompt_tokens < 64
        text = urllib.request.urlopen(metrics_url(client.up), timeout=10).read().decode()
        assert f"massv_prefix_cache_queries_total {first['usage']['prompt_tokens'] * 2 + short.usage.prompt_tokens}" in text


def drafter_counts(client):
    """Rows of prompts that the drafter began to read, and those that it had."""
    text = urllib.request.urlopen(metrics_url(client.up), timeout=10).read().decode()
    return [int(re.search(rf"^massv_drafter_prefix_cache_{what}_total (\d+)$", text, re.M)[1]) for what in ("queries", "hits")]


@pytest.mark.parametrize("drafter", ("scenes-massv", "scenes-drafter"))
def test_the_drafter_reads_them_once_too(drafter):
    """As long as they are whole pages; the text-only one does not see that the pictures are others."""
    words = (MODELS / "scenes-small", "--drafter", MODELS / drafter, "--threads", 1, "--metrics", "127.0.0.1:0")
    asked = [dict(prompt=LONG, pictures=[PICTURES / f"scene-0000{i}.png"], k=4, max_tokens=24, ignore_eos=True) for i in (2, 2, 8)]
    told = {}
    for switch in "off", "on":
        with service(*words, "--prefix-cache", switch) as client:
            assert drafter_counts(client) == [0, 0]  # the warm-up is in no count
            told[switch] = []
            for question in asked:
                ids, text, finished = client.ask(**question)
                told[switch].append((ids, text, finished.speculation.drafted, finished.speculation.accepted, *drafter_counts(client)))
    assert [t[:-1] for t in told["on"]] == [t[:-1] for t in told["off"]] and all(t[-1] == 0 for t in told["off"])
    rows, hits = told["on"][0][-2], [t[-1] for t in told["on"]]
    whole = (rows - 1) // 64 * 64
    assert [t[-2] for t in told["on"]] == [rows, 2 * rows, 3 * rows] and whole >= 64
    assert hits == [0, whole, whole if drafter == "scenes-massv" else 2 * whole]


def test_on_or_off_is_wanted():
    done = massv("up", "--target", MODELS / "scenes-small", "--prefix-cache", "perhaps")
    assert done.returncode == 2 and "--prefix-cache perhaps: off or on is wanted" in done.stderr
