#!/usr/bin/python3
"""train_step.py - training steps of the scenes drafter, ours and PyTorch's, by turns on the same made-up samples.

    bench/train_step.py [--threads 1] [--rounds 5] [--steps 30] [--phase 2] [--recompute] [--venv DIR] [--alone]

PyTorch comes from PyPI (some gigabytes) into a virtual environment, kept in DIR or thrown away; where it cannot be installed a line
says so and ours runs alone, as with --alone. PyTorch pads a batch to its longest sample, gathers the supervised rows before the head, and uses its fused attention.
The check: both losses after the same steps. The ratio is that of the medians of tokens (unpadded) per second.
"""
import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time

BUILD = os.environ.get("BUILD", "build")
SAMPLES, ROWS, PICTURE_AT, ANSWER_AT, WARM_UP, SHORTEST, LONGEST = 16, 36, 12, 56, 3, 60, 150  # as in train_step.c
MODEL = "models/scenes-massv"


def torch_steps(threads, steps, phase, channel):
    """Runs in the virtual environment: for each line read from stdin, trains from the start and prints a line of JSON."""
    import numpy as np
    import torch
    from torch import nn
    import torch.nn.functional as F

    torch.set_num_threads(threads)
    config = json.load(open(f"{MODEL}/config.json"))
    config.update(config.get("text_config", {}))
    d, heads, kv = config["hidden_size"], config["num_attention_heads"], config["num_key_value_heads"]
    layers, vocabulary, head_dim = config["num_hidden_layers"], config["vocab_size"], d // heads
    width = config["vision_config"]["hidden_size"]
    theta = config.get("rope_theta") or config["rope_parameters"]["rope_theta"]
    raw = open(f"{MODEL}/model.safetensors", "rb").read()
    size = int.from_bytes(raw[:8], "little")
    tensors = {}
    for name, t in json.loads(raw[8:8 + size]).items():
        if name == "__metadata__" or "blocks." in name or "patch_embed" in name:
            continue
        kind = {"F32": torch.float32, "BF16": torch.bfloat16, "F16": torch.float16}[t["dtype"]]
        begin, end = t["data_offsets"]
        data = torch.frombuffer(bytearray(raw[8 + size + begin:8 + size + end]), dtype=kind)
        tensors[name] = data.float().reshape(t["shape"])

    def sample(i):
        n = SHORTEST + i * 37 % (LONGEST - SHORTEST + 1)
        ids = (i * 131 + np.arange(n) * 17) % (vocabulary - 32)
        j = np.arange(ROWS * 4 * width, dtype=np.int64)
        features = ((j * 2654435761 + i) % 1000).astype(np.float32) / 500 - 1
        return ids, features.reshape(ROWS * 4, width)

    def batch(step):
        rows = [sample(step * SAMPLES + i) for i in range(SAMPLES)]
        longest = max(len(ids) for ids, _ in rows)
        ids, labels = torch.zeros(SAMPLES, longest, dtype=torch.long), torch.full((SAMPLES, longest), -100)
        for i, (row, _) in enumerate(rows):
            ids[i, :len(row)] = torch.from_numpy(row)
            labels[i, ANSWER_AT - 1:len(row) - 1] = ids[i, ANSWER_AT:len(row)]
        return ids, labels, torch.from_numpy(np.stack([f for _, f in rows])), sum(len(row) for row, _ in rows)

    def rms(x, weight):
        return F.rms_norm(x, (x.shape[-1],), weight, 1e-6)

    def loss_of(p, ids, labels, features):
        x = F.embedding(ids, p["model.embed_tokens.weight"])
        f = rms(features, p["visual.merger.ln_q.weight"]).reshape(SAMPLES, ROWS, -1)
        f = F.gelu(F.linear(f, p["visual.merger.mlp.0.weight"], p["visual.merger.mlp.0.bias"]))
        f = F.linear(f, p["visual.merger.mlp.2.weight"], p["visual.merger.mlp.2.bias"])
        x = torch.cat((x[:, :PICTURE_AT], f, x[:, PICTURE_AT + ROWS:]), 1)
        n = x.shape[1]
        angle = torch.arange(n)[:, None] / theta ** (torch.arange(0, head_dim, 2).float() / head_dim)
        cos, sin = torch.cat((angle, angle), -1).cos(), torch.cat((angle, angle), -1).sin()

        def turned(t):
            a, b = t.chunk(2, -1)
            return t * cos + torch.cat((-b, a), -1) * sin

        for i in range(layers):
            w = lambda name: p[f"model.layers.{i}.{name}"]
            y = rms(x, w("input_layernorm.weight"))
            q, k, v = (F.linear(y, w(f"self_attn.{c}_proj.weight"), w(f"self_attn.{c}_proj.bias"))
                       .view(SAMPLES, n, -1, head_dim).transpose(1, 2) for c in "qkv")
            k, v = (t.repeat_interleave(heads // kv, 1) for t in (turned(k), v))
            a = F.scaled_dot_product_attention(turned(q), k, v, is_causal=True)
            x = x + F.linear(a.transpose(1, 2).reshape(SAMPLES, n, -1), w("self_attn.o_proj.weight"))
            y = rms(x, w("post_attention_layernorm.weight"))
            y = F.silu(F.linear(y, w("mlp.gate_proj.weight"))) * F.linear(y, w("mlp.up_proj.weight"))
            x = x + F.linear(y, w("mlp.down_proj.weight"))
        keep = labels >= 0
        head = p.get("lm_head.weight", p["model.embed_tokens.weight"])
        return F.cross_entropy(F.linear(rms(x[keep], p["model.norm.weight"]), head), labels[keep])

    batches = [batch(step) for step in range(WARM_UP + steps)]
    for _ in sys.stdin:
        p = {name: nn.Parameter(t.clone(), requires_grad=phase == 2 or "merger" in name) for name, t in tensors.items()}
        trained = [t for t in p.values() if t.requires_grad]
        optimizer = torch.optim.AdamW(trained, lr=1e-4, betas=(0.9, 0.98), eps=1e-8, weight_decay=0, fused=True)
        tokens = 0
        for step, (ids, labels, features, count) in enumerate(batches):
            if step == WARM_UP:
                start = time.perf_counter()
            tokens += count if step >= WARM_UP else 0
            loss = loss_of(p, ids, labels, features)
            optimizer.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(trained, 1.0)
            optimizer.step()
        seconds = time.perf_counter() - start
        print(json.dumps({"tokens_per_second": tokens / seconds, "loss": loss.item(), "version": torch.__version__}), file=channel,
              flush=True)


def environment(folder):
    """A Python that has PyTorch, or None."""
    python = f"{folder}/bin/python"
    if not os.path.exists(python):
        subprocess.run([sys.executable, "-m", "venv", folder], check=True)
        subprocess.run([python, "-m", "pip", "install", "--quiet", "numpy", "torch"])
    return python if not subprocess.run([python, "-c", "import torch"], stderr=subprocess.DEVNULL).returncode else None


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=30)
    parser.add_argument("--phase", type=int, default=2, choices=(1, 2))
    parser.add_argument("--recompute", action="store_true")
    parser.add_argument("--venv", help="where PyTorch's environment is kept; default: a temporary folder")
    parser.add_argument("--alone", action="store_true", help="without PyTorch")
    parser.add_argument("--torch", action="store_true", help=argparse.SUPPRESS)
    a = parser.parse_args()
    if a.torch:
        return torch_steps(a.threads, a.steps, a.phase, sys.stdout)
    venv = a.venv or tempfile.mkdtemp()
    other = None
    try:
        python = None if a.alone else environment(venv)
        if not python and not a.alone:
            print("PyTorch cannot be installed here: ours alone")
        elif python:
            other = subprocess.Popen([python, __file__, "--torch", f"--threads={a.threads}", f"--steps={a.steps}",
                                      f"--phase={a.phase}"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        ours, theirs = [], []
        for _ in range(a.rounds):
            command = [f"{BUILD}/bench/train_step", "--model", MODEL, f"--threads={a.threads}", f"--steps={a.steps}",
                       f"--phase={a.phase}"] + (["--recompute"] if a.recompute else [])
            ours.append(json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout))
            if other:
                print("go", file=other.stdin, flush=True)
                theirs.append(json.loads(other.stdout.readline()))
        middle = lambda runs, key: statistics.median(r[key] for r in runs)
        print(f"{ours[0]['device']}: {middle(ours, 'tokens_per_second'):.0f} tokens/s, {middle(ours, 'gflops'):.1f} Gflop/s, "
              f"{100 * middle(ours, 'utilisation'):.0f} % of {middle(ours, 'peak_gflops'):.0f}, loss {ours[0]['loss']:.5f}")
        if theirs:
            print(f"PyTorch {theirs[0]['version']}: {middle(theirs, 'tokens_per_second'):.0f} tokens/s, loss {theirs[0]['loss']:.5f}; "
                  f"ours / PyTorch: {middle(ours, 'tokens_per_second') / middle(theirs, 'tokens_per_second'):.2f}")
            if abs(ours[0]["loss"] - theirs[0]["loss"]) > 1e-3 * theirs[0]["loss"]:
                sys.exit("the losses differ: the figures compare different work")
    finally:
        if other:
            other.stdin.close()
            other.wait()
        if not a.venv:
            shutil.rmtree(venv)


if __name__ == "__main__":
    main()
