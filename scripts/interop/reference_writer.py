"""Writes compressed-tensors folders by hand from a plain BERT folder, from the format's description alone.

It settles what the format is, apart from any program that writes it: each tensor is quantized here with NumPy, laid
out as the format says, and also written back as plain float32 weights. A loader is right about a form when both
folders give the same logits.

    reference_writer.py MODEL OUT FORM        OUT/compressed and OUT/plain; FORM is one of FORMS below
"""
import json
import pathlib
import shutil
import sys

import numpy as np
from safetensors.numpy import load_file, save_file

GROUP_SIZE = 64

# Every nn.Linear and nn.Embedding of BertForSequenceClassification.
EMBEDDINGS = r"re:.*embeddings\.(word|position|token_type)_embeddings$"
LINEARS = r"re:.*(query|key|value|dense|classifier)$"

FORMS = {
    # name: (bits of linears, symmetric?, bits of embeddings, symmetric?)
    "int8": (8, True, 8, True),
    "int4-embeddings-int8": (4, False, 8, True),
    "int4-symmetric-embeddings-int8": (4, True, 8, True),
    "int4-all": (4, False, 4, False),
}


def is_embedding(name):
    return name.endswith("_embeddings.weight")


def is_quantized(name, array):
    return name.endswith(".weight") and array.ndim == 2


def quantize(weight, bits, symmetric, group_size):
    """Rows in groups -> signed codes, f16 scales, signed zero points."""
    rows, columns = weight.shape
    group = group_size or columns
    grouped = weight.reshape(rows, columns // group, group)
    low, high = -(1 << (bits - 1)), (1 << (bits - 1)) - 1
    if symmetric:
        scale = np.abs(grouped).max(-1) / (high if bits == 8 else (high - low) / 2)
        zero = np.zeros_like(scale)
    else:
        least, most = np.minimum(grouped.min(-1), 0), np.maximum(grouped.max(-1), 0)
        scale = (most - least) / (high - low)
        zero = None
    scale = np.maximum(scale.astype(np.float16), np.float16(1e-7))
    wide = scale.astype(np.float32)
    if zero is None:
        zero = np.clip(np.rint(low - least / wide), low, high)
    codes = np.clip(np.rint(grouped / wide[..., None]) + zero[..., None], low, high)
    dense = (codes - zero[..., None]) * wide[..., None]
    return (codes.reshape(rows, columns).astype(np.int8), scale, zero.astype(np.int8),
            dense.reshape(rows, columns).astype(np.float32))


def pack_rows(codes):
    """int4 codes [rows, columns] -> int32 [rows, ceil(columns / 8)]: code + 8, first code in the lowest nibble."""
    rows, columns = codes.shape
    padded = np.zeros((rows, -(-columns // 8) * 8), np.uint32)
    padded[:, :columns] = (codes.astype(np.int32) + 8).astype(np.uint32)
    words = padded.reshape(rows, -1, 8) << (4 * np.arange(8, dtype=np.uint32))
    return np.bitwise_or.reduce(words, axis=-1).view(np.int32)


def store(name, weight, bits, symmetric, out):
    stem = name[: -len(".weight")]
    if bits == 8:
        codes, scale, _, dense = quantize(weight, 8, True, None)
        out[name] = codes
        out[stem + ".weight_scale"] = scale
        return dense
    codes, scale, zero, dense = quantize(weight, 4, symmetric, GROUP_SIZE)
    out[stem + ".weight_packed"] = pack_rows(codes)
    out[stem + ".weight_scale"] = scale
    out[stem + ".weight_shape"] = np.array(weight.shape, np.int64)
    if not symmetric:
        out[stem + ".weight_zero_point"] = np.ascontiguousarray(pack_rows(np.ascontiguousarray(zero.T)).T)
    return dense


def arguments(bits, symmetric):
    if bits == 8:
        return {"num_bits": 8, "type": "int", "symmetric": True, "strategy": "channel", "dynamic": False}
    return {"num_bits": 4, "type": "int", "symmetric": symmetric, "strategy": "group", "group_size": GROUP_SIZE, "dynamic": False}


def group(targets, bits, symmetric):
    form = "int-quantized" if bits == 8 else "pack-quantized"
    return {"targets": targets, "weights": arguments(bits, symmetric), "input_activations": None, "output_activations": None, "format": form}


def quantization_config(form):
    linear_bits, linear_symmetric, embedding_bits, embedding_symmetric = FORMS[form]
    if linear_bits == embedding_bits:
        groups = {"group_0": group(["Linear", "Embedding"], linear_bits, linear_symmetric)}
        top = groups["group_0"]["format"]
    else:
        groups = {"group_0": group([LINEARS], linear_bits, linear_symmetric), "group_1": group([EMBEDDINGS], embedding_bits, embedding_symmetric)}
        top = "mixed-precision"
    return {"quant_method": "compressed-tensors", "quantization_status": "compressed", "format": top, "config_groups": groups, "ignore": [],
            "kv_cache_scheme": None, "global_compression_ratio": None}


def write(model, out, form):
    linear_bits, linear_symmetric, embedding_bits, embedding_symmetric = FORMS[form]
    compressed, plain = {}, {}
    for name, array in load_file(model / "model.safetensors").items():
        if is_quantized(name, array):
            bits, symmetric = (embedding_bits, embedding_symmetric) if is_embedding(name) else (linear_bits, linear_symmetric)
            plain[name] = store(name, array.astype(np.float32), bits, symmetric, compressed)
        else:
            compressed[name] = array
            plain[name] = array.astype(np.float32)
    config = json.loads((model / "config.json").read_text())
    for folder, tensors, quantization in (("compressed", compressed, quantization_config(form)), ("plain", plain, None)):
        target = out / folder
        shutil.rmtree(target, ignore_errors=True)
        target.mkdir(parents=True)
        save_file(tensors, target / "model.safetensors", metadata={"format": "pt"})
        body = {**config, "torch_dtype": "float16" if quantization else "float32"}
        if quantization:
            body["quantization_config"] = quantization
        (target / "config.json").write_text(json.dumps(body, indent=2) + "\n")


if __name__ == "__main__":
    write(pathlib.Path(sys.argv[1]), pathlib.Path(sys.argv[2]), sys.argv[3])
