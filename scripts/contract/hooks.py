"""Puts real ids into half of the requests that schemathesis makes up, so that operations are seen to succeed too.

Which half follows from what was made up, so that a run can be repeated.
"""

import json
import os
import zlib

import schemathesis

# What the server takes; more than that it refuses
MOST_BYTES = 64 << 30
SEED = json.load(open(os.environ["PARE_SEED"]))


def is_chosen(value):
    return zlib.crc32(repr(value).encode()) % 2 == 0


def takes_parts(operation):
    return operation.definition.raw.get("operationId") in ("uploadPart", "uploadContent")


@schemathesis.hook
def map_path_parameters(context, path_parameters):
    operation = context.operation
    # what is deleted is not there for the others
    if not path_parameters or operation is None or operation.method.upper() == "DELETE" or not is_chosen(path_parameters):
        return path_parameters
    known = {**SEED, **SEED["takes_parts"]} if takes_parts(operation) else SEED
    return {name: known.get(name, value) for name, value in path_parameters.items()}


@schemathesis.hook
def map_query(context, query):
    if query and "model_id" in query and is_chosen(query):
        query["model_id"] = SEED["model_id"]
    if query and "jobs" in query and is_chosen(query):
        query["jobs"] = SEED["jobs"] if isinstance(query["jobs"], list) else ",".join(SEED["jobs"])
    return query


@schemathesis.hook
def before_call(context, case, kwargs):
    # A stream ends when its job does, and nobody works while this runs: of the jobs that are made up none ever ends, and
    # only the seed's is followed. Ids that are none stay what they are.
    follows = context.operation.definition.raw.get("operationId") == "streamJobEvents"
    if follows and str((case.path_parameters or {}).get("job_id", "")).startswith("job_"):
        case.path_parameters["job_id"] = SEED["job_id"]
    # nobody works while this runs: there is nothing to wait for
    for name, value in list((case.headers or {}).items()):
        if name.lower() == "prefer" and "wait=" in str(value):
            case.headers[name] = "wait=1"


# all names of YAML: the one that is known first is asked
@schemathesis.deserializer("text/yaml", "text/x-yaml", "text/vnd.yaml", "application/x-yaml", "application/yaml")
def yaml_as_text(context, response):
    """The document describes the text, not what it says."""
    return response.text


@schemathesis.hook
def before_load_schema(context, raw_schema):
    """The document describes a stream as the text that it is; here each of its events is held to what that text says."""
    kinds = [{"$ref": f"#/components/schemas/{name}"} for name in ("JobEvent", "JobProgress")]
    raw_schema["components"]["schemas"]["EventStream"] = {
        "type": "object",
        "required": ["event", "data"],
        "properties": {
            "id": {"type": "string", "pattern": "^[1-9][0-9]*$"},
            "event": {"type": "string"},
            "data": {"type": "string", "contentMediaType": "application/json", "contentSchema": {"anyOf": kinds}},
        },
    }


def real(name, body):
    """The body with ids of what is there."""
    if name == "createJob":
        kept = {name: body[name] for name in ("priority", "labels", "deadline_seconds") if name in body}
        return {**kept, **SEED["job_request"]}
    if name in ("createModel", "createDataset"):
        kept = {name: body[name] for name in ("name",) if name in body}
        return {**kept, "files": [{"path": "model.safetensors", "upload_id": SEED["upload_id"]}]}
    return body


@schemathesis.hook
def map_body(context, body):
    operation = context.operation
    if operation is None:
        return body
    if takes_parts(operation):
        return SEED["content"].encode() if is_chosen(body) else body
    if not isinstance(body, dict):
        return body
    name = operation.definition.raw.get("operationId")
    size_bytes = body.get("size_bytes")
    if name == "createUpload" and isinstance(size_bytes, int) and 0 <= size_bytes <= MOST_BYTES:
        # its room is taken from this machine's disk; that a full one is answered by 507 has a test of its own
        return {**body, "size_bytes": size_bytes % 65_536}
    return real(name, body) if is_chosen(body) else body
