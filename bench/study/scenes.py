"""scenes.py - pictures of the study's data set: one to four things on a pale background.

A scene is a 168 x 168 picture whose things stand in cells of a 3 x 3 grid, each its own. Things are emoji (drawn with Noto Color Emoji) or
flat coloured shapes. Every scene belongs to one split, decided by what it shows: a model that was trained on one split has never
seen a scene of the other, wherever and with whatever seed it was drawn. Needs Pillow (python3-pil) and fonts-noto-color-emoji."""
import hashlib
import os

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
UNSEEN = {  # things that no model of models/ was trained on
    "elephant": 0x1F418, "lion": 0x1F981, "owl": 0x1F989, "crab": 0x1F980, "whale": 0x1F433, "spider": 0x1F577,
    "grapes": 0x1F347, "pineapple": 0x1F34D, "egg": 0x1F95A, "doughnut": 0x1F369, "train": 0x1F686, "tractor": 0x1F69C,
    "anchor": 0x2693, "house": 0x1F3E0, "castle": 0x1F3F0, "clock": 0x23F0, "telephone": 0x260E, "scissors": 0x2702,
    "lamp": 0x1F4A1, "hammer": 0x1F528, "trumpet": 0x1F3BA, "crown": 0x1F451, "ghost": 0x1F47B, "robot": 0x1F916,
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

    @property
    def digest(self):
        """What it shows, whatever the pixels by which things are moved."""
        shown = [self.background] + [(t.name, t.colour, t.big, t.cell) for t in self.things]
        return hashlib.sha256(repr(shown).encode()).hexdigest()[:16]

    @property
    def held_out(self):
        """Of the split that is never trained on: one scene in eight."""
        return int(self.digest, 16) % 8 == 0


def draw_scene(rng, names=tuple(EMOJI), share=0.6):
    """A random Scene of emoji of these names and, but for that share, of shapes. No two things share a label."""
    things, used = [], set()
    for cell in rng.sample(range(9), rng.choice([1, 2, 2, 3, 3, 3, 4, 4])):
        while True:
            if rng.random() < share:
                name, colour = rng.choice(list(names)), None
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
            ImageDraw.Draw(tile).text((0, 4), chr((EMOJI | UNSEEN)[name]), font=font, embedded_color=True)
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


def draw_split(rng, held_out):
    """A random Scene of one split."""
    while True:
        scene = draw_scene(rng)
        if scene.held_out == held_out:
            return scene


def paint(scene, rng, ground=None):
    """The Scene as a PIL RGB image of SIZE x SIZE; rng moves things by a few pixels. ground: the image to paint on."""
    image = ground or Image.new("RGB", (SIZE, SIZE), BACKGROUNDS[scene.background])
    for t in scene.things:
        tile = _sprite(t.name, t.colour, 48 if t.big else 30)
        room_x, room_y = CELL - tile.width, CELL - tile.height
        x = (t.cell % 3) * CELL + room_x // 2 + rng.randint(-3, 3)
        y = (t.cell // 3) * CELL + room_y // 2 + rng.randint(-3, 3)
        image.paste(tile, (x, y), tile)
    return image
