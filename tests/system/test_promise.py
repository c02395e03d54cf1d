"""The promise: greedy token ids with speculation equal those without, for every draft length, rank count and kind of drafter, for
text and pictures, alone and beside other requests."""
import concurrent.futures
import json
import re
import shutil
import struct

import pytest

from harness import GOLDEN, MODELS, PICTURES, gemma_massv, gemma_pan_and_scan, service

TINY = GOLDEN / "qwen25vl-tiny"
GEMMA = GOLDEN / "gemma3-tiny"
LARGE = MODELS / "scenes-large"
COUPLED = 1  # the sampling mode
STEADY = ("--stall-ms", 60000)  # the drafter reads a prompt at once, so that every answer has drafts however slow the machine
IMAGES = GOLDEN / "images"
DRAFTERS = {  # kind: target, drafter, draft lengths
    "text": (LARGE, MODELS / "scenes-drafter", range(9)),
    "massv": (LARGE, MODELS / "scenes-massv", range(9)),
    "tiny-text": (TINY, GOLDEN / "qwen2-tiny", (0, 1, 4, 8)),
    "tiny-massv": (TINY, GOLDEN / "massv-tiny", (0, 3, 8)),
    "other-vision": (LARGE, MODELS / "scenes-massv", (0, 2, 5, 7)),
    "vision": (TINY, GOLDEN / "qwen25vl-tiny-bf16", range(9)),
    "tiny-gemma-text": (GEMMA, GOLDEN / "gemma3-text-tiny", range(9)),
    "tiny-gemma-massv": (GEMMA, None, range(9)),
    "gemma-vision": (GEMMA, GOLDEN / "gemma3-tiny-bf16", range(9)),
}
RANKS = {"other-vision": (2,), "text": (1, 2), "massv": (1, 2, 4), "tiny-text": (1, 4), "tiny-massv": (2,), "vision": (1, 2, 4),
         "tiny-gemma-text": (1, 2, 4), "tiny-gemma-massv": (1, 2, 4), "gemma-vision": (1, 2, 4)}


def prompts(target):
    """What is asked: keyword arguments of Client.ask, without the draft length."""
    if target == GEMMA:  # a window of 20 tokens, pictures of 16
        words = "Two pictures lie on the table, one beside the other; the first is small and round, the second is wide. "
        return [dict(prompt=2 * words + "Which one is red?", pictures=[IMAGES / "palette.png", IMAGES / "wide.png"], max_tokens=40,
                     ignore_eos=True),
                dict(prompt="What is this?", pictures=[IMAGES / "speck.png"], max_tokens=70, ignore_eos=True, penalty=1.1),
                dict(prompt=5 * words + "Go.", max_tokens=80, ignore_eos=True)]  # more than two pages leave the window
    if target == TINY:
        return [dict(prompt="What is this?", pictures=[IMAGES / "deep.png"], max_tokens=40, ignore_eos=True),
                dict(prompt="Two pictures, one question.", pictures=[IMAGES / "speck.png", IMAGES / "wide.png"], max_tokens=24,
                     ignore_eos=True, penalty=None),  # the model's own repetition penalty
                dict(prompt="Only words.", max_tokens=32, ignore_eos=True)]
    scenes = [json.loads(line) for line in (PICTURES / "scenes.jsonl").read_text().splitlines()]
    long = sorted(scenes, key=lambda s: -len(s["reference"]))[:2]
    return [dict(prompt=s["prompt"], pictures=[PICTURES / s["image"]], max_tokens=64) for s in long] + [
        dict(prompt="Name the days of the week.", max_tokens=48, ignore_eos=True)]


def with_another_tower(drafter, folder):
    """A copy whose tower differs from the target's in one bit: a drafter that must look for itself, and is as good as before."""
    shutil.copytree(drafter, folder)
    file = folder / "model.safetensors"
    data = bytearray(file.read_bytes())
    size = struct.unpack("<Q", data[:8])[0]
    first = json.loads(data[8:8 + size])["visual.patch_embed.proj.weight"]["data_offsets"][0]
    data[8 + size + first] ^= 1  # the lowest bit of a bf16 mantissa
    file.write_bytes(data)
    return folder


@pytest.mark.parametrize("kind,ranks", [(k, r) for k in DRAFTERS for r in RANKS[k]])
def test_speculation_does_not_change_one_token(kind, ranks, tmp_path):
    target, drafter, lengths = DRAFTERS[kind]
    if kind == "other-vision":
        drafter = with_another_tower(drafter, tmp_path / "drafter")
    if kind == "tiny-gemma-massv":
        drafter = gemma_massv(tmp_path / "drafter")
    with service(target, "--drafter", drafter, "--ranks", ranks, *STEADY) as client:
        model = client.control.GetModelInfo(client.pb.GetModelInfoRequest())
        assert model.drafter_kind == kind.rpartition("-")[2] and re.fullmatch("[0-9a-f]{32}", model.fingerprint)
        asked = prompts(target)
        plain = [client.ask(k=0, **p) for p in asked]
        assert all(len(ids) == finished.usage.completion_tokens > 4 for ids, _, finished in plain)
        assert all(finished.speculation.drafted == 0 for _, _, finished in plain)

        def check(i, k):
            ids, text, finished = client.ask(k=k, **asked[i])
            assert ids == plain[i][0] and text == plain[i][1], (i, k)
            assert finished.reason == plain[i][2].reason
            assert finished.speculation.auto_draft_tokens == (k == "auto") and not finished.speculation.inactive
            if k != "auto":
                assert finished.speculation.draft_tokens_per_step == k and (finished.speculation.drafted > 0) == (k > 0)
            return finished.speculation.accepted

        work = [(i, k) for k in (*lengths, "auto") for i in range(len(asked))]
        alone = sum(check(i, k) for i, k in work[len(asked):])
        if not kind.startswith("tiny"):  # drafters of random weights never agree: there every draft is rolled back
            assert alone > 0, "no draft was ever accepted"
        with concurrent.futures.ThreadPoolExecutor(8) as eight:  # each runs beside 7 others, of other lengths
            list(eight.map(lambda w: check(*w), work[::-1]))


@pytest.mark.parametrize("kind,ranks", [("text", 2), ("massv", 1), ("vision", 4)])
def test_coupled_samples_of_gemma_are_the_same_for_every_draft_length(kind, ranks, tmp_path):
    """Beyond the greedy promise: in coupled mode the text is a function of prompt, parameters and seed, windows and pictures or not."""
    drafter = {"text": GOLDEN / "gemma3-text-tiny", "vision": GOLDEN / "gemma3-tiny-bf16"}.get(kind) or gemma_massv(tmp_path / "drafter")
    asked = [dict(a, max_tokens=40, temperature=1.0, penalty=1.0, sampling=dict(seed=seed, mode=COUPLED))
             for a in prompts(GEMMA) for seed in (1, 2 ** 63)]
    with service(GEMMA, "--drafter", drafter, "--ranks", ranks, *STEADY) as client:
        plain = [client.ask(k=0, **a)[:2] for a in asked]
        assert len({tuple(ids) for ids, _ in plain}) == len(asked), "the prompt and the seed change the text"

        def check(i, k):
            ids, text, finished = client.ask(k=k, **asked[i])
            assert (ids, text) == plain[i], (i, k)
            assert not finished.speculation.inactive and (k == "auto" or (finished.speculation.drafted > 0) == (k > 0))
            return finished.speculation.accepted

        work = [(i, k) for k in (*range(9), "auto") for i in range(len(asked))]
        with concurrent.futures.ThreadPoolExecutor(8) as eight:  # each runs beside 7 others, of other lengths
            accepted = sum(eight.map(lambda w: check(*w), work))
        assert accepted > 0


@pytest.mark.parametrize("kind,ranks,settings", [("text", 1, {}), ("massv", 2, {}), ("vision", 4, {"do_pan_and_scan": False})])
def test_crops_of_pictures_keep_the_promise(kind, ranks, settings, tmp_path):
    """Pan-and-scan, on by the checkpoint or by the flag: target and drafter see the same crops. Greedy ids are those of transformers."""
    drafter = {"text": GOLDEN / "gemma3-text-tiny", "vision": GOLDEN / "gemma3-tiny-bf16"}.get(kind) or gemma_massv(tmp_path / "drafter")
    flags = ("--pan-and-scan", "on") if settings else ()
    golden = json.loads((GOLDEN / "pan_and_scan/cases.json").read_text())["prompts"][0]
    asked = [dict(prompt="What is this?", pictures=[IMAGES / "wide.png"], max_tokens=48, ignore_eos=True),
             dict(prompt="Which one is red?", pictures=[IMAGES / "deep.png", IMAGES / "wide.png"], max_tokens=24, ignore_eos=True)]
    with service(gemma_pan_and_scan(tmp_path / "target", **settings), "--drafter", drafter, "--ranks", ranks, *STEADY, *flags) as client:
        plain = [client.ask(k=0, **a) for a in asked]
        assert plain[0][0] == golden["greedy_ids"]
        assert plain[0][2].usage.prompt_tokens == len(golden["ids"])
        assert [p[2].usage.image_tokens for p in plain] == [5 * 16, (3 + 5) * 16]

        def check(i, k):
            ids, text, finished = client.ask(k=k, **asked[i])
            assert (ids, text) == plain[i][:2], (i, k)
            assert not finished.speculation.inactive and (k == "auto" or finished.speculation.drafted > 0)
            return finished.speculation.accepted

        work = [(i, k) for k in (1, 2, 3, 4, 5, 6, 7, 8, "auto") for i in (0, 1)]
        with concurrent.futures.ThreadPoolExecutor(4) as four:
            accepted = sum(four.map(lambda w: check(*w), work))
        assert kind != "vision" or accepted > 0


def test_a_target_may_end_before_the_id_of_its_pictures(tmp_path):
    """A drafter made of a small text model, served by itself."""
    model = gemma_massv(tmp_path / "model")
    with service(model, "--drafter", model, "--ranks", 2) as client:
        asked = dict(prompt="What is this?", pictures=[IMAGES / "speck.png"], max_tokens=24, ignore_eos=True)
        plain, fast = client.ask(k=0, **asked), client.ask(k=4, **asked)
        assert plain[0] == fast[0] and len(plain[0]) == 24
        assert fast[2].speculation.accepted > 0
