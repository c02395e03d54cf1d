"""data.py - the data sets of the study, from a seed: the same bytes every time.

    /usr/bin/python3 bench/study/data.py train --out work/data --name instructions --count 1800 --questions 2
    /usr/bin/python3 bench/study/data.py train --out work/data --name captions --count 1800 --task caption        # of the same pictures
    /usr/bin/python3 bench/study/data.py held-out --out work/data --name held-out --count 154
    /usr/bin/python3 bench/study/data.py check --train work/data/captions.jsonl --held-out work/data/held-out.jsonl

Each set is a file NAME.jsonl, {"image": "pictures/DIGEST.png" or null, "prompt", "reference", "task", "scene"} a line, and its pictures beside
it, which sets share; a reference stands only where there is a right one. Picture i depends on the seed and i alone, not on what is asked about it. Sets:

  train        scenes that any training may use
  held-out     scenes that none ever sees; as many questions of each of the eleven tasks
  train-text   five tasks without a picture
  varied       scenes of the training split on grounds and in sizes that no other set has, and clouds of colour with nothing in them
  text         the tasks of train-text and one more, other questions
  backgrounds  held-out scenes on dark, gaudy and patterned grounds
  sizes        held-out scenes as pictures of other sizes
  drawings     things that no model of models/ has seen: other emoji, and outlines drawn with a pen
  photographs  landscapes with clouds, light and grain, made from noise; nothing that the questions' vocabulary names

Needs python3-pil, python3-numpy and fonts-noto-color-emoji."""
import argparse
import hashlib
import io
import json
import pathlib
import random
import sys

import scenes
import strange
import talk

TASKS = [task.__name__ for task, _ in talk.VISUAL]
TOLD = ("train", "held-out", "sizes")  # whose pictures are just what the scene says
GENERAL = ["describe", "caption", "count", "listing", "story", "kinds"]  # that can be asked about any picture


def rng_of(*key):
    """A generator for one purpose: texts seed it the same way on every machine."""
    return random.Random("/".join(map(str, key)))


def png(image):
    out = io.BytesIO()
    image.save(out, "PNG")
    return out.getvalue()


def make(kind, seed, i):
    """(what it shows as a scene, or None; the picture) of number i of a set."""
    draw, brush = rng_of(seed, kind, i, "scene"), rng_of(seed, kind, i, "paint")
    if kind == "photographs":
        return None, strange.photograph(brush)
    if kind == "drawings":
        return strange.drawing(draw, brush)
    if kind == "varied":
        scene = scenes.draw_split(draw, held_out=False) if i % 4 != 3 else None
        return scene, strange.varied(scene, brush, i)
    scene = scenes.draw_split(draw, held_out=kind != "train")
    if kind == "backgrounds":
        return scene, scenes.paint(scene, brush, strange.ground(brush))
    image = scenes.paint(scene, brush)
    return scene, strange.resized(image, brush) if kind == "sizes" else image


def questions(scene, kind, seed, i, task, n):
    """(task, prompt, reference or None) of one picture; no task: different ones, drawn as often as in the models' own training."""
    asker = rng_of(seed, kind, i, "talk", task)
    said = talk.talk(scene or scenes.draw_scene(asker), asker, n, task)
    return [(name, prompt, answer if kind in TOLD else None) for name, prompt, answer in said]


def task_of(kind, i, wanted):
    if wanted or kind == "train":
        return wanted
    tasks = GENERAL if kind in ("drawings", "photographs") or (kind == "varied" and i % 4 == 3) else TASKS
    return tasks[i % len(tasks)]


def lines(a, pictures):
    if a.set in ("text", "train-text"):
        for i in range(a.count):
            tasks = talk.TEXT if a.set == "text" else talk.TEXT_TRAINED
            task = tasks[i % len(tasks)]
            prompt, reference = talk.draw_text(rng_of(a.seed, a.set, i), task, held_out=a.set == "text")
            yield {"image": None, "prompt": prompt, "reference": reference, "task": task.__name__, "scene": None}
        return
    for i in range(a.count):
        scene, image = make(a.set, a.seed, i)
        data = png(image)
        name = f"{hashlib.sha256(data).hexdigest()[:16]}.png"
        (pictures / name).write_bytes(data)
        for task, prompt, reference in questions(scene, a.set, a.seed, i, task_of(a.set, i, a.task), a.questions):
            line = {"image": f"{pictures.name}/{name}", "prompt": prompt, "task": task, "scene": scene.digest if scene else None}
            if reference is not None:
                line["reference"] = talk.other_words(reference) if a.other_words else reference
            yield line


def write(a):
    pictures = a.out / "pictures"
    pictures.mkdir(parents=True, exist_ok=True)
    path = a.out / f"{a.name}.jsonl"
    text = "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines(a, pictures))
    path.write_text(text, encoding="utf-8")
    print(f"{path}: {text.count(chr(10))} lines")


def read(path):
    """What each line of the set shows: its picture's bytes, its scene, or, without a picture, the question."""
    out = []
    for number, text in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        try:
            line = json.loads(text)
            picture = hashlib.sha256((path.parent / line["image"]).read_bytes()).hexdigest() if line["image"] else None
        except (ValueError, KeyError, OSError) as why:
            raise SystemExit(f"data.py: {path}: line {number}: {why}") from why
        out.append((("picture", picture), ("scene", line.get("scene")), ("question", None if picture else line["prompt"])))
    return out


def check(a):
    """Nothing of the held-out sets is in the others: no picture, no scene however it is painted, no question without a picture."""
    seen = {}
    for path in a.train:
        for line in read(path):
            seen.update((what, path) for what in line if what[1])
    n = 0
    for path in a.held_out:
        for line in read(path):
            n += 1
            for what in line:
                if what in seen:
                    raise SystemExit(f"data.py: {path}: {what[0]} {what[1]} is in {seen[what]} too; what is evaluated may not be trained on")
    print(f"{n} held-out lines: none in {', '.join(map(str, a.train))}")


def main():
    kinds = ["train", "held-out", "train-text", "varied", "text", "backgrounds", "sizes", "drawings", "photographs"]
    p = argparse.ArgumentParser(prog="data.py", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    sets = p.add_subparsers(dest="set", required=True, metavar="SET")
    for kind in kinds:
        one = sets.add_parser(kind)
        one.add_argument("--out", type=pathlib.Path, required=True, metavar="DIR")
        one.add_argument("--name", default=kind, help="of the file; default: the set's")
        one.add_argument("--count", type=int, default=110, help="pictures; default 110")
        one.add_argument("--seed", type=int, default=7, help="default 7")
        one.add_argument("--task", choices=TASKS, help="ask this alone")
        one.add_argument("--questions", type=int, default=1, help="about each picture; default 1")
        one.add_argument("--other-words", action="store_true", help="references in the words of another annotator")
    one = sets.add_parser("check", help="that no held-out scene is in a training set")
    one.add_argument("--train", type=pathlib.Path, nargs="+", required=True, metavar="FILE")
    one.add_argument("--held-out", type=pathlib.Path, nargs="+", required=True, metavar="FILE")
    a = p.parse_args()
    if a.set == "check":
        return check(a)
    if a.count < 1 or a.questions < 1:
        p.error("--count and --questions: at least 1 is wanted")
    if a.set != "train" and a.questions > 1:
        p.error("--questions: several about one picture are for the set train")
    return write(a)


if __name__ == "__main__":
    sys.exit(main())
