"""Makes cases.json: what Hugging Face transformers (here 5.24, torch 2.15, Pillow 13) makes of wide and tall pictures with pan-and-scan.
    BUILD/transformers/bin/python tests/golden/pan_and_scan/make.py    (`make transformers` makes that Python)
sizes: a drawn picture (draw below), settings -> crops, their size in pixels, and FNV-1a of the bytes (height, width, 3) of each view.
prompts: of gemma3-tiny, `settings` on -> ids, scores behind the prompt, 48 greedy ids (end tokens ignored)."""
import json
import pathlib

import numpy
import torch
from PIL import Image, ImageOps
from transformers import AutoProcessor, Gemma3ForConditionalGeneration

HERE = pathlib.Path(__file__).parent
GOLDEN = HERE.parent
SETTINGS = dict(pan_and_scan_min_crop_size=20, pan_and_scan_max_num_crops=4, pan_and_scan_min_ratio_to_activate=1.2)
REAL = (256, 4, 1.2)  # what Gemma3Processor has where nobody says anything
SMALL = (20, 4, 1.2)
SIZES = [(w, h, SMALL) for w, h in ((100, 100), (119, 100), (120, 100), (100, 119), (100, 120), (149, 100), (150, 100), (249, 100), (250, 100),
                                   (101, 40), (40, 101), (330, 30), (30, 330), (1000, 39), (59, 21), (39, 20), (40, 20), (39, 30), (40, 33), (7, 5),
                                   (21, 97), (500, 19), (90, 44))]
SIZES += [(w, h, REAL) for w, h in ((512, 400), (511, 400), (1023, 256), (1025, 257), (300, 900), (700, 255), (640, 480), (1, 3))]
SIZES += [(w, h, s) for w, h, s in ((100, 100, (20, 4, 1.0)), (100, 99, (20, 4, 0.0)), (400, 30, (20, 16, 1.2)), (400, 30, (20, 1, 1.2)),
                                    (30, 211, (9, 7, 3.5)), (60, 40, (30, 2, 1.5)), (60, 40, (30, 2, 1.5000000000000002)))]
PROMPTS = [("wide", ["wide.png"], "<start_of_image>What is this?"), ("tall-and-small", ["deep.png", "speck.png"], "<start_of_image><start_of_image>Which?"),
           ("amid-words", ["turned.jpg"], "Look at thi<start_of_image>s, please.")]


def horizontal_first(image, size, box=None, reducing_gap=None, resample=None, resize=Image.Image.resize):
    """As Pillow up to 12 does it, and massv; from 13 on it chooses the order by the sizes."""
    assert box is None and reducing_gap is None
    return resize(resize(image, (size[0], image.height), resample=resample), size, resample=resample)


def draw(width, height):
    x, y, c = numpy.meshgrid(numpy.arange(width), numpy.arange(height), numpy.arange(3), indexing="xy")
    return ((x * 7 + y * 13 + c * 29 + x * y % 31 * 5) & 255).astype(numpy.uint8)


def fnv(data):
    total = 0xcbf29ce484222325
    for byte in data:
        total = (total ^ byte) * 0x100000001b3 & 0xffffffffffffffff
    return f"{total:016x}"


def size_case(processor, width, height, settings):
    named = dict(zip(SETTINGS, settings))
    picture = draw(width, height)
    made = processor(Image.fromarray(picture), do_pan_and_scan=True, return_tensors="np", **named)
    crops = processor.pan_and_scan(picture.transpose(2, 0, 1), **named)
    assert len(crops) == made["num_crops"][0] == len(made["pixel_values"]) - 1
    views = numpy.rint((made["pixel_values"].astype(numpy.float64) * 0.5 + 0.5) * 255).astype(numpy.uint8).transpose(0, 2, 3, 1)
    return dict(width=width, height=height, least=settings[0], most=settings[1], ratio=settings[2], crops=len(crops),
                crop=list(crops[0].shape[:0:-1]) if crops else [0, 0], views=[fnv(v.tobytes()) for v in views])


def prompt_case(processor, model, name, images, says):
    prompt = f"<bos><start_of_turn>user\n{says}<end_of_turn>\n<start_of_turn>model\n"
    pictures = [ImageOps.exif_transpose(Image.open(GOLDEN / "images" / i)).convert("RGB") for i in images]
    inputs = processor(text=prompt, images=pictures, return_tensors="pt", add_special_tokens=False, do_pan_and_scan=True, **SETTINGS)
    with torch.no_grad():
        logits = model(**inputs).logits[0, -1]
        ids = model.generate(**inputs, max_new_tokens=48, do_sample=False, repetition_penalty=1.0)
    n = inputs["input_ids"].shape[1]
    best = logits.topk(2).values
    print(name, n, "margin of the first token", float(best[0] - best[1]))
    return dict(name=name, prompt=prompt, images=images, ids=inputs["input_ids"][0].tolist(), logits=[round(v, 6) for v in logits.tolist()],
                greedy_ids=ids[0, n:].tolist())


def main():
    torch.set_num_threads(1)
    Image.Image.resize = horizontal_first
    processor = AutoProcessor.from_pretrained(GOLDEN / "gemma3-tiny", backend="pil")
    model = Gemma3ForConditionalGeneration.from_pretrained(GOLDEN / "gemma3-tiny", dtype=torch.float32, attn_implementation="eager").eval()
    model.generation_config.eos_token_id = None
    sizes = [size_case(processor.image_processor, *case) for case in SIZES]
    prompts = [prompt_case(processor, model, *case) for case in PROMPTS]
    (HERE / "cases.json").write_text("{\n" + ",\n".join(
        f'"{name}": ' + (json.dumps(value) if name == "settings" else "[\n" + ",\n".join(json.dumps(v) for v in value) + "\n]")
        for name, value in (("settings", SETTINGS), ("sizes", sizes), ("prompts", prompts))) + "\n}\n")


main()
