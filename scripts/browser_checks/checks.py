"""Uses the dashboard as a person does, and fails on the first thing that a person would complain of."""
import hashlib
import json
import pathlib
import sys
import time
import urllib.request

from devtools import Browser

program, base, fixture, work = sys.argv[1], sys.argv[2], pathlib.Path(sys.argv[3]).resolve(), pathlib.Path(sys.argv[4])
shots = pathlib.Path(sys.argv[5]) if sys.argv[5] else None
LOOK = (pathlib.Path(__file__).parent / "page.js").read_text()
LOOKS = [("light", 1280), ("dark", 1280), ("light", 390), ("dark", 390)]
ROWS = 200
browser = Browser(program, work)


def say(text):
    print(f"browser: {text}", flush=True)


def api(path, body=None):
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(base + path, data, {"content-type": "application/json"})
    with urllib.request.urlopen(request) as answer:
        return json.load(answer)


def no_errors(where):
    assert not browser.errors, f"{where}: the console shows {browser.errors}"


def path():
    return browser.run("location.pathname")


def check(name, address, expected_errors=()):
    """A page in every look."""
    for scheme, width in LOOKS:
        browser.look(scheme, width)
        browser.go(base + address)
        wrong = browser.run(LOOK)
        if shots:
            browser.shoot(shots / f"{name}-{scheme}-{width}.png")
        assert not wrong, f"{address} in {scheme} at {width} px: " + "\n".join(wrong)
        if any(text in error for error in browser.errors for text in expected_errors):
            browser.errors.clear()
        no_errors(address)
    browser.look("light", 1280)


def upload(kind, name, files, wanted="ready"):
    browser.go(f"{base}/{kind}")
    browser.fill("#name", name)
    browser.choose_files("#files", files)
    browser.click("form[data-upload] button")
    browser.until("the page of the upload", f"location.pathname.startsWith('/{kind}/')")
    id = path().split("/")[-1]
    # nobody reloads it
    browser.until("the check of the upload", f"document.querySelector('.over .state')?.textContent === '{wanted}'")
    no_errors(f"the upload of {name}")
    return id


def finish(body):
    job = api("/v1/jobs", body)["id"]
    end = time.monotonic() + 240
    while api(f"/v1/jobs/{job}")["state"] in ("queued", "running", "cancelling"):
        assert time.monotonic() < end, job
        time.sleep(0.2)
    return job


def empty_pages():
    for name, address in [("empty-home", "/"), ("empty-models", "/models"), ("empty-datasets", "/datasets"),
                          ("empty-jobs", "/jobs"), ("empty-new-job", "/jobs/new")]:
        check(name, address)
    check("not-found", "/nowhere", expected_errors=["404"])
    say("empty pages teach")


def keyboard():
    """Tab reaches everything, and what has the focus shows it."""
    browser.go(f"{base}/jobs/new")
    wanted = browser.run("document.querySelectorAll('a[href], button:not([hidden]), input:not([type=hidden], [type=radio]), select').length")
    reached = set()
    for place in range(wanted + 8):
        browser.press("Tab", 9)
        seen = browser.run("""(() => { const e = document.activeElement; if (e === document.body) return null;
            const s = getComputedStyle(e); return [e.outerHTML.slice(0, 80), s.outlineStyle !== 'none' && parseFloat(s.outlineWidth) > 0]; })()""")
        if seen is None:
            continue
        if place == 0:
            assert "skip" in seen[0], f"the first is {seen[0]}"
        assert seen[1], f"the focus does not show on {seen[0]}"
        reached.add(seen[0])
    assert len(reached) >= 10, reached
    say(f"the keyboard reaches {len(reached)} things, each with a visible focus")


def job_by_form(model, rows):
    """A job from the model's page over its plan to its end, watched and never reloaded."""
    browser.go(f"{base}/models/{model}")
    browser.events.clear()
    browser.click(".head .button.primary")
    browser.loaded()
    assert browser.run("document.querySelector('#model_id').value") == model, "the model is chosen already"
    browser.click("input[name=recipe_name][value=int8]")
    browser.fill("#evaluation_dataset_id", rows)
    browser.fill("#max_seq_length", "48")
    browser.fill("#labels", "made-by:browser")
    browser.events.clear()
    browser.click(".job-form button.primary")
    browser.loaded()
    predicted = browser.run("document.querySelector('.tile .value span').title")
    if shots:
        browser.shoot(shots / "flow-plan.png")
    plan_address = browser.run("location.pathname + location.search")
    browser.events.clear()
    browser.click(".head form button.primary")
    browser.loaded()
    browser.until("the page of the job", "location.pathname.startsWith('/jobs/job_')")
    job = path().split("/")[-1]
    browser.run("""(() => { window.seen = new Set(); const look = () => { const e = document.querySelector('.phases .now');
        if (e) window.seen.add(e.textContent); const t = document.querySelector('.told'); if (t) window.seen.add(t.textContent);
        requestAnimationFrame(look); }; look(); })()""")
    browser.until("live progress", "[...window.seen].some((text) => / of /.test(text))")
    if shots:
        browser.shoot(shots / "flow-live.png")
    browser.until("the job's end", "document.querySelector('.over .state')?.textContent === 'succeeded'")
    seen = browser.run("[...window.seen]")
    no_errors("the job's page")
    told = streamed(job)
    say(f"a job was watched: {len(seen)} changes, without a reload; its stream told {', '.join(told)}")
    size = next(file for file in api(f"/v1/jobs/{job}/artifacts")["data"] if file["path"].endswith(".safetensors"))["size_bytes"]
    assert predicted == f"{size:,} bytes", f"the plan said {predicted}, it is {size}"
    return job, plan_address


def streamed(job):
    """What the job's event stream said, so that live progress is not the work of looking again alone."""
    heard = [(name, event) for name, event in browser.events if name.startswith("Network.")]
    streams = {event["requestId"]: event["response"] for name, event in heard if name == "Network.responseReceived"
               and event["response"]["url"].startswith(f"{base}/v1/jobs/{job}/events/stream")}
    assert streams, "no stream was opened"
    for response in streams.values():
        told = response["status"], response["mimeType"]
        assert response["status"] == 204 or told == (200, "text/event-stream"), told
    kinds = [event["eventName"] for name, event in heard
             if name == "Network.eventSourceMessageReceived" and event["requestId"] in streams]
    for wanted in ("progress", "phase", "state"):
        assert wanted in kinds, f"the stream said no {wanted}: {kinds}"
    return [f"{kinds.count(kind)} {kind}" for kind in sorted(set(kinds))]


def report_and_download(job):
    browser.go(f"{base}/jobs/{job}")
    browser.events.clear()
    browser.click(".head .button.primary")
    browser.loaded()
    assert path() == f"/v1/jobs/{job}/report.html"
    assert browser.run("document.querySelectorAll('h2').length") >= 5
    no_errors("the report")
    folder = work / "downloads"
    folder.mkdir()
    browser.call("Browser.setDownloadBehavior", behavior="allow", downloadPath=str(folder))
    browser.go(f"{base}/jobs/{job}")
    row = "[...document.querySelectorAll('section tbody tr')].find((one) => one.textContent.includes('model.safetensors'))"
    browser.run(f"{row}.querySelector('a[download]').setAttribute('data-wanted', '')")
    hash = browser.run(f"{row}.querySelector('.copyable code').title")
    browser.click("[data-wanted]")
    file = folder / "model.safetensors"
    end = time.monotonic() + 60
    while not file.exists() or list(folder.glob("*.crdownload")):
        assert time.monotonic() < end, "the download did not come"
        time.sleep(0.1)
    assert hashlib.sha256(file.read_bytes()).hexdigest() == hash, "the download is not what its hash says"
    no_errors("the download")
    say("the report opens, and the download has the hash that stands beside it")


def job_of_kind(kind, fields):
    """A job that compresses nothing, from its form to its end; gives its id and what its report says."""
    browser.go(f"{base}/jobs/new")
    browser.events.clear()
    browser.click(f".kinds a[href*='kind={kind}']")
    browser.loaded()
    for name, value in fields.items():
        browser.fill(f"#{name}", value)
    browser.events.clear()
    browser.click(".job-form button.primary")
    browser.loaded()
    browser.until("the job's end", "document.querySelector('.over .state')?.textContent === 'succeeded'")
    job = path().split("/")[-1]
    return job, api(f"/v1/jobs/{job}/report")["result"]


def measure_by_form(model, rows):
    """A model is measured as it is, beside itself."""
    fields = {"model_id": model, "reference_model_id": model, "evaluation_dataset_id": rows, "max_seq_length": "48"}
    job, result = job_of_kind("evaluate", fields)
    assert result["after"]["fidelity"]["top1_agreement"]["value"] == 1, "it is near itself"
    say("a model was measured by form")
    return job


def tried_by_form(model, rows):
    """Every site is tried alone, and the heat map of what that cost is a page."""
    fields = {"model_id": model, "calibration_dataset_id": rows, "bits": "4, 8", "max_seq_length": "48"}
    job, result = job_of_kind("sensitivity", fields)
    sites = result["sensitivity"]
    assert len(sites) > 10 and all([level["bits"] for level in site["levels"]] == [4, 8] for site in sites), sites
    say("every site of a model was tried by form")
    return job


def without_script(model):
    """A job is planned, started and cancelled by plain forms."""
    browser.call("Emulation.setScriptExecutionDisabled", value=True)
    browser.go(f"{base}/jobs/new?model_id={model}&recipe_name=svd-50&step=plan")
    browser.events.clear()
    browser.click(".head form button.primary")
    browser.loaded()
    assert path().startswith("/jobs/job_"), path()
    job = path().split("/")[-1]
    if api(f"/v1/jobs/{job}")["state"] in ("queued", "running"):
        browser.events.clear()
        browser.click(".head .button.danger")
        browser.loaded()
    browser.call("Emulation.setScriptExecutionDisabled", value=False)
    browser.errors.clear()  # the page says that scripts are off, and a cancel that came too late is a 409
    say("forms work without a script")
    return job


def main():
    empty_pages()
    rows_file = work / "test.jsonl"
    lines = (fixture / "data/test.jsonl").read_text().splitlines(True)
    rows_file.write_text("".join(lines[:ROWS]))
    many_file = work / "many.jsonl"
    many_file.write_text("".join(lines) * 24)  # a job on these takes seconds on any machine, and can be watched
    files = [fixture / name for name in ("config.json", "tokenizer.json", "model.safetensors")]
    model = upload("models", "tickets", files)
    rows = upload("datasets", "tickets test", [rows_file])
    many = upload("datasets", "tickets, all", [many_file])
    say("a model and rows were uploaded by form")
    browser.go(f"{base}/models")
    bad = work / "model.bin"
    bad.write_bytes(b"\x80\x02}q\x00.")
    browser.fill("#name", "pickled")
    browser.choose_files("#files", [bad])
    browser.click("form[data-upload] button")
    browser.until("the refusal", "document.querySelector('[role=alert]')?.textContent.includes('/files/model.bin')")
    if shots:
        browser.shoot(shots / "flow-refused.png")
    browser.errors[:] = [error for error in browser.errors if "415" not in error]
    keyboard()
    job, plan_address = job_by_form(model, many)
    report_and_download(job)
    stopped = without_script(model)
    measured = {"model_id": model, "evaluation_dataset_id": rows, "evaluate": {"max_seq_length": 48}}
    finish({**measured, "recipe_name": "int4"})
    finish({**measured, "recipe_name": "svd-50"})
    for bits, group in ((8, 64), (4, 32), (2, 32)):
        stage = {"method": "quantize", "params": {"bits": bits, "group_size": group, "symmetric": False, "observer": "mse"}}
        recipe = {"version": 1, "stages": [stage]}
        api("/v1/recipes", {"name": f"int{bits}-g{group}", "recipe": recipe})
        finish({**measured, "recipe_name": f"int{bits}-g{group}"})
    three = {"version": 1, "stages": [{"method": "fold"},
                                      {"method": "factorize", "targets": ["block.*.mlp.*"], "params": {"rank_ratio": 0.5}},
                                      {"method": "quantize", "params": {"bits": 4}}]}
    staged = finish({**measured, "recipe": three})
    as_it_is = measure_by_form(model, rows)
    tried = tried_by_form(model, rows)
    alone = finish({"model_id": model, "recipe_name": "int8", "labels": {"team": "search", "run": "7"}})
    cut = work / "cut" / "model.safetensors"
    cut.parent.mkdir()
    cut.write_bytes((fixture / "model.safetensors").read_bytes()[:50_000])
    invalid = upload("models", "cut short", [fixture / "config.json", cut], wanted="invalid")
    say("results were made for the frontier")
    for name, address in [
        ("home", "/"), ("models", "/models"), ("model", f"/models/{model}"), ("model-invalid", f"/models/{invalid}"),
        ("model-search", f"/models/{model}?q=attention"), ("datasets", "/datasets"), ("dataset", f"/datasets/{rows}"),
        ("jobs", "/jobs"), ("jobs-filtered", f"/jobs?state=failed&kind=compress&model_id={model}"),
        ("report", f"/v1/jobs/{staged}/report.html"), ("report-measured", f"/v1/jobs/{as_it_is}/report.html"), ("report-tried", f"/v1/jobs/{tried}/report.html"),
        ("report-unmeasured", f"/v1/jobs/{alone}/report.html"), ("job-measured", f"/jobs/{as_it_is}"),
        ("measure", f"/jobs/new?kind=evaluate&model_id={model}"), ("try", f"/jobs/new?kind=sensitivity&model_id={model}"),
        ("new-job", f"/jobs/new?model_id={model}"), ("plan", plan_address), ("job", f"/jobs/{job}"),
        ("job-unmeasured", f"/jobs/{alone}"), ("job-stopped", f"/jobs/{stopped}"), ("recipes", "/recipes"), ("workers", "/workers"),
    ]:
        check(name, address)
    refused = f"/jobs/new?step=plan&model_id={model}&recipe_name=int8&max_seq_length=4096&deadline_hours=never"
    check("new-job-refused", refused, expected_errors=["422"])
    say("every page fits, in light and dark, at 1280 and 390 px")


try:
    main()
finally:
    browser.close()
