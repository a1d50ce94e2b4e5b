#!/usr/bin/env python3
"""Which token carries which word's tag, as the example `run_ner` of transformers aligns them: tests/goldens/words.json.

    pip install transformers==5.23.0 tokenizers==0.23.3
    scripts/goldens/words.py > tests/goldens/words.json
"""
import json
import pathlib

from transformers import PreTrainedTokenizerFast

FIXTURE = pathlib.Path(__file__).resolve().parents[2] / "tests/fixtures/tickets/tokenizer.json"
ROWS = [
    ["Where", "is", "my", "invoice", "?"],
    ["printer-cartridges", "unbelievably", "expensive", "!!!"],
    ["a"],
    ["", "refund", " ", "my", "\u200d", "password"],
    ["don't", "reset", "router123", "order", "#4711", "cancellation", "reimbursement", "subscriptions"],
]
LENGTH = 12


def aligned(word_ids, tags):
    """`tokenize_and_align_labels` of run_ner.py, with label_all_tokens=False and None for -100."""
    previous_word_idx, label_ids = None, []
    for word_idx in word_ids:
        if word_idx is None or word_idx == previous_word_idx:
            label_ids.append(None)
        else:
            label_ids.append(tags[word_idx])
        previous_word_idx = word_idx
    return label_ids


def main():
    tokenizer = PreTrainedTokenizerFast(tokenizer_file=str(FIXTURE))
    rows = []
    for words in ROWS:
        found = tokenizer(words, is_split_into_words=True, truncation=True, max_length=LENGTH)
        word_ids = found.word_ids()
        rows.append({"words": words, "ids": found["input_ids"], "word_ids": word_ids, "aligned": aligned(word_ids, list(range(len(words))))})
    print(json.dumps({"max_seq_length": LENGTH, "rows": rows}, indent=1))


main()
