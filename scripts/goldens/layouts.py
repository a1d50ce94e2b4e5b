"""Layouts that transformers wrote once and checkpoints still have: configs and names of tensors."""
import json

import safetensors
import safetensors.torch


def transformers_4(config):
    """A config as transformers 4 wrote it: `torch_dtype`, `rope_theta` and `rope_scaling` beside each other."""
    config["torch_dtype"] = config.pop("dtype")
    config["transformers_version"] = "4.46.0"
    rope = config.pop("rope_parameters", None)
    if rope:
        config["rope_theta"] = rope.pop("rope_theta")
        config["rope_scaling"] = None if rope["rope_type"] == "default" else rope
    # Where it follows from the others, it was not written; Qwen 3 always had it
    if "head_dim" in config and config["model_type"] != "qwen3":
        if config["head_dim"] == config["hidden_size"] // config["num_attention_heads"]:
            config.pop("head_dim")
    for key in ("layer_types", *(key for key in ("pad_token_id", "bos_token_id", "eos_token_id") if config.get(key) is None)):
        config.pop(key, None)
    return config


def transformers_4_30(config):
    """Older still: the kind of `rope_scaling` is its `type`."""
    config = transformers_4(config)
    config["transformers_version"] = "4.31.0"
    if config.get("rope_scaling"):
        config["rope_scaling"]["type"] = config["rope_scaling"].pop("rope_type")
    return config


def first_llama(config):
    """The first: nothing said of rotation, of groups of heads, of biases."""
    config = transformers_4(config)
    config["transformers_version"] = "4.28.0"
    assert config.pop("rope_theta") == 10_000 and config.pop("rope_scaling") is None
    assert config.pop("num_key_value_heads") == config["num_attention_heads"]
    for key in ("attention_bias", "mlp_bias", "attention_dropout", "pretraining_tp"):
        config.pop(key, None)
    return config


def rewrite_config(folder, layout, extra):
    path = folder / "config.json"
    config = {**layout(json.loads(path.read_text())), **extra}
    path.write_text(json.dumps(config, indent=2, sort_keys=True) + "\n")


def rewrite_tensors(folder, change):
    """Gives the tensors of `model.safetensors` through `change`."""
    path = folder / "model.safetensors"
    tensors = change(safetensors.torch.load_file(path))
    safetensors.torch.save_file(tensors, path, metadata={"format": "pt"})
