"""talk.py - what is asked and said about the scenes of the study, in eleven tasks, and six tasks without a picture.

The answers mix words that follow from the wording alone (any language model can guess them) with words that only the picture decides (a
model must look): this is the split that makes a drafter that sees the picture better than one that does not. The models of models/
were trained on such conversations."""
import hashlib

import scenes

NUMBERS = ["no", "one", "two", "three", "four"]


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
    ask = f"What is {scenes.PLACES[cell]}?"
    if not here:
        return ask, f"There is nothing {scenes.PLACES[cell]} of the picture, only the {s.background} background."
    return ask, f"The thing {scenes.PLACES[cell]} of the picture is {here[0].a}."


def where_is(s, r):
    t = r.choice(s.things)
    return f"Where is {t.the}?", f"{t.the.capitalize()} is {t.place} of the picture. It is {'large' if t.big else 'small'}."


def is_there(s, r):
    if r.random() < 0.5:
        t = r.choice(s.things)
        return f"Is there a {t.label} in the picture?", f"Yes, there is {t.a} {t.place}."
    name = r.choice([n for n in scenes.EMOJI if n not in [t.name for t in s.things]])
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
    kind = r.choice(list(scenes.KIND_OF))
    found = [t for t in s.things if t.name in scenes.KIND_OF[kind]]
    ask = f"Is there any {kind} in the image?"
    if found:
        return ask, f"Yes, I can see {_join([t.a for t in found])}."
    return ask, f"No, I cannot see any {kind} in the image."


VISUAL = [(describe, 5), (caption, 2), (count, 2), (what_at, 3), (where_is, 2), (is_there, 2), (colour_of, 2),
          (listing, 2), (relation, 2), (story, 3), (kinds, 1)]


DAYS = ["Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"]
OPPOSITES = [("large", "small"), ("top", "bottom"), ("left", "right"), ("black", "white"), ("happy", "sad"),
             ("hot", "cold"), ("day", "night"), ("open", "closed")]
DIGITS = ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten"]


def count_up(r):
    a = r.randrange(0, 5)
    b = r.randrange(a + 3, 11)
    return f"Count from {DIGITS[a]} to {DIGITS[b]}.", ", ".join(DIGITS[a:b + 1]) + "."


def next_day(r):
    d = r.randrange(7)
    return f"Which day comes after {DAYS[d]}?", f"The day that comes after {DAYS[d]} is {DAYS[(d + 1) % 7]}."


def opposite(r):
    a, b = r.choice(OPPOSITES)
    if r.random() < 0.5:
        a, b = b, a
    return f"What is the opposite of {a}?", f"The opposite of {a} is {b}."


def plus(r):
    a, b = r.randrange(6), r.randrange(5)
    return f"What is {DIGITS[a]} plus {DIGITS[b]}?", f"If you add {DIGITS[a]} and {DIGITS[b]} you get {DIGITS[a + b]}."


def sort_words(r):
    words = r.sample(list(scenes.EMOJI)[:32], 4)
    return (f"Sort these words: {', '.join(words)}.", f"In alphabetical order they are {_join(sorted(words))}.")


def week(r):
    return "Name the days of the week.", f"The days of the week are {_join(DAYS)}."


TEXT_TRAINED = [count_up, next_day, opposite, plus, sort_words]
TEXT = [*TEXT_TRAINED, week]  # of which there is but one question: it is held out


def draw_text(rng, task, held_out):
    """(question, answer) of one split: a question without a picture is held out, whenever it is drawn, or never."""
    while True:
        question, answer = task(rng)
        if held_out == (task is week or hashlib.sha256(question.encode()).digest()[0] % 4 == 0):
            return question, answer


def talk(scene, rng, turns=1, task=None):
    """(task, question, answer) turns times about scene; task names one of VISUAL's functions. Different tasks where none is named."""
    pool = [f for f, w in VISUAL for _ in range(w)]
    out, seen = [], set()
    while len(out) < turns:
        f = next(g for g, _ in VISUAL if g.__name__ == task) if task else rng.choice(pool)
        if f in seen and not task and len(seen) < len(VISUAL):
            continue
        seen.add(f)
        out.append((f.__name__, *f(scene, rng)))
    return out


OTHER_WORDS = [  # how another annotator would have put it; order matters
    ("The picture shows", "I can make out"), ("This image contains", "I can make out"), ("Nothing else can be seen.", "That is all."),
    ("There is nothing else in the scene.", "That is all."), ("there is also", "next comes"), ("There is also", "Next comes"),
    ("there is nothing", "one finds nothing"), ("There is nothing", "One finds nothing"), ("there is no ", "one finds no "),
    ("there is", "stands"), ("can be seen", "shows up"), ("Finally,", "Last of all"), ("of the picture", "of the photo"),
    ("in the picture", "in the photo"), ("The thing", "What you see"), ("Here is a list of the things", "My list of things"),
    ("Once upon a time there was", "Long ago I met"), ("that lived", "which stayed"),
    ("One day it went for a long walk and met", "Later on it ran into"), ("Every morning it could see", "From its window it saw"),
    ("They became good friends and lived happily ever after.", "Since that day they have never been apart."),
    ("It was all alone, but it was very happy.", "Nobody else came by, and that was fine."), ("There are", "I count"),
    ("There is", "I count"), ("I can only see", "All I notice is"), ("I can see", "my eyes find"), ("I cannot see", "my eyes do not find"),
    ("It is", "Its size is"), (" and to the ", ", and then to the "), ("They are", "Their colours are")]


def other_words(answer):
    """The same answer in another annotator's words: labels of a data set that the target did not write (the ablation)."""
    for a, b in OTHER_WORDS:
        answer = answer.replace(a, b)
    return answer
