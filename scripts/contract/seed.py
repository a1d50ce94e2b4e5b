"""Uploads a model and a dataset, runs a job, and prints the ids of all that there is then.

usage: seed.py BASE KEY MODEL
"""

import json
import pathlib
import sys

import requests

BASE, KEY, MODEL = sys.argv[1], sys.argv[2], pathlib.Path(sys.argv[3])
CONTENT = b"eight by"
SESSION = requests.Session()
SESSION.headers["Authorization"] = f"Bearer {KEY}"


def ask(method, path, **more):
    answer = SESSION.request(method, BASE + path, timeout=120, **more)
    if not answer.ok:
        sys.exit(f"seed: {method} {path}: {answer.status_code} {answer.text}")
    return answer.json()


def upload(path, name, files):
    parts = [("name", (None, name))] + [("files", (file.name, file.read_bytes())) for file in files]
    return ask("POST", path, files=parts)["id"]


def wait(path):
    """Until the model, dataset or job has ended one way or another."""
    for _ in range(10):
        shown = ask("GET", path, headers={"Prefer": "wait=60"})
        if shown["state"] in ("ready", "succeeded"):
            return
        if shown["state"] not in ("validating", "queued", "running"):
            break
    sys.exit(f"seed: {path}: {shown}")


model_files = [MODEL / name for name in ("config.json", "tokenizer.json", "model.safetensors")]
model = upload("/v1/models/files", "seed", model_files)
dataset = upload("/v1/datasets/files", "seed", [MODEL / "data" / "test.jsonl"])
wait(f"/v1/models/{model}")
wait(f"/v1/datasets/{dataset}")
recipe = {"version": 1, "stages": [{"method": "quantize", "params": {"bits": 8, "group_size": -1}}]}
ask("POST", "/v1/recipes", json={"name": "seed", "recipe": recipe})
request = {"model_id": model, "recipe_name": "seed", "evaluation_dataset_id": dataset, "labels": {"seed": "yes"}}
job, other = (ask("POST", "/v1/jobs", json=request)["id"] for _ in range(2))
wait(f"/v1/jobs/{job}")
wait(f"/v1/jobs/{other}")


def start_upload():
    return ask("POST", "/v1/uploads", json={"filename": "seed", "size_bytes": len(CONTENT)})["id"]


# one that takes parts, and one that is a file
parts, upload_id = start_upload(), start_upload()
ask("PUT", f"/v1/uploads/{upload_id}/content", data=CONTENT, headers={"Content-Type": "application/octet-stream"})
ask("POST", f"/v1/uploads/{upload_id}/complete")
artifact = ask("GET", f"/v1/jobs/{job}/artifacts")["data"][0]["id"]
key = ask("POST", "/v1/api-keys", json={"name": "seed", "scopes": ["read"]})["id"]
json.dump(
    {
        "model_id": model,
        "dataset_id": dataset,
        "job_id": job,
        "jobs": [job, other],
        "artifact_id": artifact,
        "upload_id": upload_id,
        "takes_parts": {"upload_id": parts, "number": 0},
        "content": CONTENT.decode(),
        "key_id": key,
        "name": "seed",
        "job_request": request,
    },
    sys.stdout,
)
