"""make.py - the goldens of training for Gemma3, from PyTorch. Run by the interpreter that `make transformers` installs,
build/transformers/bin/python tests/golden/training_gemma/make.py. Made with transformers 5.24, torch 2.15; float32, eager attention, one thread.

Two folders of the layout that training_merger has (tests/golden/training*, train/network.h), each of three samples:
  training_gemma/       a MASSV drafter: gemma3-tiny's tower, a projector of its own (projector.safetensors), gemma3-text-tiny, whose window is
                        shorter than a picture. features.i: the averages that the projector reads. Phases 1 and 2.
  training_gemma_text/  gemma3-text-tiny alone, with what its file leaves out: caps of the scores of attention and head, a query_pre_attn_scalar
                        that is not the head's width, a linear factor of global layers (config.json). Phase 2.
To be small, files hold every STRIDE-th number of a parameter (0, 13, ... of all its numbers in a row) that has more than WHOLE.
transformers 5.24 reads attn_logit_softcapping and passes it on nowhere; here its own function of attention gets it as the argument it has."""
import functools
import json
import os

import torch
from safetensors.torch import load_file, save_file
from transformers import AutoTokenizer, Gemma3Config, Gemma3ForCausalLM, Gemma3ForConditionalGeneration, Gemma3TextConfig
from transformers.models.gemma3 import modeling_gemma3

HERE = os.path.dirname(os.path.abspath(__file__))
GOLDEN, SEED, STRIDE, WHOLE = os.path.dirname(HERE), 20263, 13, 1000
SETTINGS = {"optimizer": "AdamW", "lr": 1e-3, "betas": [0.9, 0.999], "eps": 1e-8, "weight_decay": 0.05, "grad_clip": 1.0, "steps": 3,
            "loss": "mean cross entropy over the supervised tokens of the batch", "stride": STRIDE, "whole": WHOLE}
PICTURES = [("scene", "A red circle and a blue square."), ("two-images", "Both show shapes, one above the other."), ("text-only", "Nothing.")]
TEXTS = [("short", "Yes, of course."), ("code", "return x + 1"), ("long", "That is all there is to it.")]
CHANGED = {"attn_logit_softcapping": 1.5, "final_logit_softcapping": 4.0, "query_pre_attn_scalar": 40,
           "rope_scaling": {"factor": 8.0, "rope_type": "linear"}}


def folder(*parts):
    return os.path.join(GOLDEN, *parts)


def samples(model, cases):
    """Finished cases of a fixture with an answer; the answer and its end are supervised."""
    tok, batch = AutoTokenizer.from_pretrained(folder(model)), []
    for case, answer in cases:
        tensors = load_file(folder(model, "golden", case + ".safetensors"))
        prompt, tail = tensors["input_ids"].tolist(), tok(answer + "<end_of_turn>\n", add_special_tokens=False)["input_ids"]
        pixels = [tensors[f"pixel_values.{i}"] for i in range(2) if f"pixel_values.{i}" in tensors]
        pooled = [tensors[f"pooled.{i}"] for i in range(2) if f"pooled.{i}" in tensors]
        batch.append({"ids": torch.tensor(prompt + tail), "labels": torch.tensor([-100] * len(prompt) + tail[:-1] + [-100]), "case": case,
                      "pixels": torch.stack(pixels) if pixels else None, "features": torch.cat(pooled) if pooled else None})
    return batch


def drafter():
    """The target's tower, a projector that has learned nothing, the text model."""
    target = Gemma3ForConditionalGeneration.from_pretrained(folder("gemma3-tiny"), dtype=torch.float32, attn_implementation="eager")
    text = Gemma3ForCausalLM.from_pretrained(folder("gemma3-text-tiny"), dtype=torch.float32, attn_implementation="eager")
    config = Gemma3Config(text_config=text.config.to_dict(), vision_config=target.config.vision_config.to_dict(),
                          mm_tokens_per_image=target.config.mm_tokens_per_image, image_token_id=target.config.image_token_id,
                          boi_token_id=target.config.boi_token_id, eoi_token_id=target.config.eoi_token_id)
    config._attn_implementation = "eager"
    model = Gemma3ForConditionalGeneration(config)
    model.model.vision_tower, model.model.language_model = target.model.vision_tower, text.model
    model.lm_head.weight = text.model.embed_tokens.weight
    gen = torch.Generator().manual_seed(SEED)
    with torch.no_grad():
        for p in model.model.multi_modal_projector.parameters():
            p.copy_(torch.randn(p.shape, generator=gen) * (0.3 if p.dim() == 2 else 0.1))
    return model


def published(name):
    """Names as in files: the projector's, then the language model's."""
    if "multi_modal_projector" in name:
        return name.replace("model.multi_modal_projector.", "multi_modal_projector.")
    return name.replace("model.language_model.", "language_model.model.") if "language_model" in name else name


def trained(model, language):
    chosen = {}
    for name, p in model.named_parameters():
        p.requires_grad_("multi_modal_projector" in name or (language and "vision_tower" not in name))
        if p.requires_grad:
            chosen[published(name)] = p
    return chosen


def logits_of(model, sample, i, keep):
    """What enters the first layer, and what left the projector, go into keep."""
    hooks = []

    def watch(name, tensor):
        if keep is not None and tensor.requires_grad:
            tensor.retain_grad()
            keep[f"{name}.{i}"] = tensor

    language = model.model.language_model if hasattr(model.model, "language_model") else model.model
    hooks.append(language.layers[0].register_forward_pre_hook(lambda m, a, kw: watch("inputs_embeds", (a or (kw["hidden_states"],))[0]),
                                                              with_kwargs=True))
    inputs = {"input_ids": sample["ids"][None], "use_cache": False}
    if language is not model.model:
        pad = model.config.image_token_id
        inputs |= {"pixel_values": sample["pixels"], "token_type_ids": (sample["ids"] == pad).long()[None]}
        projector = model.model.multi_modal_projector
        hooks.append(projector.register_forward_hook(lambda m, a, out: watch("image_features", out)))
        hooks.append(projector.mm_soft_emb_norm.register_forward_pre_hook(
            lambda m, a: torch.testing.assert_close(a[0].flatten(0, 1), sample["features"], atol=1e-5, rtol=0)))
    logits = model(**inputs).logits[0]
    for h in hooks:
        h.remove()
    return logits


def mean_loss(model, batch, keep):
    losses = [torch.nn.functional.cross_entropy(logits_of(model, s, i, keep)[:-1], s["labels"][1:], ignore_index=-100, reduction="sum")
              for i, s in enumerate(batch)]
    return sum(losses) / sum(int((s["labels"] >= 0).sum()) for s in batch)


def train(model, params, batch):
    """The steps of SETTINGS: the report, gradients of the first step, parameters after the last."""
    s, losses, norms, keep = SETTINGS, [], [], {}
    opt = torch.optim.AdamW(params.values(), lr=s["lr"], betas=tuple(s["betas"]), eps=s["eps"], weight_decay=s["weight_decay"])
    for step in range(s["steps"]):
        opt.zero_grad()
        loss = mean_loss(model, batch, None if step else keep)
        loss.backward()
        if not step:
            grads = {n: p.grad.clone() for n, p in params.items()}
            aids = {n: t.grad.reshape(-1, t.shape[-1]).clone() for n, t in keep.items()}
        norms.append(float(torch.nn.utils.clip_grad_norm_(params.values(), s["grad_clip"])))
        opt.step()
        losses.append(loss.item())
    with torch.no_grad():
        losses.append(mean_loss(model, batch, None).item())
    return {"trained": list(params), "losses": losses, "gradient_norms": norms}, grads, aids, params


def thin(tensors):
    return {n: t.detach().flatten()[::STRIDE].clone() if t.numel() > WHOLE else t.detach().flatten().clone() for n, t in tensors.items()}


def write(out, name, tensors):
    save_file(tensors, os.path.join(out, name + ".safetensors"))


def make(out, batch, phases, info):
    """phases: name -> (model, trained parameters)."""
    os.makedirs(out, exist_ok=True)
    write(out, "batch", {f"{k}.{i}": s[k].contiguous() for i, s in enumerate(batch) for k in ("ids", "labels", "features") if s[k] is not None})
    report = {}
    for name, (model, params) in phases.items():
        report[name], grads, aids, after = train(model, params, batch)
        write(out, name + "_after", thin(after))
        if name == "phase2":
            write(out, "gradients", thin(grads) | aids)
    with open(os.path.join(out, "training.json"), "w", encoding="utf-8") as f:
        json.dump({"settings": SETTINGS} | info | {"samples": [{"case": s["case"], "tokens": len(s["ids"]),
                   "supervised": int((s["labels"] >= 0).sum())} for s in batch], "phases": report}, f, indent=1)
        f.write("\n")


def main():
    torch.set_num_threads(1)
    models = {"phase1": drafter(), "phase2": drafter()}
    write(HERE, "projector", {published(n): p.detach().clone() for n, p in models["phase1"].named_parameters() if "projector" in n})
    make(HERE, samples("gemma3-tiny", PICTURES), {n: (m.train(), trained(m, n == "phase2")) for n, m in models.items()},
         {"drafter": "../gemma3-text-tiny", "target": "../gemma3-tiny"})

    out = folder("training_gemma_text")
    os.makedirs(out, exist_ok=True)
    with open(folder("gemma3-text-tiny", "config.json"), encoding="utf-8") as f:
        config = json.load(f) | CHANGED
    with open(os.path.join(out, "config.json"), "w", encoding="utf-8") as f:
        json.dump(config, f, indent=1)
        f.write("\n")
    modeling_gemma3.eager_attention_forward = functools.partial(modeling_gemma3.eager_attention_forward, softcap=CHANGED["attn_logit_softcapping"])
    text = Gemma3ForCausalLM.from_pretrained(folder("gemma3-text-tiny"), config=Gemma3TextConfig.from_pretrained(out), dtype=torch.float32,
                                             attn_implementation="eager").train()
    make(out, samples("gemma3-text-tiny", TEXTS), {"phase2": (text, trained(text, True))}, {"drafter": "../gemma3-text-tiny"})


main()
