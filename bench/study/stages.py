"""stages.py - the stages of the study in the order of their work: each a function of the workplace that returns its figures."""
import dataclasses
import json

import report
import work
from work import ROOT

SMALL, LARGE, TEXT = ROOT / "models/scenes-small", ROOT / "models/scenes-large", ROOT / "models/scenes-drafter"
REFERENCE = ROOT / "models/scenes-massv"  # trained with PyTorch, models/README.md
DEEP = 64  # layers of the costly target: as many as Qwen2.5-VL-32B has
UNFAMILIAR = ("text", "backgrounds", "sizes", "drawings", "photographs")


@dataclasses.dataclass(frozen=True)
class Stage:
    name: str
    about: str
    work: object          # a function of the workplace
    needs: tuple = ()     # stages
    settings: tuple = ()  # members of Settings that it depends on
    version: int = 1      # of what it does: a higher one is done again


def sets(place, *names):
    return [place.at("data", f"{name}.jsonl") for name in names]


# ---- data ----

def make_data(place):
    s = place.settings

    def make(kind, name, count, *more):
        return place.run(work.PYTHON, ROOT / "bench/study/data.py", kind, "--out", place.at("data"), "--name", name, "--count", count,
                         "--seed", s.seed, *more)
    make("train", "captions", s.pictures, "--task", "caption")
    make("train", "instructions", s.pictures, "--questions", s.questions)
    make("train", "other-words", s.pictures, "--questions", s.questions, "--other-words")
    make("held-out", "held-out", s.held_out)
    make("held-out", "held-out-captions", s.speed_prompts, "--task", "caption")
    make("train-text", "train-text", s.text)
    for kind in UNFAMILIAR:
        make(kind, kind, s.unfamiliar)
    lines = [dict(json.loads(line), task=path.stem) for path in sets(place, *UNFAMILIAR) for line in path.read_text().splitlines()]
    place.at("data", "unfamiliar.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))  # all in one; the set is the task
    check = place.run(work.PYTHON, ROOT / "bench/study/data.py", "check", "--train", *sets(place, "captions", "instructions", "other-words", "train-text"),
                      "--held-out", *sets(place, "held-out", "held-out-captions", "unfamiliar"))
    lines = {path.stem: path.read_text().count("\n") for path in sorted(place.at("data").glob("*.jsonl"))}
    return {"lines": lines, "disjoint": check.strip().partition(": ")[0]}


# ---- evaluation ----

KEPT = ("drafter", "draft_tokens", "temperature", "mode", "task", "prompts", "output_tokens", "steps", "drafted", "accepted",
        "accepted_per_position", "mean_acceptance_length", "tokens_per_s_end_to_end", "speed_up")


def evaluate(place, name, target, drafters, questions, draft_tokens, *flags):
    """massv eval of drafters {name: folder} at draft lengths; the figures that the report needs."""
    words = [word for drafter, folder in drafters.items() for word in ("--drafter", f"{drafter}={work.shown(folder)}")]
    out = place.at(place.stage, name)
    said = json.loads(place.massv("eval", "--target", target, *words, "--data", questions, "--draft-tokens", draft_tokens, "--seed",
                                  place.settings.seed, "--threads", 1, "--out", out, "--json", *flags))
    return {"figures": [{k: f[k] for k in KEPT} for f in said["figures"]], "tvd": said["tvd"], "texts": said["texts"], "cpu": said["origin"]["cpu"],
            "prompts": said["prompts"]}


def baseline(place):
    return evaluate(place, "eval", SMALL, {"text": TEXT}, *sets(place, "held-out"), place.settings.draft_tokens, "--concurrency", 8, "--tvd")


# ---- the target's answers ----

def answers_of(place, target, name, temperatures, drafter):
    with place.service(target, drafter, "--threads", 1, "--max-waiting", 512) as address:
        said = place.train("distill", "--address", address, "--data", *sets(place, "instructions"), "--out", place.at(place.stage, f"{name}.jsonl"),
                           "--temperatures", temperatures, "--seed", place.settings.seed, "--logprobs", 20, "--json")
    return json.loads(said)


def answers(place):
    return {"small": answers_of(place, SMALL, "small", place.settings.temperatures, TEXT),
            "greedy": answers_of(place, SMALL, "greedy", "0", TEXT),
            "large": answers_of(place, LARGE, "large", place.settings.temperatures, TEXT)}


# ---- drafters beside each other ----

def drafters_of(place):
    """All that the study compares, by their names in the report."""
    return {"text": TEXT, "pytorch": REFERENCE}


def compare(place):
    s = place.settings
    return evaluate(place, "eval", SMALL, drafters_of(place), *sets(place, "held-out"), s.draft_tokens, "--concurrency", 8, "--tvd")


def sampled(place):
    """T = 1, both ways of verifying."""
    return evaluate(place, "eval", SMALL, drafters_of(place), *sets(place, "held-out"), 5, "--concurrency", 8, "--temperature", 1, "--mode",
                    "coupled,rejection")


def transfer(place):
    return evaluate(place, "eval", LARGE, drafters_of(place), *sets(place, "held-out"), "5,10", "--concurrency", 8, "--tvd")


def unfamiliar(place):
    return evaluate(place, "eval", SMALL, drafters_of(place), *sets(place, "unfamiliar"), 5, "--concurrency", 8, "--tvd")


def speed(place):
    """One request at a time: what one user sees. Captions alone, for an interval that says something, and all tasks."""
    target = place.at("speed", "scenes-deep")
    place.run(work.PYTHON, ROOT / "bench/study/deeper.py", LARGE, "--layers", DEEP, "--out", target)
    return {name: evaluate(place, name, target, drafters_of(place), *sets(place, name), "5,10", "--concurrency", 1, "--limit",
                           place.settings.speed_prompts) for name in ("held-out-captions", "held-out")}


def write_report(place):
    return report.write(place)


STAGES = {stage.name: stage for stage in (
    Stage("data", "pictures, questions and conversations, in splits that share nothing", make_data,
          settings=("seed", "pictures", "questions", "held_out", "unfamiliar", "speed_prompts", "text")),
    Stage("baseline", "the text-only drafter on held-out scenes", baseline, ("data",), ("draft_tokens",)),
    Stage("answers", "the targets answer the training questions", answers, ("data",), ("temperatures",)),
    Stage("compare", "drafters beside each other on held-out scenes, T = 0", compare, ("data",), ("draft_tokens",)),
    Stage("sampled", "the same at T = 1, coupled and rejection", sampled, ("data",)),
    Stage("transfer", "the same drafters for the larger target", transfer, ("data",)),
    Stage("unfamiliar", "questions without a picture, and pictures unlike all that was trained on", unfamiliar, ("data",)),
    Stage("speed", "end to end, with a target that costs far more than its drafter", speed, ("data",)),
    Stage("report", "all of it as Markdown, HTML and JSON", write_report, ("baseline", "answers", "compare", "sampled", "transfer", "unfamiliar",
                                                                           "speed")),
)}
