"""Puts real ids into half of the requests that schemathesis makes up, so that operations are seen to succeed too.

Which half follows from what was made up, so that a run can be repeated.
"""

import json
import os
import zlib

import schemathesis

SEED = json.load(open(os.environ["PARE_SEED"]))


def is_chosen(value):
    return zlib.crc32(repr(value).encode()) % 2 == 0


@schemathesis.hook
def map_path_parameters(context, path_parameters):
    operation = context.operation
    # what is deleted is not there for the others
    if not path_parameters or operation is None or operation.method.upper() == "DELETE" or not is_chosen(path_parameters):
        return path_parameters
    return {name: SEED.get(name, value) for name, value in path_parameters.items()}


@schemathesis.hook
def map_query(context, query):
    if query and "model_id" in query and is_chosen(query):
        query["model_id"] = SEED["model_id"]
    return query


@schemathesis.hook
def before_call(context, case, kwargs):
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
def map_body(context, body):
    operation = context.operation
    if operation is None or not isinstance(body, dict) or not is_chosen(body):
        return body
    if operation.definition.raw.get("operationId") == "createJob":
        kept = {name: body[name] for name in ("priority", "labels", "deadline_seconds") if name in body}
        return {**kept, **SEED["job_request"]}
    return body
