"""Runs the two in turn and writes results/peers-gptq-MODEL.md. Called by scripts/peers/gptq."""
import json
import os
import pathlib
import platform
import statistics
import subprocess
import sys
import tempfile
import threading
import time

HERE = pathlib.Path(__file__).resolve().parent
THREADS = "2"


def resident(pid):
    """What the process holds, files that it mapped included, in bytes."""
    try:
        with open(f"/proc/{pid}/status") as status:
            return next((int(line.split()[1]) * 1024 for line in status if line.startswith("VmHWM")), 0)
    except OSError:
        return 0


def timed(command, env):
    """Standard output, wall seconds and the most memory of a process."""
    started, peak, ended = time.monotonic(), 0, threading.Event()
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=env)

    def watch():
        nonlocal peak
        while not ended.wait(0.02):
            peak = max(peak, resident(process.pid))

    watcher = threading.Thread(target=watch)
    watcher.start()
    out, err = process.communicate()
    ended.set()
    watcher.join()
    if process.returncode:
        sys.exit(f"{' '.join(command)}\n{out[-2000:]}{err[-3000:]}")
    return out, time.monotonic() - started, peak


def recipe(model, samples, length):
    is_causal = "ForCausalLM" in json.loads((pathlib.Path(model) / "config.json").read_text())["architectures"][0]
    targets = ["block.**"] if is_causal else ["block.**", "pooler"]
    params = {"bits": 4, "group_size": 64, "symmetric": False}
    return {
        "version": 1,
        "calibration": {"num_calibration_samples": int(samples), "max_seq_length": int(length)},
        "stages": [{"method": "gptq", "targets": targets, "params": params}],
        "evaluate": {"metrics": []},
    }


def divergence(pare, result, model, evaluation, length, env):
    metric = "perplexity" if evaluation.endswith(".txt") else "accuracy"
    command = [pare, "evaluate", result, "--reference", model, "--eval", evaluation, "--max-seq-length", length, "--metrics", f"{metric},fidelity", "--threads", THREADS, "--json"]
    out = subprocess.run(command, capture_output=True, text=True, env=env, check=True).stdout
    answer = json.loads(out[out.index("{"):])
    after = answer.get("report", answer)["result"]["after"]
    return after["fidelity"]["kl"]["mean"], after["quality"][metric]["value"]


def main(pare, python, model, calibration, evaluation, samples, length, runs="3"):
    env = {**os.environ, "OMP_NUM_THREADS": THREADS, "RAYON_NUM_THREADS": THREADS, "TOKENIZERS_PARALLELISM": "true", "HF_HUB_OFFLINE": "1"}
    name = pathlib.Path(model).name
    theirs, ours = [], []
    with tempfile.TemporaryDirectory() as folder:
        asked = pathlib.Path(folder) / "recipe.json"
        asked.write_text(json.dumps(recipe(model, samples, length)))
        for run in range(int(runs)):
            out = f"{folder}/theirs-{run}"
            said, wall, peak = timed([python, str(HERE / "llmcompressor_gptq.py"), model, calibration, samples, length, THREADS, out], env)
            theirs.append({**json.loads(said[said.rindex('{"compress'):]), "wall": wall, "peak": peak, "out": out})
            out = f"{folder}/ours-{run}"
            said, wall, peak = timed([pare, "compress", model, "--recipe", str(asked), "--calibration", calibration, "--out", out, "--threads", THREADS, "--json"], env)
            report = json.loads(said[said.index("{"):])
            cost = report.get("report", report)["measurements"]["compression"]
            ours.append({"compress_seconds": cost["wall_seconds"], "wall": wall, "peak": peak, "out": out})
            print(f"run {run + 1}: llm-compressor {theirs[-1]['compress_seconds']:.1f} s, pare {ours[-1]['compress_seconds']:.1f} s", flush=True)
        quality = [divergence(pare, runs[-1]["out"], model, evaluation, length, env) for runs in (theirs, ours)]
        sizes = [sum(f.stat().st_size for f in pathlib.Path(runs[-1]["out"]).glob("*.safetensors")) for runs in (theirs, ours)]
    write(name, (theirs, ours), quality, sizes, (samples, length, runs))


def write(name, sides, quality, sizes, asked):
    middle = lambda runs, field: statistics.median(run[field] for run in runs)
    rows = []
    for label, runs, (kl, value), size in zip(("llm-compressor", "pare"), sides, quality, sizes):
        rows.append(f"| {label} | {middle(runs, 'compress_seconds'):.1f} | {middle(runs, 'wall'):.1f} | {max(run['peak'] for run in runs) / 1e6:.0f} | {kl:.3e} | {value:.4f} | {size / 1e6:.2f} |")
    ratio = middle(sides[0], "compress_seconds") / middle(sides[1], "compress_seconds")
    whole = middle(sides[0], "wall") / middle(sides[1], "wall")
    said = f"pare compresses {ratio:.1f} times faster ({whole:.1f} times as a whole process), at {quality[1][0] / quality[0][0]:.2f} of the divergence"
    print("\n".join(rows), said, sep="\n")
    cpu = next((line.split(":", 1)[1].strip() for line in open("/proc/cpuinfo") if line.startswith("model name")), platform.processor())
    pathlib.Path(f"results/peers-gptq-{name}.md").write_text(f"""# GPTQ beside llm-compressor: {name}

`scripts/peers/gptq` writes this page. The blocks' linear maps (of an encoder the pooler too) to 4 bits, groups of 64 columns with zero points, {asked[0]} calibration
rows of at most {asked[1]} tokens, {THREADS} threads, runs of each in turn: {asked[2]}, {cpu}. llm-compressor 0.14.0.1 with `actorder: static`, `observer: mse`,
`dampening_frac: 0.01`, sequential by layer. Compression alone leaves out imports and loading on its side, and nothing on ours. Memory is
the most that was resident (VmHWM). Tables and head stay as they were; llm-compressor writes them as f32, so sizes do not compare. Both results
are measured by pare on the same rows. Pare sums up the inputs' products on all of them, and how far the original's inputs lie apart on some: 32
tokens for each input of the widest map.

| | compression, seconds | whole process, seconds | most memory, MB | mean KL | quality | file, MB |
|---|---|---|---|---|---|---|
{chr(10).join(rows)}

{said[0].upper() + said[1:]}.
""")


main(*sys.argv[1:])
