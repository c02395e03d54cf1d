"""deeper.py - a checkpoint that says the same at a higher price: layers are added whose last matrices are zero, so that they add nothing.

    /usr/bin/python3 bench/study/deeper.py models/scenes-large --layers 48 --out DIR

The models of models/ are so small that a step of the target costs little more than one of its drafter. Behind layers that compute all
that a layer computes and change nothing, the target costs what a larger one does, and every answer stays the same, token by token."""
import argparse
import json
import pathlib
import shutil
import struct

SILENT = ("self_attn.o_proj.weight", "mlp.down_proj.weight")  # what a layer adds goes through one of them


def tensors_of(path):
    """(header, bytes of all tensors) of a .safetensors file."""
    raw = path.read_bytes()
    size = struct.unpack("<Q", raw[:8])[0]
    return json.loads(raw[8:8 + size]), raw[8 + size:]


def deeper(header, data, layers, more):
    """The same with `more` layers like the last one behind it, silent."""
    out, end, new = dict(header), len(data), []
    last = f"model.layers.{layers - 1}."
    for name in sorted(n for n in header if n.startswith(last)):
        begin, stop = header[name]["data_offsets"]
        piece = bytes(stop - begin) if name.removeprefix(last) in SILENT else data[begin:stop]
        for i in range(layers, layers + more):
            out[f"model.layers.{i}.{name.removeprefix(last)}"] = dict(header[name], data_offsets=[end, end + len(piece)])
            new.append(piece)
            end += len(piece)
    return out, data + b"".join(new)


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("model", type=pathlib.Path)
    p.add_argument("--layers", type=int, required=True, help="in all")
    p.add_argument("--out", type=pathlib.Path, required=True, metavar="DIR")
    a = p.parse_args()
    config = json.loads((a.model / "config.json").read_text())
    layers = config["num_hidden_layers"]
    if a.layers <= layers:
        p.error(f"--layers {a.layers}: {a.model} has {layers} already")
    shutil.copytree(a.model, a.out, dirs_exist_ok=True)
    header, data = deeper(*tensors_of(a.model / "model.safetensors"), layers, a.layers - layers)
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    (a.out / "model.safetensors").write_bytes(struct.pack("<Q", len(text)) + text + data)
    config["num_hidden_layers"] = config["max_window_layers"] = a.layers
    (a.out / "config.json").write_text(json.dumps(config, indent=2) + "\n")
    print(f"{a.out}: {a.layers} layers, of which {layers} say something")


if __name__ == "__main__":
    main()
