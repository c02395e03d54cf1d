"""scenes.py - a small, endless visual-instruction data set with exact answers.

A scene is a 168 x 168 picture: one to four things on a pale background, each in its own cell of a 3 x 3 grid. Things are
emoji (drawn with Noto Color Emoji) or flat coloured shapes. Conversations about a scene mix words that follow from the
wording alone (any language model can guess them) with words that only the picture decides (a model must look): this is the
split that makes a drafter that sees the picture better than one that does not.

    python3 bench/scenes.py --out DIR --count 100 --seed 7        # DIR/scene-00000.png ... and DIR/scenes.jsonl

The models of models/ were trained on such conversations. Needs Pillow (python3-pil) and the font of Debian's fonts-noto-color-emoji.
"""
import argparse
import json
import os
import random

from PIL import Image, ImageDraw, ImageFont

SIZE, CELL = 168, 56
FONT = os.environ.get("SCENES_FONT", "/usr/share/fonts/truetype/noto/NotoColorEmoji.ttf")

EMOJI = {  # name -> code point
    "dog": 0x1F436, "cat": 0x1F431, "horse": 0x1F40E, "cow": 0x1F404, "pig": 0x1F437, "chicken": 0x1F414,
    "penguin": 0x1F427, "fish": 0x1F41F, "octopus": 0x1F419, "butterfly": 0x1F98B, "bee": 0x1F41D, "turtle": 0x1F422,
    "snail": 0x1F40C, "apple": 0x1F34E, "banana": 0x1F34C, "pear": 0x1F350, "watermelon": 0x1F349,
    "strawberry": 0x1F353, "carrot": 0x1F955, "loaf of bread": 0x1F35E, "piece of cheese": 0x1F9C0,
    "slice of pizza": 0x1F355, "cake": 0x1F382, "car": 0x1F697, "bus": 0x1F68C, "bicycle": 0x1F6B2,
    "airplane": 0x2708, "rocket": 0x1F680, "sailboat": 0x26F5, "tree": 0x1F333, "cactus": 0x1F335,
    "sunflower": 0x1F33B, "mushroom": 0x1F344, "umbrella": 0x2602, "key": 0x1F511, "book": 0x1F4D5, "bell": 0x1F514,
    "guitar": 0x1F3B8, "football": 0x26BD, "teapot": 0x1FAD6, "hat": 0x1F3A9, "shoe": 0x1F45F,
}
KIND_OF = {"animal": ["dog", "cat", "horse", "cow", "pig", "chicken", "penguin", "fish", "octopus", "butterfly", "bee",
                      "turtle", "snail"],
           "food": ["apple", "banana", "pear", "watermelon", "strawberry", "carrot", "loaf of bread", "piece of cheese",
                    "slice of pizza", "cake"],
           "vehicle": ["car", "bus", "bicycle", "airplane", "rocket", "sailboat"],
           "plant": ["tree", "cactus", "sunflower", "mushroom"]}
COLOURS = {"red": (214, 40, 40), "orange": (245, 133, 24), "yellow": (250, 215, 30), "green": (44, 160, 70),
           "blue": (40, 90, 220), "purple": (130, 60, 190), "black": (25, 25, 25), "brown": (125, 75, 35)}
SHAPES = ["circle", "square", "triangle", "diamond", "cross", "ring"]
BACKGROUNDS = {"white": (250, 250, 250), "grey": (205, 205, 208), "pink": (250, 210, 222), "light blue": (200, 226, 248),
               "light green": (208, 240, 206), "cream": (250, 240, 205)}
PLACES = ["in the top left corner", "at the top", "in the top right corner", "on the left side", "in the middle",
          "on the right side", "in the bottom left corner", "at the bottom", "in the bottom right corner"]
NUMBERS = ["no", "one", "two", "three", "four"]
_sprites = {}


class Thing:
    """One thing of a scene. cell 0..8 in reading order; big is a bool; colour is None for emoji."""
    def __init__(self, name, colour, big, cell):
        self.name, self.colour, self.big, self.cell = name, colour, big, cell

    @property
    def label(self):
        return f"{self.colour} {self.name}" if self.colour else self.name

    @property
    def a(self):
        size = "large" if self.big else "small"
        return f"a {size} {self.label}"

    @property
    def the(self):
        return f"the {self.label}"

    @property
    def place(self):
        return PLACES[self.cell]


class Scene:
    def __init__(self, background, things):
        self.background, self.things = background, sorted(things, key=lambda t: t.cell)


def draw_scene(rng):
    """A random Scene. No two things share a label."""
    things, used = [], set()
    for cell in rng.sample(range(9), rng.choice([1, 2, 2, 3, 3, 3, 4, 4])):
        while True:
            if rng.random() < 0.6:
                name, colour = rng.choice(list(EMOJI)), None
            else:
                name, colour = rng.choice(SHAPES), rng.choice(list(COLOURS))
            if (name, colour) not in used:
                break
        used.add((name, colour))
        things.append(Thing(name, colour, rng.random() < 0.5, cell))
    return Scene(rng.choice(list(BACKGROUNDS)), things)


def _sprite(name, colour, side):
    key = (name, colour, side)
    if key not in _sprites:
        if colour is None:
            font = ImageFont.truetype(FONT, 109)
            tile = Image.new("RGBA", (136, 136), (0, 0, 0, 0))
            ImageDraw.Draw(tile).text((0, 4), chr(EMOJI[name]), font=font, embedded_color=True)
            tile = tile.crop(tile.getbbox())
        else:
            tile = Image.new("RGBA", (120, 120), (0, 0, 0, 0))
            d, c = ImageDraw.Draw(tile), COLOURS[colour] + (255,)
            if name == "circle": d.ellipse((4, 4, 116, 116), fill=c)
            elif name == "square": d.rectangle((8, 8, 112, 112), fill=c)
            elif name == "triangle": d.polygon([(60, 6), (116, 112), (4, 112)], fill=c)
            elif name == "diamond": d.polygon([(60, 2), (112, 60), (60, 118), (8, 60)], fill=c)
            elif name == "cross": d.rectangle((44, 4, 76, 116), fill=c); d.rectangle((4, 44, 116, 76), fill=c)
            elif name == "ring": d.ellipse((4, 4, 116, 116), fill=c); d.ellipse((34, 34, 86, 86), fill=(0, 0, 0, 0))
        scale = side / max(tile.size)
        tile = tile.resize((max(1, round(tile.width * scale)), max(1, round(tile.height * scale))), Image.LANCZOS)
        _sprites[key] = tile
    return _sprites[key]


def paint(scene, rng):
    """The Scene as a PIL RGB image of SIZE x SIZE; rng moves things by a few pixels."""
    image = Image.new("RGB", (SIZE, SIZE), BACKGROUNDS[scene.background])
    for t in scene.things:
        tile = _sprite(t.name, t.colour, 48 if t.big else 30)
        room_x, room_y = CELL - tile.width, CELL - tile.height
        x = (t.cell % 3) * CELL + room_x // 2 + rng.randint(-3, 3)
        y = (t.cell // 3) * CELL + room_y // 2 + rng.randint(-3, 3)
        image.paste(tile, (x, y), tile)
    return image


def _join(words):
    return words[0] if len(words) == 1 else ", ".join(words[:-1]) + " and " + words[-1]


def _count_phrase(n):
    return f"{NUMBERS[n]} thing" if n == 1 else f"{NUMBERS[n]} things"


def describe(s, r):
    ask = r.choice(["Describe the image in detail.", "Please describe this picture in detail.",
                    "What can you see in this picture?"])
    n = len(s.things)
    out = [r.choice([f"The picture shows {_count_phrase(n)} on a {s.background} background.",
                     f"This image contains {_count_phrase(n)} on a {s.background} background."])]
    for i, t in enumerate(s.things):
        if i == 0:
            out.append(f"{t.place[0].upper()}{t.place[1:]} there is {t.a}.")
        elif i == n - 1:
            out.append(f"Finally, {t.a} can be seen {t.place} of the picture.")
        else:
            out.append(f"There is also {t.a} {t.place}.")
    out.append(r.choice(["Nothing else can be seen.", "There is nothing else in the scene."]))
    return ask, " ".join(out)


def caption(s, r):
    ask = r.choice(["Write a caption for this image.", "Give a short caption.", "Caption the picture."])
    return ask, f"{_join([t.a for t in s.things])} on a {s.background} background.".capitalize()


def count(s, r):
    n = len(s.things)
    ask = r.choice(["How many things are there?", "Count the things in the image."])
    verb = "is" if n == 1 else "are"
    return ask, f"There {verb} {_count_phrase(n)} in the picture: {_join([t.the for t in s.things])}."


def what_at(s, r):
    cell = r.choice([t.cell for t in s.things]) if r.random() < 0.8 else r.randrange(9)
    here = [t for t in s.things if t.cell == cell]
    ask = f"What is {PLACES[cell]}?"
    if not here:
        return ask, f"There is nothing {PLACES[cell]} of the picture, only the {s.background} background."
    return ask, f"The thing {PLACES[cell]} of the picture is {here[0].a}."


def where_is(s, r):
    t = r.choice(s.things)
    return f"Where is {t.the}?", f"{t.the.capitalize()} is {t.place} of the picture. It is {'large' if t.big else 'small'}."


def is_there(s, r):
    if r.random() < 0.5:
        t = r.choice(s.things)
        return f"Is there a {t.label} in the picture?", f"Yes, there is {t.a} {t.place}."
    name = r.choice([n for n in EMOJI if n not in [t.name for t in s.things]])
    return (f"Is there a {name} in the picture?",
            f"No, there is no {name} in the picture. I can only see {_join([t.the for t in s.things])}.")


def colour_of(s, r):
    shapes = [t for t in s.things if t.colour]
    if not shapes:
        return "What colour is the background?", f"The background of the picture is {s.background}."
    t = r.choice(shapes)
    same = [u for u in shapes if u.name == t.name]
    if len(same) > 1:
        return f"What colours are the {t.name}s?", f"They are {_join([u.colour for u in same])}."
    return f"What colour is the {t.name}?", f"The {t.name} {t.place} of the picture is {t.colour}."


def listing(s, r):
    ask = r.choice(["List everything in the image.", "Make a list of the things you see."])
    lines = [f"{i + 1}. {t.a}, {t.place}" for i, t in enumerate(s.things)]
    return ask, "Here is a list of the things in the picture:\n" + "\n".join(lines)


def relation(s, r):
    if len(s.things) < 2:
        return count(s, r)
    a, b = r.sample(s.things, 2)
    dx, dy = b.cell % 3 - a.cell % 3, b.cell // 3 - a.cell // 3
    side = "" if dx == 0 else ("to the left of" if dx > 0 else "to the right of")
    height = "" if dy == 0 else ("above" if dy > 0 else "below")
    how = " and ".join(w for w in (height, side) if w)
    return f"Where is {a.the} compared to {b.the}?", f"{a.the.capitalize()} is {how} {b.the}."


def story(s, r):
    ask = r.choice(["Tell a short story about the picture.", "Write a little story about this image."])
    hero, others = s.things[0], s.things[1:]
    out = [f"Once upon a time there was {hero.a} that lived {hero.place} of a {s.background} world."]
    for t in others:
        out.append(r.choice([f"One day it went for a long walk and met {t.a} {t.place}.",
                             f"Every morning it could see {t.a} {t.place}."]))
    out.append("They became good friends and lived happily ever after." if others else
               "It was all alone, but it was very happy.")
    return ask, " ".join(out)


def kinds(s, r):
    kind = r.choice(list(KIND_OF))
    found = [t for t in s.things if t.name in KIND_OF[kind]]
    ask = f"Is there any {kind} in the image?"
    if found:
        return ask, f"Yes, I can see {_join([t.a for t in found])}."
    return ask, f"No, I cannot see any {kind} in the image."


VISUAL = [(describe, 5), (caption, 2), (count, 2), (what_at, 3), (where_is, 2), (is_there, 2), (colour_of, 2),
          (listing, 2), (relation, 2), (story, 3), (kinds, 1)]


def talk(scene, rng, turns=1, task=None):
    """turns question-answer pairs about scene; task names one of VISUAL's functions. Different questions where possible."""
    pool = [f for f, w in VISUAL for _ in range(w)]
    out, seen = [], set()
    while len(out) < turns:
        f = next(g for g, _ in VISUAL if g.__name__ == task) if task else rng.choice(pool)
        if f in seen and not task and len(seen) < len(VISUAL):
            continue
        seen.add(f)
        out.append(f(scene, rng))
    return out


def main():
    p = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    p.add_argument("--out", required=True)
    p.add_argument("--count", type=int, default=100)
    p.add_argument("--seed", type=int, default=1)
    p.add_argument("--task", choices=[f.__name__ for f, _ in VISUAL])
    a = p.parse_args()
    os.makedirs(a.out, exist_ok=True)
    rng = random.Random(a.seed)
    with open(os.path.join(a.out, "scenes.jsonl"), "w") as f:
        for i in range(a.count):
            s = draw_scene(rng)
            name = f"scene-{i:05d}.png"
            paint(s, rng).save(os.path.join(a.out, name))
            (ask, answer), = talk(s, rng, 1, a.task)
            f.write(json.dumps({"image": name, "prompt": ask,
                                "reference": answer}) + "\n")


if __name__ == "__main__":
    main()
