"""Writes small random models in Hugging Face's layout with the answers of transformers.

torch 2.15.0, transformers 5.23.0, safetensors 0.8.0 (requirements.txt). usage: models.py [OUT [NAME...]]
"""
import copy
import json
import pathlib
import shutil
import sys

sys.dont_write_bytecode = True

import safetensors.torch
import torch
import transformers

import catalogue
import layouts
import weights

TOLERANCE = 1e-3
# What is left out of a model, a tensor or a switch of its config, must change an answer by this much. Closest are gelu and its
# tanh form.
LEAST_EFFECT = 4 * TOLERANCE
MOST_BYTES = 3_000_000


def rows(golden, config, generator):
    """Ids at random without the first four, which are for padding and the like."""
    for length in golden.rows:
        row = {"input_ids": torch.randint(4, config.vocab_size, (length,), generator=generator)}
        kinds = getattr(config, "type_vocab_size", 0)
        if kinds:
            row["token_type_ids"] = (torch.arange(length) >= (length + 1) // 2).long().clamp(max=kinds - 1)
        yield row


def save(model, golden, folder):
    stored = copy.deepcopy(model).to(golden.dtype)
    stored.save_pretrained(folder, max_shard_size=golden.shard_bytes or "1GB")
    (folder / "generation_config.json").unlink(missing_ok=True)
    shards = len(list(folder.glob("*.safetensors")))
    assert shards == (2 if golden.shard_bytes else 1), f"{golden.name}: {shards} files"
    if golden.config_layout:
        layouts.rewrite_config(folder, golden.config_layout, golden.config_extra)
    if golden.tensor_layout:
        layouts.rewrite_tensors(folder, golden.tensor_layout)
    if golden.output.startswith("pooled"):
        save_pooling(golden, folder)


def save_pooling(golden, folder):
    """The files by which sentence-transformers says how tokens become a vector."""
    mode = {"pooled_mean": "mean_tokens", "pooled_first": "cls_token", "pooled_last": "lasttoken"}[golden.output]
    modes = ("cls_token", "mean_tokens", "max_tokens", "mean_sqrt_len_tokens", "lasttoken")
    pooling = {"word_embedding_dimension": golden.config.get("hidden_size", golden.config.get("dim"))}
    pooling |= {f"pooling_mode_{name}": name == mode for name in modes}
    kinds = (("", "Transformer"), ("1_Pooling", "Pooling"))
    modules = [
        {"idx": i, "name": str(i), "path": path, "type": f"sentence_transformers.models.{kind}"}
        for i, (path, kind) in enumerate(kinds)
    ]
    (folder / "1_Pooling").mkdir()
    write_json(folder / "1_Pooling" / "config.json", pooling)
    write_json(folder / "modules.json", modules)


def load(cls, folder):
    model, info = cls.from_pretrained(
        folder, dtype=torch.float32, attn_implementation="eager", output_loading_info=True
    )
    assert not info["missing_keys"] and not info["mismatched_keys"], info
    return model.eval()


def check_effects(model, golden, row):
    """Every tensor and every switch that the model is here for changes the longest row's answer."""
    effect, name = weights.least_effect(model, golden.output, row, golden.idle)
    assert effect > LEAST_EFFECT, f"{golden.name}: without {name} the answer changes by {effect} only"
    before = weights.answer(model, golden.output, row)
    for changes in golden.matters:
        other = weights.answer(weights.with_config(model, changes), golden.output, row)
        change = weights.worst(before, other)
        assert change > LEAST_EFFECT, f"{golden.name}: {changes} changes the answer by {change} only"
        effect = min(effect, change)
    return effect


def make(golden, seed, out):
    folder = out / golden.name
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    cls = getattr(transformers, golden.cls)
    config = cls.config_class(**golden.config)
    config._attn_implementation = "eager"
    model = cls(config).eval()
    weights.redraw(model, seed, golden.dtype)
    save(model, golden, folder)
    if golden.output == "none":
        return
    generator = torch.Generator().manual_seed(1_000 + seed)
    read = load(cls, folder)
    tensors, noise = {}, 0.0
    for i, row in enumerate(rows(golden, config, generator)):
        output = weights.answer(read, golden.output, row)
        # What was saved, and then rewritten by hand, is what was meant
        assert torch.equal(output, weights.answer(model, golden.output, row)), golden.name
        precise = weights.answer(copy.deepcopy(read).double(), golden.output, row)
        noise = max(noise, weights.worst(output.double(), precise))
        tensors |= {f"row{i}.{name}": ids for name, ids in row.items()} | {f"row{i}.output": output}
    assert noise < TOLERANCE / 10, f"{golden.name}: f32 and f64 differ by {noise}"
    effect = check_effects(read, golden, row)
    safetensors.torch.save_file(tensors, folder / "golden.safetensors")
    write_json(folder / "golden.json", {"output": golden.output, "tolerance": TOLERANCE})
    print(f"{golden.name:28} f32 from f64 {noise:.0e}   least effect {effect:.0e}", flush=True)


def write_json(path, value):
    path.write_text(json.dumps(value, indent=2) + "\n")


def main():
    out = pathlib.Path(sys.argv[1] if len(sys.argv) > 1 else "tests/goldens/models")
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    torch.set_num_threads(1)
    for golden in catalogue.MODELS:
        if len(sys.argv) < 3 or golden.name in sys.argv[2:]:
            make(golden, golden.seed(), out)
    (out / "README.md").write_text(catalogue.readme())
    size = sum(path.stat().st_size for path in out.rglob("*") if path.is_file())
    print(f"{size:,} bytes")
    assert size < MOST_BYTES


main()
