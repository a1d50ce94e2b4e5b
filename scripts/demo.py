"""Uploads a model and its test rows, runs the presets, shows progress and a table. Standard library only."""
import json
import pathlib
import subprocess
import sys
import time

base, folder = sys.argv[1], pathlib.Path(sys.argv[2])


def curl(*args):
    done = subprocess.run(["curl", "-sS", "--fail-with-body", *args], capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"curl {' '.join(args)}\n{done.stderr}{done.stdout}")
    return json.loads(done.stdout)


def upload(kind, name, files):
    parts = [part for file in files for part in ("-F", f"files=@{file}")]
    print(f"curl -F name={name} {' '.join(parts)} {base}/v1/{kind}/files")
    return curl("-F", f"name={name}", *parts, f"{base}/v1/{kind}/files")["id"]


def run(model, rows, preset):
    body = json.dumps({"model_id": model, "recipe_name": preset, "evaluation_dataset_id": rows})
    print(f"curl --json '{body}' {base}/v1/jobs")
    job = curl("--json", body, f"{base}/v1/jobs")
    while job["state"] not in ("succeeded", "failed", "cancelled", "expired"):
        progress = job.get("progress") or {}
        line = f"  {preset}: {job['state']} {job.get('phase') or ''} {progress.get('done', '')}/{progress.get('total', '')}"
        print(f"{line:60}", end="\r", flush=True)
        time.sleep(0.2)
        job = curl(f"{base}/v1/jobs/{job['id']}")
    print(f"  {preset}: {job['state']:50}")
    if job["state"] != "succeeded":
        sys.exit(json.dumps(job.get("error"), indent=2))
    return job["id"], curl(f"{base}/v1/jobs/{job['id']}/report")


def row(name, result, before):
    after, fidelity = result["after"], result["after"]["fidelity"]
    accuracy, change = after["quality"]["accuracy"], after["quality_change"]["accuracy"]
    return [
        name,
        f"{after['size_bytes'] / 1e6:.2f} MB",
        f"{after['ratio_to_stored']:.2f}x",
        f"{accuracy['value']:.2%}",
        f"{change['value'] * 100:+.2f} [{change['low'] * 100:+.2f}, {change['high'] * 100:+.2f}]",
        f"{fidelity['top1_agreement']['value']:.2%}",
        f"{fidelity['kl']['mean']:.1e}",
    ]


model_files = [folder / name for name in ("config.json", "tokenizer.json", "model.safetensors")]
model = upload("models", folder.name, model_files)
rows = upload("datasets", "test", [folder / "data" / "test.jsonl"])
table = [["", "size", "ratio", "accuracy", "change, 95% interval", "same answer", "mean KL"]]
for preset in ("int8", "int4", "svd-50"):
    job, report = run(model, rows, preset)
    before = report["result"]["before"]
    if len(table) == 1:
        accuracy = before["quality"]["accuracy"]["value"]
        table.append(["original", f"{before['size_bytes'] / 1e6:.2f} MB", "1.00x", f"{accuracy:.2%}", "", "", ""])
    table.append(row(preset, report["result"], before))
widths = [max(len(line[i]) for line in table) for i in range(len(table[0]))]
print()
for line in table:
    print("  ".join(cell.rjust(width) if i else cell.ljust(width) for i, (cell, width) in enumerate(zip(line, widths))))
print(f"\nthe last report: {base}/v1/jobs/{job}/report.html")
