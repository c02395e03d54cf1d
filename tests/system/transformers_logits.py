"""transformers_logits.py CHECKPOINT DUMP PICTURE QUESTION - run in a virtual environment with torch and transformers: the largest difference between the
logits that `massv dump` wrote and those that transformers computes from the same checkpoint, ids, patches and positions; whether it used every tensor and
lacked none; and whether its processor makes the same ids of the
question (null where there is no chat template). One JSON object."""
import json
import sys

import torch
import transformers
from PIL import Image
from safetensors.torch import load_file

torch.set_num_threads(1)
checkpoint, dump, picture, question = sys.argv[1:]
model, loading = transformers.AutoModelForImageTextToText.from_pretrained(checkpoint, dtype=torch.float32, attn_implementation="eager",
                                                                          output_loading_info=True)
said = load_file(dump)
ids, positions = said["input_ids"][None], said["position_ids"]
inputs = {"input_ids": ids, "attention_mask": torch.ones_like(ids)}
if "grid_thw.0" in said:  # patches in rows, three axes of positions
    inputs |= {"pixel_values": said["pixel_values.0"], "image_grid_thw": said["grid_thw.0"][None], "position_ids": positions[:, None]}
else:  # planes; which tokens are pictures' says who sees both ways
    inputs |= {"pixel_values": said["pixel_values.0"][None], "token_type_ids": (ids == model.config.image_token_id).long(), "position_ids": positions[None]}
with torch.no_grad():
    logits = model.eval()(**inputs).logits[0]
processor = transformers.AutoProcessor.from_pretrained(checkpoint)
same = None
if processor.chat_template:
    turns = [{"role": "user", "content": [{"type": "image"}, {"type": "text", "text": question}]}]
    prompt = processor.apply_chat_template(turns, add_generation_prompt=True)
    own = processor(text=[prompt], images=[[Image.open(picture).convert("RGB")]], return_tensors="pt", add_special_tokens=False)
    same = torch.equal(own["input_ids"], ids)
print(json.dumps({"class": type(model).__name__, "transformers": transformers.__version__, "logits": list(logits.shape), "deviation": logits.std().item(),
                  "untouched": not (loading["missing_keys"] or loading["unexpected_keys"] or loading["mismatched_keys"]),
                  "same_ids": same, "largest_difference": (logits - said["logits"]).abs().max().item()}))
