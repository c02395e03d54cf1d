"""stages.py - the stages of the study in the order of their work: each a function of the workplace that returns its figures."""
import dataclasses
import json

import report
import training
import work
from models import LARGE, REFERENCE, SMALL, TEXT
from work import ROOT

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
    make("varied", "varied", s.varied)
    training.together(place, "other-words-and-text", *sets(place, "other-words", "train-text"))
    for kind in UNFAMILIAR:
        make(kind, kind, s.unfamiliar)
    lines = [dict(json.loads(line), task=path.stem) for path in sets(place, *UNFAMILIAR) for line in path.read_text().splitlines()]
    place.at("data", "unfamiliar.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))  # all in one; the set is the task
    check = place.run(work.PYTHON, ROOT / "bench/study/data.py", "check", "--train", *sets(place, "captions", "instructions", "other-words", "train-text", "varied"),
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
    return evaluate(place, "eval", SMALL, {"text": TEXT}, *sets(place, "held-out"), place.settings.draft_tokens, "--concurrency", 8)


# ---- drafters beside each other ----

def trained(place, *names):
    """{name in the report: folder} of drafters that are there, by stage/run."""
    found = {name.split("/")[1]: place.at(*f"{name}-drafter".split("/")) for name in names}
    return {name: folder for name, folder in found.items() if (folder / "config.json").exists()}


def compare(place):
    """From the text-only drafter to MASSV, phase by phase, and the paper's ablation."""
    drafters = {"text": TEXT, "pytorch": REFERENCE} | trained(place, "project/untrained", "project/mlp", "ablate/no-sdvit", "tune/massv")
    return evaluate(place, "eval", SMALL, drafters, *sets(place, "held-out"), "5,10", "--concurrency", 8, "--tvd")


def ours(place):
    return {"text": TEXT} | trained(place, "tune/massv")


def variants(place):
    """MASSV beside itself with other data, projectors and losses."""
    drafters = ours(place) | trained(place, *(f"ablate/{name}" for name in place.settings.ablations if name != "no-sdvit"))
    return evaluate(place, "eval", SMALL, drafters, *sets(place, "held-out"), "5,10", "--concurrency", 8, "--tvd")


def lengths(place):
    """Every draft length."""
    return evaluate(place, "eval", SMALL, ours(place), *sets(place, "held-out"), place.settings.draft_tokens, "--concurrency", 8)


def sampled(place):
    """T = 1, both ways of verifying."""
    return evaluate(place, "eval", SMALL, ours(place), *sets(place, "held-out"), 5, "--concurrency", 8, "--temperature", 1, "--mode",
                    "coupled,rejection")


def transfer(place):
    adapted = [f"adapt/{name}" for name in place.settings.adaptations]
    drafters = ours(place) | trained(place, *adapted) | {"pytorch": REFERENCE}
    return evaluate(place, "eval", LARGE, drafters, *sets(place, "held-out"), "5,10", "--concurrency", 8, "--tvd")


def unfamiliar(place):
    drafters = {"text": TEXT, "pytorch": REFERENCE} | trained(place, "ablate/pictures-only", "tune/massv")
    return evaluate(place, "eval", SMALL, drafters, *sets(place, "unfamiliar"), 5, "--concurrency", 8, "--tvd")


def speed(place):
    """One request at a time: what one user sees. Captions alone, for an interval that says something, and all tasks."""
    target = place.at("speed", "scenes-deep")
    place.run(work.PYTHON, ROOT / "bench/study/deeper.py", LARGE, "--layers", DEEP, "--out", target)
    return {name: evaluate(place, name, target, ours(place), *sets(place, name), "5,10", "--concurrency", 1, "--limit",
                           place.settings.speed_prompts) for name in ("held-out-captions", "held-out")}


STAGES = {stage.name: stage for stage in (
    Stage("data", "pictures, questions and conversations, in splits that share nothing", make_data,
          settings=("seed", "pictures", "questions", "text", "varied", "held_out", "unfamiliar", "speed_prompts"), version=2),
    Stage("baseline", "the text-only drafter on held-out scenes", baseline, ("data",), ("draft_tokens",)),
    Stage("answers", "the targets answer the training questions", training.answers, ("data",), ("temperatures",)),
    Stage("project", "phase 1: projectors learn from captions", training.project, ("data",), ("epochs1", "ablations"), 2),
    Stage("tune", "phase 2: MASSV, from the target's answers", training.tune, ("answers", "project"), ("epochs2",)),
    Stage("ablate", "phase 2 with one thing changed at a time", training.ablate, ("answers", "project"), ("epochs2", "ablations"), 2),
    Stage("adapt", "drafters for the larger target", training.adapt, ("tune",), ("adaptations",)),
    Stage("compare", "text-only drafter, phases and MASSV on held-out scenes, T = 0", compare, ("tune", "ablate"), version=2),
    Stage("variants", "other data, projectors and losses on held-out scenes, T = 0", variants, ("tune", "ablate")),
    Stage("lengths", "every draft length", lengths, ("tune",), ("draft_tokens",)),
    Stage("sampled", "T = 1, coupled and rejection", sampled, ("tune",)),
    Stage("transfer", "drafters for the larger target", transfer, ("tune", "adapt")),
    Stage("unfamiliar", "questions without a picture, and pictures unlike all that was trained on", unfamiliar, ("tune", "ablate")),
    Stage("speed", "end to end, with a target that costs far more than its drafter", speed, ("tune",)),
    Stage("report", "all of it as Markdown, HTML and JSON", report.write,
          ("baseline", "compare", "variants", "lengths", "sampled", "transfer", "unfamiliar", "speed"), version=2),
)}
