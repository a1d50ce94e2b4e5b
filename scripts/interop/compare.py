"""Runs each recipe, each reader, and writes results/interop.md. Called by scripts/interop/run."""
import json
import os
import pathlib
import subprocess
import sys
import tempfile

import numpy
from safetensors.numpy import load_file

HERE = pathlib.Path(__file__).resolve().parent
ROWS = 512
TOLERANCE = 1e-3

# (environment, compressed-tensors from): every pair of the two versions of each.
READERS = {
    "transformers 5.23.0, compressed-tensors 0.20.0": ("interop-5", "interop-5"),
    "transformers 5.23.0, compressed-tensors 0.17.1": ("interop-5", "interop-4"),
    "transformers 4.57.6, compressed-tensors 0.20.0": ("interop-4", "interop-5"),
    "transformers 4.57.6, compressed-tensors 0.17.1": ("interop-4", "interop-4"),
}
NEW, NEW_OLD, OLD_NEW, OLD = READERS


def quantize(bits, group_size, symmetric, **where):
    params = {"bits": bits, "group_size": group_size, "symmetric": symmetric, "observer": "mse"}
    return {"method": "quantize", **where, "params": params}


def recipe(*stages):
    return {"version": 1, "stages": list(stages)}


EIGHT = ["embedding.*", "head"]
# name: (recipe, readers that must agree)
CASES = {
    "int8 (preset)": ("int8", [NEW, NEW_OLD, OLD_NEW, OLD]),
    "int4 symmetric linears, int8 embeddings": (recipe(quantize(8, -1, True, targets=EIGHT), quantize(4, 64, True, ignore=EIGHT)), [NEW, NEW_OLD, OLD_NEW, OLD]),
    "int4 linears, int8 embeddings": (recipe(quantize(8, -1, True, targets=EIGHT), quantize(4, 64, False, ignore=EIGHT)), [NEW_OLD, OLD]),
    "int4 (preset: 4-bit embeddings)": ("int4", [OLD]),
}


def run(*command, **more):
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True, **more)
    if done.returncode:
        sys.exit(f"{' '.join(map(str, command))}\n{done.stdout[-2000:]}{done.stderr[-2000:]}")
    return done.stdout


def packages(venvs, name):
    return next((venvs / name).glob("lib/python3.*/site-packages"))


def reader_path(venvs, scratch, source):
    """A folder with nothing but one environment's compressed_tensors, to put first on Python's path."""
    folder = scratch / f"compressed-tensors-of-{source}"
    if not folder.exists():
        folder.mkdir()
        for found in packages(venvs, source).glob("compressed_tensors*"):
            (folder / found.name).symlink_to(found.resolve())
    return folder


def read(venvs, scratch, folder, expected, reader):
    environment, source = READERS[reader]
    out = scratch / "theirs.safetensors"
    out.unlink(missing_ok=True)
    env = {**os.environ, "PYTHONPATH": str(reader_path(venvs, scratch, source))}
    answer = json.loads(run(venvs / environment / "bin/python", HERE / "read_with_transformers.py", folder, expected, "--rows", ROWS, "--out", out,
                            env=env).splitlines()[-1])
    named = f"transformers {answer['transformers']}, compressed-tensors {answer['compressed_tensors']}"
    if named != reader:
        sys.exit(f"this reader should be {reader}, and is {named}")
    return answer, (load_file(out)["logits"] if answer["loaded"] else None)


def first_lines(path, count, to):
    with open(path) as rows:
        to.write_text("".join(line for line, _ in zip(rows, range(count))))
    return to


def case(pare, venvs, scratch, model, expected, rows, length, written):
    recipe_path = scratch / "recipe.json"
    if isinstance(written, dict):
        recipe_path.write_text(json.dumps(written))
    out = scratch / "small"
    run("rm", "-rf", out)
    run(pare, "compress", model, "--recipe", recipe_path if isinstance(written, dict) else written, "--out", out, "--json")
    ours_path = scratch / "ours.safetensors"
    run(pare, "evaluate", out, "--eval", rows, "--max-seq-length", length, "--metrics", "accuracy", "--logits", ours_path, "--json")
    ours = load_file(ours_path)["logits"]
    size = sum(file.stat().st_size for file in out.glob("*.safetensors"))
    return ours, size, {reader: read(venvs, scratch, out, expected, reader) for reader in READERS}


def main():
    pare, venvs, model, rows, length = sys.argv[1], *map(pathlib.Path, sys.argv[2:5]), sys.argv[5]
    expected = next(path for name in ("expected_logits.safetensors", "expected.safetensors") if (path := model / name).exists())
    count = min(ROWS, load_file(expected)["input_ids"].shape[0])
    lines, failed = [], []
    with tempfile.TemporaryDirectory() as temporary:
        scratch = pathlib.Path(temporary)
        few = first_lines(rows, count, scratch / "rows.jsonl")
        for name, (written, must) in CASES.items():
            ours, size, readers = case(pare, venvs, scratch, model, expected, few, length, written)
            for reader, (answer, theirs) in readers.items():
                worst = float(numpy.abs(ours - theirs).max()) if theirs is not None else None
                good = worst is not None and worst <= TOLERANCE
                said = f"{worst:.1e}" if worst is not None else "does not load: " + answer["error"]
                lines.append(f"| {name} | {size} | {reader} | {said} |")
                print(lines[-1], flush=True)
                if reader in must and not good:
                    failed.append(f"{name}, {reader}: {said}")
    write(model, count, lines, pathlib.Path("results/interop.md"))
    sys.exit("\n".join(["what must agree does not:", *failed]) if failed else 0)


def write(model, count, lines, path):
    import torch
    path.parent.mkdir(exist_ok=True)
    path.write_text(f"""# What stock transformers makes of our files

`scripts/interop/run` writes this page: the model `{model.name}`, {count} rows, F32 on a CPU, torch {torch.__version__}. A folder that `pare compress` wrote is loaded
with `AutoModelForSequenceClassification.from_pretrained` and given token ids that the original's Python tokenizer made; the last column is the largest
absolute difference between its logits and those of `pare evaluate`, which tokenized the text itself.

| recipe | weight bytes | reader | largest difference of a logit |
|---|---|---|---|
""" + "\n".join(lines) + """

compressed-tensors 0.18 to 0.20 cannot load packed zero points: it expects their unpacked shape. So asymmetric 4-bit codes need a version before
0.18, and symmetric ones load everywhere. A 4-bit embedding loads in transformers 4 only.
""")


if __name__ == "__main__":
    main()
