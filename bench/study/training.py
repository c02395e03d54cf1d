"""training.py - the stages in which drafters come to be: the targets' answers, phase 1, phase 2, and what is left out or changed in turn."""
import json

from models import LARGE, SMALL, TEXT

BATCH = ("--batch", 16, "--threads", 1)  # two trainings side by side are faster than one on two cores
PHASE_1 = (*BATCH, "--learning-rate", 2e-3)
PHASE_2 = (*BATCH, "--learning-rate", 1.5e-3, "--beta2", 0.98, "--weight-decay", 0.01)
PROJECTORS = ("linear", "resampler")

# What phase 2 of an ablation does otherwise: its data, its labels or loss, the phase 1 that it begins with.
ABLATIONS = {
    "no-sdvit": ("another annotator's labels", "other", ("--labels", "reference"), "mlp"),
    "one-temperature": ("greedy answers alone", "greedy", (), "mlp"),
    "pictures-only": ("scenes alone: no question without a picture, none about pictures unlike them", "small-pictures", (), "mlp"),
    "linear": ("a linear projector", "small", (), "linear"),
    "resampler": ("a resampler of 16 tokens a picture for 36", "small", (), "resampler"),
    "kl": ("Kullback-Leibler divergence from the target's 20 most probable tokens", "small", ("--loss", "kl"), "mlp"),
    "tvd": ("total variation distance from the same", "small", ("--loss", "tvd"), "mlp"),
}
# For the larger target, from phase 1 and with its own answers: all of the drafter, or the projector of the small one's.
ADAPTATIONS = {"own": ("trained on scenes-large itself", None, ()),
               "projector": ("the language model of MASSV for scenes-small, projector alone trained on scenes-large's answers", "tune/massv-drafter",
                             ("--train", "projector"))}


# ---- the targets' answers ----

def ask(place, address, data, name, *more):
    said = json.loads(place.train("distill", "--address", address, "--data", place.at("data", f"{data}.jsonl"), "--out",
                                  place.at("answers", f"{name}.jsonl"), "--seed", place.settings.seed, "--json", *more))
    return {"made": said["made"] + said["before"], **{k: said[k] for k in ("tokens", "seconds", "tokens_per_s", "mean_acceptance_length")}}


def together(place, name, *parts):
    """One file of several, all in the same folder."""
    place.at(place.stage, f"{name}.jsonl").write_text("".join(path.read_text() for path in parts))


def answers(place):
    varied = ("--temperatures", place.settings.temperatures)
    found = {}
    for target, folder in ("small", SMALL), ("large", LARGE):
        with place.service(folder, TEXT, "--threads", 1, "--max-waiting", 512) as address:
            found[f"{target}-pictures"] = ask(place, address, "instructions", f"{target}-pictures", "--logprobs", 20, *varied)
            found[f"{target}-text"] = ask(place, address, "train-text", f"{target}-text", "--logprobs", 20, *varied)
            found[f"{target}-varied"] = ask(place, address, "varied", f"{target}-varied", "--logprobs", 20, *varied)
            found[f"{target}-held-out"] = ask(place, address, "held-out", f"{target}-held-out", "--temperatures", 0)
            if target == "small":
                found["greedy-pictures"] = ask(place, address, "instructions", "greedy-pictures", "--temperatures", 0)
                found["greedy-text"] = ask(place, address, "train-text", "greedy-text", "--temperatures", 0)
                found["greedy-varied"] = ask(place, address, "varied", "greedy-varied", "--temperatures", 0)
    for name in "small", "large", "greedy":
        together(place, name, *(place.at("answers", f"{name}-{part}.jsonl") for part in ("pictures", "text", "varied")))
    return found


# ---- training ----

def train(place, jobs):
    """massv-train for each {name: words}, as many at a time as there are cores; what each said."""
    commands = []
    for name, words in jobs.items():
        out = place.at(place.stage, name)
        resume = ("--resume",) if (out / "state.safetensors").exists() else ()  # of a stage that was interrupted
        commands.append((*words, "--features", place.folder / "features", "--seed", place.settings.seed,
                         "--evaluate-every", 250, "--out", out, "--json", *resume))
    return {name: json.loads(text) for name, text in zip(jobs, place.train_all(commands))}


def export(place, target, name, drafter=TEXT):
    """The run as a checkpoint beside it."""
    place.train("export", "--run", place.at(place.stage, name), "--target", target, "--drafter", drafter, "--out",
                place.at(place.stage, f"{name}-drafter"))


def project(place):
    s = place.settings
    kinds = [kind for kind in PROJECTORS if kind in s.ablations]
    words = ("project", "--target", SMALL, "--drafter", TEXT, "--data", place.at("data", "captions.jsonl"), "--held-out",
             place.at("data", "held-out-captions.jsonl"), *PHASE_1)
    jobs = {kind: (*words, "--epochs", s.epochs1, "--projector", kind) for kind in ("mlp", *kinds)}
    found = train(place, jobs | {"untrained": (*words, "--steps", 1, "--learning-rate", 0)})
    export(place, SMALL, "mlp")
    export(place, SMALL, "untrained")
    return found


def tuned(place, target, kind, data, *more, drafter=TEXT):
    """Words of phase 2, from phase 1 with that kind of projector. At T = 1 the target now and then says an id that only its own,
    padded table has; the drafter cannot learn from that answer."""
    held_out = place.at("answers", "large-held-out.jsonl" if target == LARGE else "small-held-out.jsonl")
    return ("tune", "--target", target, "--drafter", drafter, "--from", place.at("project", kind), "--data", data, "--held-out", held_out,
            "--epochs", place.settings.epochs2, "--on-error", "skip", *PHASE_2, *more)


def tune(place):
    found = train(place, {"massv": tuned(place, SMALL, "mlp", place.at("answers", "small.jsonl"))})
    export(place, SMALL, "massv")
    return found


def ablate(place):
    wanted = {name: ABLATIONS[name] for name in place.settings.ablations}
    data = {name: place.at("answers", f"{name}.jsonl") for name in ("small", "small-pictures", "greedy")}
    data["other"] = place.at("data", "other-words-and-text.jsonl")
    found = train(place, {name: tuned(place, SMALL, kind, data[source], *more) for name, (_, source, more, kind) in wanted.items()})
    for name in wanted:
        export(place, SMALL, name)
    return found


def adapt(place):
    wanted = {name: ADAPTATIONS[name] for name in place.settings.adaptations}
    begun = {name: place.at(*drafter.split("/")) if drafter else TEXT for name, (_, drafter, _) in wanted.items()}
    found = train(place, {name: tuned(place, LARGE, "mlp", place.at("answers", "large.jsonl"), *more, drafter=begun[name])
                          for name, (_, _, more) in wanted.items()})
    for name in wanted:
        export(place, LARGE, name, begun[name])
    return found
