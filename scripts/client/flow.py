"""Upload, job, report, download, all through the generated client. usage: flow.py BASE MODEL_FOLDER"""
import hashlib
import pathlib
import sys

import httpx
from pare_client import Client
from pare_client.api.artifacts import download_artifact, get_job_report, list_job_artifacts
from pare_client.api.datasets import get_dataset, upload_dataset
from pare_client.api.jobs import create_job, get_job
from pare_client.api.models import get_model, upload_model
from pare_client.models import Evaluate, FilesUpload, JobRequest, JobState, Problem, UploadState
from pare_client.types import File

PATIENCE_TRIES = 20
WAIT = "wait=30"


def answer(got):
    """What a call gave; a problem ends the program."""
    if isinstance(got, Problem) or got is None:
        sys.exit(f"the server refused: {got.to_dict() if got else 'no body'}")
    return got


def files(folder, names):
    return [File(payload=(folder / name).open("rb"), file_name=pathlib.Path(name).name) for name in names]


def settled(get, id, client):
    for _ in range(PATIENCE_TRIES):
        upload = answer(get.sync(id, client=client, prefer=WAIT))
        if upload.state != UploadState.VALIDATING:
            break
    if upload.state != UploadState.READY:
        sys.exit(f"{id} is {upload.state}: {upload.to_dict()}")
    return upload


def finished(id, client):
    for _ in range(PATIENCE_TRIES):
        job = answer(get_job.sync(id, client=client, prefer=WAIT))
        if job.state in (JobState.SUCCEEDED, JobState.FAILED, JobState.CANCELLED, JobState.EXPIRED):
            break
    if job.state != JobState.SUCCEEDED:
        sys.exit(f"{id} is {job.state}: {job.to_dict()}")
    return job


def main(base, folder):
    client = Client(base_url=base, timeout=httpx.Timeout(60))
    body = FilesUpload(name=folder.name, files=files(folder, ["config.json", "tokenizer.json", "model.safetensors"]))
    model = settled(get_model, answer(upload_model.sync(client=client, body=body)).id, client)
    body = FilesUpload(name="test", files=files(folder, ["data/test.jsonl"]))
    rows = settled(get_dataset, answer(upload_dataset.sync(client=client, body=body)).id, client)
    request = JobRequest(model_id=model.id, recipe_name="int8", evaluation_dataset_id=rows.id, evaluate=Evaluate(max_seq_length=64))
    job = finished(answer(create_job.sync(client=client, body=request)).id, client)

    result = answer(get_job_report.sync(job.id, client=client)).to_dict()["result"]
    before, after = result["before"], result["after"]
    if not after["size_bytes"] < before["size_bytes"]:
        sys.exit(f"int8 made nothing smaller: {before['size_bytes']} -> {after['size_bytes']} bytes")

    artifacts = answer(list_job_artifacts.sync(job.id, client=client)).data
    weights_bytes = 0
    for artifact in artifacts:
        content = answer(download_artifact.sync(artifact.id, client=client)).payload.read()
        if hashlib.sha256(content).hexdigest() != artifact.sha256 or len(content) != artifact.size_bytes:
            sys.exit(f"{artifact.path}: what was downloaded is not what was promised")
        weights_bytes += len(content) if artifact.path.endswith(".safetensors") else 0
    if weights_bytes != after["size_bytes"]:
        sys.exit(f"the weights have {weights_bytes} bytes, and the report says {after['size_bytes']}")
    print(f"client: {before['size_bytes']} -> {after['size_bytes']} bytes, accuracy {before['quality']['accuracy']['value']:.3f} -> "
          f"{after['quality']['accuracy']['value']:.3f}, {len(artifacts)} files downloaded, every SHA-256 right")


main(sys.argv[1], pathlib.Path(sys.argv[2]))
