"""GPTQ by llm-compressor. Called by scripts/peers/gptq: MODEL CALIBRATION SAMPLES LENGTH THREADS OUT. Prints one JSON object."""
import json
import pathlib
import resource
import sys
import time

started = time.monotonic()
import torch  # noqa: E402
from datasets import Dataset  # noqa: E402
from llmcompressor import oneshot  # noqa: E402
from llmcompressor.modifiers.gptq import GPTQModifier  # noqa: E402
from transformers import AutoConfig, AutoModelForCausalLM, AutoModelForSequenceClassification, AutoTokenizer  # noqa: E402

BITS, GROUP = 4, 64


def rows(path, tokenizer, samples, length):
    """The same rows as pare takes: lines cut to a length, or windows of a text that begin with the prefix."""
    if path.endswith(".jsonl"):
        texts = [json.loads(line)["text"] for line in pathlib.Path(path).read_text().splitlines()]
        return [tokenizer(text, truncation=True, max_length=length) for text in texts[:samples]]
    ids = tokenizer(pathlib.Path(path).read_text(), add_special_tokens=False)["input_ids"]
    step = length
    windows = [ids[at : at + step] for at in range(0, len(ids) - step, step)]
    spread = [windows[i * len(windows) // samples] for i in range(min(samples, len(windows)))]
    return [{"input_ids": window, "attention_mask": [1] * len(window)} for window in spread]


def main(model, calibration, samples, length, threads, out):
    torch.set_num_threads(int(threads))
    samples, length = int(samples), int(length)
    tokenizer = AutoTokenizer.from_pretrained(model)
    is_causal = AutoConfig.from_pretrained(model).architectures[0].endswith("ForCausalLM")
    kind = AutoModelForCausalLM if is_causal else AutoModelForSequenceClassification
    loaded = kind.from_pretrained(model, dtype=torch.float32)
    layer = "LlamaDecoderLayer" if is_causal else "BertLayer"
    scheme = {
        "group_0": {
            "targets": ["Linear"],
            "weights": {"num_bits": BITS, "type": "int", "symmetric": False, "strategy": "group", "group_size": GROUP, "observer": "mse", "actorder": "static"},
        }
    }
    modifier = GPTQModifier(config_groups=scheme, ignore=["lm_head", "classifier"], dampening_frac=0.01)
    data = Dataset.from_list([dict(row) for row in rows(calibration, tokenizer, samples, length)])
    imported = time.monotonic() - started
    began = time.monotonic()
    oneshot(
        model=loaded,
        dataset=data,
        recipe=[modifier],
        num_calibration_samples=len(data),
        max_seq_length=length,
        sequential_targets=[layer],
        pipeline="sequential",
        processor=tokenizer,
    )
    compress_seconds = time.monotonic() - began
    loaded.save_pretrained(out, save_compressed=True)
    tokenizer.save_pretrained(out)
    print(json.dumps({
        "compress_seconds": compress_seconds,
        "process_seconds": time.monotonic() - started,
        "import_seconds": imported,
        "peak_memory_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
        "rows": len(data),
    }))


main(*sys.argv[1:])
