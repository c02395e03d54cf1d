"""transformers_logits.py CHECKPOINT DUMP - run in a virtual environment with torch and transformers: the largest difference between the logits
that `massv dump` wrote and those that transformers computes from the same checkpoint, ids, patches and positions, as one JSON object."""
import json
import sys

import torch
import transformers
from safetensors.torch import load_file

torch.set_num_threads(1)
checkpoint, dump = sys.argv[1:]
model = transformers.AutoModelForImageTextToText.from_pretrained(checkpoint, dtype=torch.float32, attn_implementation="eager").eval()
said = load_file(dump)
with torch.no_grad():
    logits = model(input_ids=said["input_ids"][None], attention_mask=torch.ones_like(said["input_ids"][None]), position_ids=said["position_ids"][:, None],
                   pixel_values=said["pixel_values.0"], image_grid_thw=said["grid_thw.0"][None]).logits[0]
print(json.dumps({"class": type(model).__name__, "transformers": transformers.__version__, "logits": list(logits.shape), "deviation": logits.std().item(),
                  "largest_difference": (logits - said["logits"]).abs().max().item()}))
