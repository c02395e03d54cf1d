"""report.py - what the stages found, as docs/study has it: each figure under the command that made it, each goal answered."""
import json
import shutil

import figures
import training
from document import Document

TEXT = "text"
NAMES = {"off": "no drafter", TEXT: "text-only", "pytorch": "scenes-massv (PyTorch)", "untrained": "untrained projector", "mlp": "after phase 1",
         "massv": "MASSV", "no-sdvit": "without SDViT", "one-temperature": "one temperature", "pictures-only": "scenes only",
         "linear": "linear projector", "resampler": "resampler", "kl": "KL", "tvd": "TVD",
         "own": "MASSV for scenes-large", "projector": "MASSV, projector retrained"}
OURS = "massv"  # whose figures are held against the goals


def goals(place):
    """(what, wanted, found, reached) of each goal."""
    small, large, fast = (place.done(stage)["figures"] for stage in ("compare", "transfer", "speed"))

    def ratio(said, k, task="all"):
        return figures.length(said, OURS, k, task) / figures.length(said, TEXT, k, task)

    def length(k):
        return figures.length(small, OURS, k)
    before, after = figures.distance(small, TEXT), figures.distance(small, OURS)
    gain = [figures.length(said, OURS, 5) - figures.length(said, TEXT, 5) for said in (small, large)]
    captions = figures.find(fast["held-out-captions"], OURS, 10)
    faster = captions["speed_up"]["over_text_only"]["end_to_end"]
    without = figures.length(small, "no-sdvit", 5)
    reference = [figures.length(small, "pytorch", k) for k in (5, 10)]
    return [
        ("mean acceptance length over text-only, all tasks, K = 5", ">= 1.35", f"{ratio(small, 5):.2f}", ratio(small, 5) >= 1.35),
        ("the same at K = 10", ">= 1.6", f"{ratio(small, 10):.2f}", ratio(small, 10) >= 1.6),
        ("the same for captions, K = 5", ">= 1.7", f"{ratio(small, 5, 'caption'):.2f}", ratio(small, 5, "caption") >= 1.7),
        (f"mean acceptance length, K = 5 (scenes-massv here: {reference[0]:.2f})", ">= 5.1", f"{length(5):.2f}", length(5) >= 5.1),
        (f"mean acceptance length, K = 10 (scenes-massv here: {reference[1]:.2f})", ">= 7.9", f"{length(10):.2f}", length(10) >= 7.9),
        ("without SDViT, K = 5", f"below text-only, {figures.length(small, TEXT, 5):.2f}", f"{without:.2f}",
         without < figures.length(small, TEXT, 5)),
        ("mean TVD", "from about 0.16 to <= 0.06", f"from {before:.3f} to {after:.3f}", after <= 0.06),
        ("share of the gain (K = 5) that is kept on the larger target", "> 0.5", f"{gain[1] / gain[0]:.2f}", gain[1] > 0.5 * gain[0]),
        (f"end to end over text-only on captions, K = 10, {captions['prompts']} prompts", ">= 1.46", figures.interval(faster),
         faster["value"] >= 1.46),
    ]


def name_of(drafter):
    return NAMES.get(drafter, drafter)


def length_table(doc, said, by_task=()):
    """Acceptance lengths by draft length, and by task at some of them."""
    drafts, all_drafters = figures.lengths_drafted(said), figures.drafters(said)
    doc.table(["mean acceptance length, all tasks", *(f"K = {k}" for k in drafts)],
              [[name_of(d), *(figures.interval(figures.find(said, d, k)["mean_acceptance_length"]) if len(drafts) < 4
                              else f"{figures.length(said, d, k):.2f}" for k in drafts)] for d in all_drafters])
    for k in by_task:
        doc.table([f"K = {k}, by task", *map(name_of, all_drafters)],
                  [[task, *(f"{figures.length(said, d, k, task):.2f}" for d in all_drafters)] for task in figures.tasks(said)])


def position_table(doc, said, k):
    """Share of steps that accepted the draft at each position."""
    rows = [(d, figures.find(said, d, k)) for d in figures.drafters(said)]
    doc.table([f"accepted at draft 1..{k}, of all steps", *range(1, k + 1)],
              [[name_of(d), *(f"{100 * n / f['steps']:.0f} %" for n in f["accepted_per_position"])] for d, f in rows])


def distance_table(doc, said):
    rows = [t for t in said["tvd"] if t["task"] == "all"]
    doc.table(["total variation distance along the target's answers", "mean", "expected acceptance", "same best token"],
              [[name_of(t["drafter"]), figures.interval(t["mean"], 3), f"{t['expected_acceptance']:.3f}", f"{t['same_best_token']:.3f}"] for t in rows])


def times(versus):
    """How many times as fast end to end, beside what it is compared with; nothing beside itself."""
    return figures.interval(versus["end_to_end"]) if versus else ""


def speed_table(doc, said):
    tasks = ["all"] if figures.tasks(said)[1:] == ["caption"] else figures.tasks(said)
    rows = [f for task in tasks for f in said["figures"] if f["task"] == task and f["drafter"] != "off"]
    doc.table(["captions" if len(tasks) == 1 else "task", "drafter", "K", "prompts", "length", "tokens/s", "over no drafter", "over text-only"],
              [[f["task"], name_of(f["drafter"]), f["draft_tokens"], f["prompts"], f"{f['mean_acceptance_length']['value']:.2f}",
                f"{f['tokens_per_s_end_to_end']['value']:.0f}", times(f["speed_up"]["over_off"]),
                times(f["speed_up"]["over_text_only"])] for f in rows])


def plot(doc, source, name, caption):
    """A plot that a program drew as SOURCE.png and SOURCE.svg, copied beside the report."""
    target = doc.folder / "plots" / name
    target.parent.mkdir(parents=True, exist_ok=True)
    for kind in ".png", ".svg":
        shutil.copyfile(source.with_suffix(kind), target.with_suffix(kind))
    doc.picture(target, caption)


def comparison(doc, place, stage, name, caption):
    """One of massv eval."""
    plot(doc, place.at(stage, "eval", "plots", name), f"{stage}-{name}", caption)


def curve(doc, place, stage, run, caption):
    """The loss of massv-train."""
    plot(doc, place.at(stage, run, "loss"), f"{stage}-{run}-loss", caption)


# ---- sections ----

def section_data(doc, place, done):
    doc.text("Each line is a question about a picture. Which split a scene belongs to follows from what it shows; the last command compares the "
             f"files all the same: {done['figures']['disjoint']}.")
    doc.table(["set", "lines"], done["figures"]["lines"].items())


def section_baseline(doc, place, done):
    doc.text("The paper's first experiment: how far a drafter gets that does not see the picture.")
    length_table(doc, done["figures"], (5,))


def section_answers(doc, place, done):
    doc.text("What a drafter is to learn from: the target's own answers, through the running service.")
    doc.table(["target", "answers", "tokens", "seconds", "tokens/s", "mean acceptance length"],
              [[name, f["made"], f["tokens"], f"{f['seconds']:.1f}", f"{f['tokens_per_s']:.0f}", f"{f['mean_acceptance_length']:.2f}"]
               for name, f in done["figures"].items()])


def training_table(doc, found, name=name_of):
    doc.table(["run", "steps", "tokens", "seconds", "tokens/s", "training loss", "held-out loss"],
              [[name(run), f["steps"], f["tokens"], f"{f['seconds']:.0f}", f"{f['tokens_per_s']:.0f}", f"{f['loss']:.3f}",
                f"{f['held_out_loss']:.3f}"] for run, f in found.items()])


def section_project(doc, place, done):
    doc.text("Cross-entropy on the references of captions; held out: captions of other scenes. Tower and language model are frozen.")
    training_table(doc, done["figures"], dict(zip(training.PROJECTORS, training.PROJECTORS), mlp="mlp", untrained="untrained (one step at rate 0)").get)
    curve(doc, place, "project", "mlp", "Phase 1: loss by step")


def section_tune(doc, place, done):
    doc.text("Cross-entropy on the target's answers, projector and language model; held out: its greedy answers about held-out scenes.")
    training_table(doc, done["figures"])
    curve(doc, place, "tune", "massv", "Phase 2: loss by step")


def section_ablate(doc, place, done):
    doc.text("Each like phase 2 but for one thing; the held-out loss is on the target's own greedy answers, whatever was learned. What acceptance "
             "becomes stands under `compare` and `variants`. The losses of KL and TVD are in their own measure; their held-out loss is cross-entropy like the others'.")
    doc.table(["run", "what is different"], [[name_of(name), training.ABLATIONS[name][0]] for name in done["figures"]])
    training_table(doc, done["figures"])


def section_adapt(doc, place, done):
    doc.table(["run", "what it is"], [[name_of(name), training.ADAPTATIONS[name][0]] for name in done["figures"]])
    training_table(doc, done["figures"])


def side_by_side(doc, place, stage, said):
    """Drafters on the same held-out questions, in every way."""
    doc.text(f"{said['prompts']} held-out questions, greedy; texts compared with those without drafts: {said['texts']['compared']}, different: "
             f"{said['texts']['different']}. Intervals are 95 % over prompts.")
    length_table(doc, said, (5, 10))
    position_table(doc, said, 10)
    distance_table(doc, said)
    comparison(doc, place, stage, "tvd-greedy", "Total variation distance between target and drafter along the target's answers")
    comparison(doc, place, stage, "acceptance-by-position-greedy", "Share of steps that accept the draft at each position")


def section_compare(doc, place, done):
    side_by_side(doc, place, "compare", done["figures"])


def section_variants(doc, place, done):
    doc.text("Each is MASSV but for one thing, under `ablate`.")
    side_by_side(doc, place, "variants", done["figures"])


def section_lengths(doc, place, done):
    length_table(doc, done["figures"])
    comparison(doc, place, "lengths", "length-by-draft-length-greedy", "Mean acceptance length by draft length")


def section_sampled(doc, place, done):
    said = done["figures"]
    rows = [f for f in said["figures"] if f["task"] == "all" and f["drafter"] != "off"]
    doc.table(["drafter", "mode", "mean acceptance length, K = 5"],
              [[name_of(f["drafter"]), f["mode"], figures.interval(f["mean_acceptance_length"])] for f in rows])


def section_transfer(doc, place, done):
    doc.text("scenes-large was grown from scenes-small and has its tower, byte for byte: transfer is easier here than between models that were "
             "trained apart.")
    length_table(doc, done["figures"], (5,))
    distance_table(doc, done["figures"])


def section_unfamiliar(doc, place, done):
    said = done["figures"]
    names = figures.drafters(said)
    behind = [task for task in figures.tasks(said) if figures.length(said, OURS, 5, task) < figures.length(said, TEXT, 5, task)]
    doc.text("A drafter degrades gracefully where it stays above the text-only one, or near it. MASSV is behind it in: "
             f"{', '.join(behind) or 'none of these sets'}.")
    doc.table(["set", *(f"{name_of(d)}, length" for d in names), *(f"{name_of(d)}, TVD" for d in names)],
              [[task, *(figures.interval(figures.find(said, d, 5, task)["mean_acceptance_length"]) for d in names),
                *(f"{figures.distance(said, d, task):.3f}" for d in names)] for task in figures.tasks(said)])


def section_speed(doc, place, done):
    doc.text("One request at a time, picture and prompt included; orders alternate prompt by prompt. scenes-large alone is so small that a step of "
             "it costs only a few times a step of the drafter; behind layers that compute and add nothing (bench/study/deeper.py) it says the "
             "same at the price of 64 layers, 32 times the drafter's 2 layers of half the width.")
    for said in done["figures"].values():
        speed_table(doc, said)


def rounded(value):
    """Five digits of every number: the others are noise."""
    if isinstance(value, float):
        return float(f"{value:.5g}")
    if isinstance(value, dict):
        return {k: rounded(v) for k, v in value.items()}
    return [rounded(v) for v in value] if isinstance(value, list) else value


SECTIONS = {"data": section_data, "baseline": section_baseline, "answers": section_answers, "project": section_project,
            "tune": section_tune, "ablate": section_ablate, "adapt": section_adapt, "compare": section_compare, "variants": section_variants,
            "lengths": section_lengths, "sampled": section_sampled, "transfer": section_transfer, "unfamiliar": section_unfamiliar, "speed": section_speed}


def write(place):
    folder = place.report
    doc = Document("MASSV in small", folder)
    found = goals(place)
    cpu = place.done("compare")["figures"]["cpu"]
    seconds = sum(place.done(stage)["seconds"] for stage in SECTIONS)
    doc.text(f"Made by `bench/study/run` (`make study`) on {cpu}, in {seconds / 60:.1f} minutes of stages. Lengths count the bonus token: 1 + accepted "
             "drafts / steps, at most K + 1. Each table stands under the commands that made its figures, with their seconds.")
    doc.heading("Goals")
    doc.table(["goal", "wanted", "found", ""], [[what, wanted, value, "reached" if reached else "MISSED"] for what, wanted, value, reached in found])
    for name, section in SECTIONS.items():
        done = place.done(name)
        doc.heading(f"{name}: {place.stages[name].about}")
        doc.commands(done["commands"])
        section(doc, place, done)
    doc.write()
    everything = {"goals": [dict(zip(("goal", "wanted", "found", "reached"), g)) for g in found],
                  "stages": {name: place.done(name) for name in SECTIONS}}
    (folder / "study.json").write_text(json.dumps(rounded(everything), separators=(",", ":")) + "\n")
    for what, wanted, value, reached in found:
        print(f"{'reached' if reached else 'MISSED ':7}  {what}: {value} (wanted {wanted})")
    return {"report": str(folder / "report.md"), "reached": sum(g[3] for g in found), "goals": len(found)}
