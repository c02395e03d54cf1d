"""strange.py - pictures unlike those that the models of models/ were trained on: other grounds, sizes, things, and photographs of none,
which are asked about in the evaluation; and others again, of which a drafter's training has some (varied), in none of the same ways."""
import numpy
from PIL import Image, ImageDraw

import scenes

GAUDY = [(20, 20, 60), (90, 10, 30), (10, 80, 60), (240, 90, 10), (250, 0, 160), (0, 200, 210), (60, 60, 60), (120, 200, 0)]
SIZES = [(112, 112), (168, 112), (140, 224), (252, 168), (280, 280), (336, 224)]
CALM = [(70, 110, 190), (190, 150, 90), (140, 190, 160), (110, 60, 120), (30, 70, 40), (200, 120, 130), (0, 0, 0), (150, 150, 60)]
OTHER_SIZES = [(196, 196), (224, 140), (140, 196), (308, 252)]
PENS = [(20, 20, 20), (30, 40, 140), (140, 30, 30)]


def _stripes(size, a, b, width, slope):
    y, x = numpy.mgrid[0:size, 0:size]
    on = ((x + slope * y) // width) % 2 == 0
    return numpy.where(on[..., None], a, b).astype(numpy.uint8)


def ground(rng):
    """A dark, gaudy, graded, striped or chequered ground."""
    a, b = (numpy.array(c, float) for c in rng.sample(GAUDY, 2))
    size, kind = scenes.SIZE, rng.randrange(4)
    if kind == 0:
        pixels = numpy.broadcast_to(a, (size, size, 3)).astype(numpy.uint8)
    elif kind == 1:
        t = numpy.linspace(0, 1, size)[:, None, None]
        pixels = numpy.broadcast_to(a * (1 - t) + b * t, (size, size, 3)).astype(numpy.uint8)
    elif kind == 2:
        pixels = _stripes(size, a, b, rng.choice([6, 14, 28]), rng.choice([0, 1, -1]))
    else:
        y, x = numpy.mgrid[0:size, 0:size]
        side = rng.choice([12, 21, 42])
        pixels = numpy.where((((x // side) + (y // side)) % 2 == 0)[..., None], a, b).astype(numpy.uint8)
    return Image.fromarray(numpy.ascontiguousarray(pixels))


def resized(image, rng, sizes=tuple(SIZES)):
    """The same picture with other numbers of pixels, and so of the model's patches."""
    return image.resize(rng.choice(sizes), Image.LANCZOS)


def _outline(image, rng, cell, pen):
    """A closed crooked line in one cell."""
    n, side = rng.randint(5, 9), scenes.CELL
    middle_x, middle_y = (cell % 3) * side + side // 2, (cell // 3) * side + side // 2
    points = []
    for i in range(n):
        angle, reach = 2 * numpy.pi * i / n, rng.uniform(0.35, 1) * 25
        points.append((middle_x + reach * numpy.cos(angle), middle_y + reach * numpy.sin(angle)))
    ImageDraw.Draw(image).line(points + points[:1], fill=pen, width=2)


def drawing(draw, brush):
    """(the scene, the picture) of unseen things, half of the time with pen strokes in the free cells."""
    scene = scenes.draw_scene(draw, tuple(scenes.UNSEEN), share=1)
    image = scenes.paint(scene, brush)
    if brush.random() < 0.5:
        free = sorted(set(range(9)) - {t.cell for t in scene.things})
        for cell in brush.sample(free, 3):
            _outline(image, brush, cell, brush.choice(PENS))
    return scene, image


def _clouds(noise, size, octaves):
    """Smooth noise in 0..1: octaves of random grids, each twice as fine and half as strong."""
    total = numpy.zeros((size, size))
    for k in range(octaves):
        grid = noise.random((2 ** k + 2, 2 ** k + 2)).astype(numpy.float32)
        total += numpy.asarray(Image.fromarray(grid).resize((size, size), Image.BICUBIC), float) / 2 ** k
    return (total - total.min()) / (total.max() - total.min())


def photograph(rng):
    """A hilly landscape under clouds, with light from one side and the grain of a sensor."""
    size = scenes.SIZE
    noise = numpy.random.Generator(numpy.random.PCG64(rng.getrandbits(64)))
    y = numpy.linspace(0, 1, size)[:, None]
    clouds, soil = _clouds(noise, size, 5), _clouds(noise, size, 7)
    sky = numpy.array([90, 140, 215]) * (1 - y[..., None] * 0.3) + (clouds ** 2)[..., None] * 120
    ridge = rng.uniform(0.4, 0.65) + 0.25 * (_clouds(noise, size, 4)[0] - 0.5)
    land = numpy.array([rng.choice([(70, 95, 45), (120, 100, 70), (60, 70, 80)])]) * (0.5 + soil[..., None])
    pixels = numpy.where((y > ridge[None, :])[..., None], land, sky)
    light = 0.7 + 0.5 * numpy.linspace(0, 1, size)[None, :, None]
    pixels = pixels * light + noise.normal(0, 6, (size, size, 3))
    return Image.fromarray(numpy.clip(pixels, 0, 255).astype(numpy.uint8))


# ---- for training ----

def other_ground(rng):
    """A plain, ringed, spotted or cloudy ground, in colours of its own."""
    a, b = (numpy.array(c, float) for c in rng.sample(CALM, 2))
    size, kind = scenes.SIZE, rng.randrange(4)
    y, x = numpy.mgrid[0:size, 0:size]
    far = numpy.hypot(x - rng.randrange(size), y - rng.randrange(size))
    if kind == 0:
        share = numpy.zeros((size, size))
    elif kind == 1:
        share = (numpy.sin(far / rng.choice([3, 6, 12])) + 1) / 2
    elif kind == 2:
        step = rng.choice([18, 26, 40])
        share = (numpy.hypot(x % step - step / 2, y % step - step / 2) < step / 4).astype(float)
    else:
        share = _clouds(numpy.random.Generator(numpy.random.PCG64(rng.getrandbits(64))), size, 4)
    pixels = a * (1 - share[..., None]) + b * share[..., None]
    return Image.fromarray(numpy.clip(pixels, 0, 255).astype(numpy.uint8))


def blots(rng):
    """Clouds of three colours: a picture of nothing."""
    size, noise = scenes.SIZE, numpy.random.Generator(numpy.random.PCG64(rng.getrandbits(64)))
    layers = numpy.stack([_clouds(noise, size, rng.randint(2, 6)) ** 3 for _ in range(3)], axis=-1)
    colours = numpy.array([[rng.randrange(256) for _ in range(3)] for _ in range(3)], float)
    pixels = layers @ colours / layers.sum(axis=-1, keepdims=True).clip(1e-3)
    return Image.fromarray(numpy.clip(pixels, 0, 255).astype(numpy.uint8))


def varied(scene, brush, i):
    """Number i of a training set of pictures unlike the scenes: other grounds, other sizes, nothing at all."""
    if scene is None:
        return blots(brush)
    if i % 4 == 2:
        return resized(scenes.paint(scene, brush), brush, OTHER_SIZES)
    return scenes.paint(scene, brush, other_ground(brush))
