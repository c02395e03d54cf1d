"""--draft-tokens auto: who asks for it gets it, in every form, and is told what came of it."""
import json

import pytest

from harness import MODELS, PICTURES, massv, service

QUESTION = dict(prompt="Tell a short story about the picture.", pictures=[PICTURES / "scene-00008.png"], max_tokens=60, ignore_eos=True)


@pytest.fixture(scope="module")
def client():
    with service(MODELS / "scenes-large", "--drafter", MODELS / "scenes-massv", "--draft-tokens", "auto", "--threads", 1) as running:
        yield running


def test_the_service_and_its_answers_say_auto(client):
    info = client.control.GetServerInfo(client.pb.GetServerInfoRequest())
    assert info.auto_draft_tokens and info.draft_tokens == 0
    plain = client.ask(k=0, **QUESTION)
    for k in None, "auto":
        ids, text, finished = client.ask(k=k, **QUESTION)
        assert (ids, text) == plain[:2] and finished.speculation.auto_draft_tokens and finished.speculation.drafted > 0
    pinned = client.ask(k=3, **QUESTION)[2].speculation
    assert not pinned.auto_draft_tokens and pinned.draft_tokens_per_step == 3


def test_the_command_line_gives_the_mean(client):
    words = ("generate", "--address", client.address, "--prompt", QUESTION["prompt"], "--image", QUESTION["pictures"][0], "--max-tokens", 60, "--json")
    said = json.loads(massv(*words, "--draft-tokens", "auto").stdout)["speculation"]
    assert said["draft_tokens_per_step"] == pytest.approx(said["drafted"] / said["steps"]) and said["accepted"] == sum(said["accepted_per_position"])
    refused = massv(*words, "--draft-tokens", "many")
    assert refused.returncode == 2 and "--draft-tokens many: a whole number from 0 to 16, or auto, is wanted" in refused.stderr


def test_draws_that_depend_on_drafts_are_repeatable_with_a_seed(client):
    rejection = dict(QUESTION, temperature=1.0, sampling=dict(seed=11, mode=2))
    first, second = (client.ask(**rejection) for _ in range(2))
    assert first[0] == second[0] and first[2].speculation.draft_tokens_per_step == 5
