"""Runs the two in turn and writes results/peers-forward-MODEL.md. Called by scripts/peers/forward."""
import json
import os
import pathlib
import platform
import statistics
import subprocess
import sys

HERE = pathlib.Path(__file__).resolve().parent
THREADS = "2"


def answer(*command, env=None):
    done = subprocess.run(command, capture_output=True, text=True, env=env)
    if done.returncode:
        sys.exit(f"{' '.join(command)}\n{done.stdout[-2000:]}{done.stderr[-2000:]}")
    return json.loads(done.stdout[done.stdout.index("{"):])


def processor():
    lines = pathlib.Path("/proc/cpuinfo").read_text().splitlines() if os.path.exists("/proc/cpuinfo") else []
    return next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), platform.processor())


def main(pare, python, model, rows, length, runs="5"):
    env = {**os.environ, "OMP_NUM_THREADS": THREADS, "TOKENIZERS_PARALLELISM": "true", "RAYON_NUM_THREADS": THREADS}
    metric = "perplexity" if rows.endswith(".txt") else "accuracy"
    page = f"results/peers-forward-{pathlib.Path(model).name}.md"
    ours, theirs = [], []
    for run in range(int(runs)):
        theirs.append(answer(python, str(HERE / "torch_forward.py"), model, rows, length, THREADS, env=env))
        ours.append(answer(pare, "evaluate", model, "--eval", rows, "--max-seq-length", length, "--metrics", metric, "--threads", THREADS, "--json"))
        print(f"run {run + 1}: PyTorch {theirs[-1]['evaluate_seconds']:.2f} s, pare {ours[-1]['evaluate_seconds']:.2f} s", flush=True)
    a, b = (statistics.median(run["evaluate_seconds"] for run in runs) for runs in (theirs, ours))
    found = ours[-1]["report"]["result"]["after"]["quality"][metric]["value"]
    if abs(found - theirs[-1]["value"]) > 1e-3 * abs(found):
        sys.exit(f"{metric}: PyTorch finds {theirs[-1]['value']}, pare {found}: they did not do the same")
    said = f"median: PyTorch {a:.2f} s, pare {b:.2f} s; pare takes {b / a:.2f} of PyTorch's time"
    print(said)
    listed = "\n".join(f"| {n + 1} | {x['evaluate_seconds']:.3f} | {y['evaluate_seconds']:.3f} |" for n, (x, y) in enumerate(zip(theirs, ours)))
    pathlib.Path("results").mkdir(exist_ok=True)
    pathlib.Path(page).write_text(f"""# Tokenizing and running a dataset, beside PyTorch

`scripts/peers/forward` writes this page. Model `{pathlib.Path(model).name}`, {theirs[0]['rows']} {'windows of' if metric == 'perplexity' else 'rows cut to'} {length} tokens, F32, {THREADS} threads, {processor()}.
Both sides put the same rows into the same batches (sorted by length, at most 64 rows and 4,096 padded tokens). Loading and imports are not counted.
PyTorch runs under `inference_mode` with `{theirs[0]['attention']}` attention.

| run | PyTorch, seconds | pare, seconds |
|---|---|---|
{listed}

{said[0].upper() + said[1:]}.
""")


main(*sys.argv[1:])
