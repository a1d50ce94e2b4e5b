"""Loads a folder with stock transformers, runs the rows of an expected_logits file, and prints one line of JSON.

    read_with_transformers.py FOLDER EXPECTED [--rows N] [--dtype float32|auto] [--out LOGITS]

`loaded` is false where the folder can't be loaded or some of its weights were left at random; `error` then says why.
"""
import argparse
import json
import logging
import os

os.environ.setdefault("HF_HUB_OFFLINE", "1")

import compressed_tensors
import torch
import transformers
from safetensors.torch import load_file, save_file


def load(folder, dtype):
    dtype = "auto" if dtype == "auto" else getattr(torch, dtype)
    model, info = transformers.AutoModelForSequenceClassification.from_pretrained(folder, dtype=dtype, output_loading_info=True)
    wrong = {key: sorted(map(str, value)) for key, value in info.items() if value}
    if wrong:
        raise RuntimeError(f"weights were left out or left over: {wrong}")
    return model.eval()


@torch.inference_mode()
def run(model, expected, rows, batch=64):
    logits = []
    for start in range(0, rows, batch):
        end = min(start + batch, rows)
        inputs = {name: expected[name][start:end].long() for name in ("input_ids", "attention_mask", "token_type_ids") if name in expected}
        logits.append(model(**inputs).logits.float())
    return torch.cat(logits)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("folder")
    parser.add_argument("expected")
    parser.add_argument("--rows", type=int, default=512)
    parser.add_argument("--dtype", default="float32")
    parser.add_argument("--out")
    args = parser.parse_args()
    torch.set_num_threads(2)
    logging.disable(logging.WARNING)
    expected = load_file(args.expected)
    rows = min(args.rows, expected["input_ids"].shape[0])
    answer = {"transformers": transformers.__version__, "compressed_tensors": compressed_tensors.__version__, "torch": torch.__version__,
              "dtype": args.dtype, "rows": rows}
    try:
        logits = run(load(args.folder, args.dtype), expected, rows)
        answer["loaded"] = True
        if args.out:
            save_file({"logits": logits.contiguous()}, args.out)
    except Exception as error:  # every way to fail is a finding
        answer |= {"loaded": False, "error": f"{type(error).__name__}: {error}".splitlines()[0][:400]}
    print(json.dumps(answer))


if __name__ == "__main__":
    main()
