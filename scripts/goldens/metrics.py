#!/usr/bin/env python3
"""Metrics as scikit-learn, scipy and seqeval give them, on small made-up rows: tests/goldens/metrics.json.

    pip install -r scripts/goldens/metrics-requirements.txt
    scripts/goldens/metrics.py > tests/goldens/metrics.json
"""
import json
import warnings

import numpy
import scipy.stats
import sklearn.metrics
from seqeval.metrics import f1_score
from seqeval.metrics.sequence_labeling import get_entities

warnings.simplefilter("ignore")
draw = numpy.random.default_rng(20)


def classes(labels, predicted, count):
    labels, predicted = [int(x) for x in labels], [int(x) for x in predicted]
    return {
        "labels": labels, "predicted": predicted, "classes": count,
        "accuracy": sklearn.metrics.accuracy_score(labels, predicted),
        "macro_f1": sklearn.metrics.f1_score(labels, predicted, average="macro"),
        "mcc": sklearn.metrics.matthews_corrcoef(labels, predicted),
    }


def noisy(count, rows, share):
    labels = draw.integers(count, size=rows)
    return classes(labels, numpy.where(draw.random(rows) < share, draw.integers(count, size=rows), labels), count)


def numbers(targets, answers):
    """Answers are multiples of 1/64, so that they are the same in 32 bits."""
    answers = [round(float(x) * 64) / 64 for x in answers]
    targets = [float(x) for x in targets]
    return {
        "targets": targets, "answers": answers,
        "pearson": scipy.stats.pearsonr(targets, answers).statistic,
        "spearman": scipy.stats.spearmanr(targets, answers).statistic,
    }


def tags(names, tagged, answered):
    flat = [[tag for row in rows for tag in row] for rows in (tagged, answered)]
    case = {
        "names": names, "tags": tagged, "answers": answered,
        "token_f1": sklearn.metrics.f1_score(*flat, average="micro", labels=[name for name in names if name != "O"]),
        "entity_f1": None,
    }
    if all(name == "O" or name[:2] in ("B-", "I-", "E-", "S-") for name in names):
        case["entity_f1"] = float(f1_score(tagged, answered))
        case["entities"] = [[list(entity) for entity in get_entities(row)] for row in tagged]
    return case


def random_tags(names, rows, share):
    """Tags in any order, so that every two follow each other somewhere."""
    tagged, answered = [], []
    for length in draw.integers(1, 12, size=rows):
        row = draw.integers(len(names), size=length)
        answer = numpy.where(draw.random(length) < share, draw.integers(len(names), size=length), row)
        tagged.append([names[tag] for tag in row])
        answered.append([names[tag] for tag in answer])
    return tags(names, tagged, answered)


def main():
    stars = draw.integers(0, 11, size=60) / 2
    iob = ["O", "B-PER", "I-PER", "B-LOC", "I-LOC"]
    iobes = ["O"] + [f"{prefix}-{kind}" for kind in ("PER", "MISC-X") for prefix in "BIES"]
    cases = {
        "classes": [
            classes([0, 1, 1, 0], [0, 1, 0, 2], 4), noisy(2, 40, 0.3), noisy(5, 120, 0.5), noisy(20, 300, 0.2),
            classes([0, 1, 0, 1, 1], [1, 1, 1, 1, 1], 2), classes([0, 1, 0, 1], [1, 0, 1, 0], 2), classes([1, 1, 1], [1, 1, 1], 2),
        ],
        "numbers": [
            numbers([1, 2, 2, 4, 5, 5, 5, 8], [3, 1, 4, 1, 5, 9, 2, 6]), numbers(stars, stars + draw.normal(size=60)),
            numbers(draw.normal(size=200), draw.normal(size=200)), numbers([1, 2, 3, 4], [1, 4, 9, 100]), numbers([1, 2, 3], [-1, -2, -3]),
        ],
        "tags": [
            tags(iob, [["B-PER", "I-PER", "O", "B-LOC"], ["O", "O"]], [["B-PER", "I-PER", "O", "O"], ["O", "I-LOC"]]),
            tags(iob, [["O", "O"]], [["O", "O"]]), tags(iob, [["B-PER", "O"]], [["B-PER", "O"]]),
            random_tags(iob, 30, 0.3), random_tags(iobes, 60, 0.2), random_tags(["O", "NOUN", "VERB"], 20, 0.3),
        ],
    }
    print(json.dumps(cases, indent=None, separators=(",", ":")).replace('{"', '\n{"'))


main()
