"""A cache that is too small for all answers at once: requests are taken off and computed again, and no text changes."""
import concurrent.futures
import json

from harness import MODELS, PICTURES, service


def questions():
    scenes = [json.loads(line) for line in (PICTURES / "scenes.jsonl").read_text().splitlines()]
    return [dict(prompt=s["prompt"], pictures=[PICTURES / s["image"]], max_tokens=150, ignore_eos=True) for s in scenes[:8]]


def test_a_full_cache_changes_no_text():
    """Two pages hold a prompt and four an answer: four prompts are let in at a time, and two answers can grow to their end."""
    with service(MODELS / "scenes-large", "--drafter", MODELS / "scenes-massv", "--kv-positions", 9 * 64) as client:
        def preemptions():
            return client.control.GetServerInfo(client.pb.GetServerInfoRequest()).preemptions

        asked = questions()
        alone = [client.ask(k=0, **q)[:2] for q in asked]
        assert preemptions() == 0
        work = [(i, k) for k in (0, 5) for i in range(len(asked))]
        with concurrent.futures.ThreadPoolExecutor(len(work)) as pool:
            together = list(pool.map(lambda w: client.ask(k=w[1], **asked[w[0]])[:2], work))
        assert together == [alone[i] for i, _ in work]
        assert preemptions() > 0
        code, text = client.refusal("Too long.", max_tokens=600)
        assert code.name == "RESOURCE_EXHAUSTED" and "--kv-positions" in text
