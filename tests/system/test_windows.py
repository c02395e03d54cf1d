"""A target whose local layers forget what their window has left, and a drafter of that kind: no text changes in prompts and answers of
many windows - with and without prompts that are taken over, in a cache that is too small, when a rank is killed - and less memory is held."""
import concurrent.futures
import os
import signal

import pytest

from harness import GOLDEN, service, workers

TARGET, DRAFTER, IMAGES = GOLDEN / "gemma3-tiny", GOLDEN / "gemma3-text-tiny", GOLDEN / "images"  # windows of 20 and of 8
LONG = "Two pictures lie on the table, one beside the other; the first is small and round, the second is wide and blue. " * 8


def questions(k):
    for prompt, pictures in (LONG + "Go.", []), (LONG + "Go.", []), (LONG + "Stop.", []), (LONG, [IMAGES / "palette.png"]), \
            (LONG, [IMAGES / "wide.png"]), (LONG, [IMAGES / "palette.png"]), ("Short.", []):
        yield dict(prompt=prompt, pictures=pictures, k=k, max_tokens=150, ignore_eos=True)


def answers(client, k):
    """One after the other, and all at once."""
    alone = [client.ask(**q) for q in questions(k)]
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        together = list(pool.map(lambda q: client.ask(**q), questions(k)))
    assert [a[:2] for a in together] == [a[:2] for a in alone]
    return alone


def load(client):
    return client.control.GetLoad(client.pb.GetLoadRequest())


@pytest.mark.parametrize("ranks", (1, 2))
def test_no_text_changes(ranks):
    words = (TARGET, "--drafter", DRAFTER, "--ranks", ranks, "--threads", 1)
    with service(*words, "--prefix-cache", "off") as client:
        without = {k: answers(client, k) for k in (0, 4)}
    with service(*words) as client:
        cached = {k: answers(client, k) for k in (0, 4)}
        assert load(client).kv_positions_reserved == 0
    for k in 0, 4:
        assert [a[:2] for a in cached[k]] == [a[:2] for a in without[k]]
    usage = [a[2].usage for a in cached[0]]
    assert usage[0].prompt_tokens > 6 * 64 and usage[0].cached_tokens == 0
    assert usage[1].cached_tokens == (usage[1].prompt_tokens - 1) // 64 * 64 and 128 < usage[2].cached_tokens
    assert usage[5].cached_tokens > 128


def test_a_full_cache_changes_no_text():
    """Three prompts are let in at a time, and two answers can grow to their end."""
    with service(TARGET, "--drafter", DRAFTER, "--ranks", 2, "--threads", 1) as client:
        wanted = {k: [a[:2] for a in answers(client, k)] for k in (0, 5)}
    with service(TARGET, "--drafter", DRAFTER, "--ranks", 2, "--threads", 1, "--kv-positions", 25 * 64) as client:
        work = [(k, i, q) for k in (0, 5) for i, q in enumerate(questions(k))]
        with concurrent.futures.ThreadPoolExecutor(len(work)) as pool:
            together = list(pool.map(lambda w: client.ask(**w[2])[:2], work))
        assert together == [wanted[k][i] for k, i, _ in work]
        assert client.control.GetServerInfo(client.pb.GetServerInfoRequest()).preemptions > 0
        assert load(client).kv_positions_reserved == 0


@pytest.mark.parametrize("k", (0, 5))
def test_a_killed_rank_changes_no_text(k):
    asked = dict(prompt=LONG, max_tokens=200, ignore_eos=True, k=k)
    with service(TARGET, "--drafter", DRAFTER, "--ranks", 2, "--threads", 1) as client:
        whole, ids, killed = client.ask(**asked)[0], [], False
        for event in client.stream(**asked):
            ids += event.token.token_ids
            if len(ids) > 70 and not killed:
                os.kill(workers(client.up.process.pid)[-1], signal.SIGKILL)
                killed = True
        assert killed and ids == whole
