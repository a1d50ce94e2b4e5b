"""Seconds that PyTorch takes to tokenize and run a dataset, with `pare evaluate`'s batches. Loading is not counted.

usage: torch_forward.py MODEL EVAL MAX_SEQ_LENGTH THREADS     prints {"evaluate_seconds", "value", "rows", "attention"}

EVAL is labelled rows (.jsonl: accuracy) or a text (.txt: perplexity in windows that do not overlap).
"""
import json
import math
import pathlib
import sys
import time

import torch
from tokenizers import Tokenizer
from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification

MAX_ROWS, MAX_TOKENS = 64, 4096


def batches(lengths):
    """Rows from short to long, at most MAX_ROWS and, padded, MAX_TOKENS a batch."""
    out = []
    for row in sorted(range(len(lengths)), key=lengths.__getitem__):
        if out and len(out[-1]) < MAX_ROWS and (len(out[-1]) + 1) * lengths[row] <= MAX_TOKENS:
            out[-1].append(row)
        else:
            out.append([row])
    return out


@torch.inference_mode()
def evaluate(model, tokenizer, texts):
    encoded = tokenizer.encode_batch(texts)
    lengths = [len(row.ids) for row in encoded]
    answers = [0] * len(texts)
    for places in batches(lengths):
        width = lengths[places[-1]]
        ids = torch.zeros(len(places), width, dtype=torch.int64)
        mask = torch.zeros(len(places), width, dtype=torch.int64)
        for at, row in enumerate(places):
            ids[at, : lengths[row]] = torch.tensor(encoded[row].ids)
            mask[at, : lengths[row]] = 1
        for row, answer in zip(places, model(input_ids=ids, attention_mask=mask).logits.argmax(-1).tolist()):
            answers[row] = answer
    return answers


@torch.inference_mode()
def perplexity(model, tokenizer, text, length):
    ids = [model.config.bos_token_id, *tokenizer.encode(text, add_special_tokens=False).ids]
    windows = [ids[start : start + length] for start in range(0, len(ids), length)]
    windows = [window for window in windows if len(window) > 1]
    total, tokens = 0.0, 0
    for places in batches([len(window) for window in windows]):
        width = len(windows[places[-1]])
        padded = torch.zeros(len(places), width, dtype=torch.int64)
        mask = torch.zeros(len(places), width, dtype=torch.int64)
        for at, row in enumerate(places):
            padded[at, : len(windows[row])] = torch.tensor(windows[row])
            mask[at, : len(windows[row])] = 1
        logits = model(input_ids=padded, attention_mask=mask).logits[:, :-1]
        nll = torch.nn.functional.cross_entropy(logits.transpose(1, 2), padded[:, 1:], reduction="none")
        total += float((nll * mask[:, 1:]).double().sum())
        tokens += int(mask[:, 1:].sum())
    return math.exp(total / tokens), len(windows)


def main(folder, rows, length, threads):
    torch.set_num_threads(threads)
    kind = AutoModelForCausalLM if rows.suffix == ".txt" else AutoModelForSequenceClassification
    model = kind.from_pretrained(folder, dtype=torch.float32).eval()
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    if rows.suffix == ".txt":
        text = rows.read_text()
        start = time.perf_counter()
        value, count = perplexity(model, tokenizer, text, length)
        seconds = time.perf_counter() - start
    else:
        tokenizer.enable_truncation(length)
        tokenizer.no_padding()
        rows = [json.loads(line) for line in rows.read_text().splitlines()]
        start = time.perf_counter()
        answers = evaluate(model, tokenizer, [row["text"] for row in rows])
        seconds = time.perf_counter() - start
        value = sum(model.config.id2label[answer] == row["label"] for answer, row in zip(answers, rows)) / len(rows)
        count = len(rows)
    attention = model.config._attn_implementation
    print(json.dumps({"evaluate_seconds": seconds, "value": value, "rows": count, "attention": attention}))


main(pathlib.Path(sys.argv[1]), pathlib.Path(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4]))
