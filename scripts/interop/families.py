"""Whether stock transformers loads the codes of every family: the golden models, rounded by `pare`, beside the same numbers written out
as plain floats. Writes results/interop-families.md. Called by scripts/interop/run.

    families.py PARE [MODEL ...]

The floats come from the weight file by the format's own words (`code · scale`), so what is compared is what transformers makes of our
file with what our file says; that pare's own forward pass answers as transformers does on floats, the golden tests hold.
"""
import json
import logging
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile

os.environ.setdefault("HF_HUB_OFFLINE", "1")

import compressed_tensors
import torch
import transformers
from safetensors.torch import load_file, save_file

ROOT = pathlib.Path(__file__).resolve().parents[2]
GOLDENS = ROOT / "tests/goldens/models"
# The two ways to a logit differ by the order of f32 sums alone
TOLERANCE = 1e-4


def quantize(bits, group_size, **where):
    return {"method": "quantize", **where, "params": {"bits": bits, "group_size": group_size, "symmetric": True, "observer": "mse"}}


def recipes(tables):
    return {
        "int8": [quantize(8, -1)],
        "int8 linears alone": [quantize(8, -1, ignore=tables)],
        "int4 linears, int8 tables and head": [quantize(8, -1, targets=tables), quantize(4, 16, ignore=tables)],
    }


def tables(model):
    """Sites that are no linears of a block: a head that is tied, or that there is none of, is no site."""
    config = json.loads((model / "config.json").read_text())
    language = "LM" in config["architectures"][0]
    headless = config["architectures"][0].endswith("Model") or (language and config.get("tie_word_embeddings", True))
    return ["embedding.*"] if headless else ["embedding.*", "head"]


def compress(pare, model, stages, out):
    recipe = out.with_suffix(".json")
    recipe.write_text(json.dumps({"version": 1, "stages": stages, "evaluate": {"metrics": []}}))
    done = subprocess.run([pare, "compress", model, "--recipe", recipe, "--out", out, "--json"], capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError("pare: " + (done.stderr or done.stdout).strip().splitlines()[0])


def unpack(words, columns, bits):
    """Codes of int32 words, the first in the lowest bits, each kept as code + 2^(bits-1)."""
    shifts = torch.arange(0, 32, bits, dtype=torch.int64)
    codes = (words.long()[:, :, None] >> shifts) & ((1 << bits) - 1)
    return codes.reshape(words.shape[0], -1)[:, :columns] - (1 << (bits - 1))


def plain(folder, out):
    """The folder with every code written out as a float."""
    tensors, floats = load_file(folder / "model.safetensors"), {}
    for name, tensor in tensors.items():
        module, _, kind = name.rpartition(".")
        scale = tensors.get(f"{module}.weight_scale")
        if kind == "weight_packed":
            rows, columns = tensors[f"{module}.weight_shape"].tolist()
            bits = next(b for b in (4, 8) if -(-columns // (32 // b)) == tensor.shape[1])
            codes = unpack(tensor, columns, bits)
            floats[f"{module}.weight"] = codes.float() * scale.float().repeat_interleave(columns // scale.shape[1], dim=1)
        elif kind == "weight" and scale is not None:
            floats[name] = tensor.float() * scale.float()
        elif kind not in ("weight_scale", "weight_shape"):
            floats[name] = tensor.float() if tensor.is_floating_point() else tensor
    shutil.copytree(folder, out, ignore=shutil.ignore_patterns("*.safetensors", "report.json"))
    config = json.loads((folder / "config.json").read_text())
    del config["quantization_config"]
    (out / "config.json").write_text(json.dumps(config))
    save_file(floats, out / "model.safetensors", metadata={"format": "pt"})


@torch.inference_mode()
def answers(folder, golden, leftover):
    config = transformers.AutoConfig.from_pretrained(folder)
    kind = getattr(transformers, config.architectures[0])
    model, info = kind.from_pretrained(folder, dtype=torch.float32, output_loading_info=True)
    info["unexpected_keys"] = set(info["unexpected_keys"]) - leftover  # the original has them too
    wrong = {key: sorted(map(str, value)) for key, value in info.items() if value}
    if wrong:
        raise RuntimeError(f"weights were left out or left over: {wrong}")
    model.eval()
    found = []
    for row in sorted({name.split(".")[0] for name in golden if name.endswith(".input_ids")}):
        inputs = {"input_ids": golden[f"{row}.input_ids"][None]}
        if f"{row}.token_type_ids" in golden and config.model_type == "bert":
            inputs["token_type_ids"] = golden[f"{row}.token_type_ids"][None]
        out = model(**inputs)
        found.append((out.logits if "logits" in out else out.last_hidden_state)[0].float())
    return found


def check(pare, model, stages, scratch):
    compress(pare, model, stages, scratch / "small")
    plain(scratch / "small", scratch / "plain")
    golden = load_file(model / "golden.safetensors")
    leftover = {name for file in model.glob("model*.safetensors") for name in load_file(file)}
    pairs = zip(answers(scratch / "small", golden, leftover), answers(scratch / "plain", golden, leftover))
    return max(float((a - b).abs().max()) for a, b in pairs)


def main():
    pare, names = sys.argv[1], sys.argv[2:]
    torch.set_num_threads(2)
    logging.disable(logging.WARNING)
    transformers.logging.set_verbosity_error()
    models = sorted(path.parent for path in GOLDENS.glob("*/golden.safetensors"))
    lines, failed = [], 0
    for model in [m for m in models if not names or m.name in names]:
        family = json.loads((model / "config.json").read_text())
        for name, stages in recipes(tables(model)).items():
            with tempfile.TemporaryDirectory() as temporary:
                try:
                    worst = check(pare, model, stages, pathlib.Path(temporary))
                    said = f"{worst:.1e}"
                    failed += not worst <= TOLERANCE
                except Exception as error:  # every way to fail is a finding
                    said = "no: " + f"{type(error).__name__}: {error}".splitlines()[0][:160]
            lines.append(f"| {model.name} | {family['architectures'][0]} | {name} | {said} |")
            print(lines[-1], flush=True)
    if names:
        return
    (ROOT / "results/interop-families.md").write_text(f"""# What stock transformers makes of our codes, family by family

`scripts/interop/run` writes this page: transformers {transformers.__version__}, compressed-tensors {compressed_tensors.__version__}, torch {torch.__version__}, F32 on a CPU.
The small random models of `tests/goldens/models` are rounded by `pare compress` and loaded by their class's `from_pretrained`. The last column
is the largest absolute difference of an answer from the same model with every code written out as a float; "no" where it does not load.

| model | class | recipe | loads, largest difference |
|---|---|---|---|
""" + "\n".join(lines) + "\n")
    sys.exit(f"{failed} answers are off by more than {TOLERANCE}" if failed else 0)


if __name__ == "__main__":
    main()
