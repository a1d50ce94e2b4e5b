//! The dashboard without a browser: every page's policy and escaping, and its forms as plain forms.
//! `scripts/browser` has the rest.

mod tried;

use http::Method;
use pare::db;
use pare::db::jobs::NewJobFile;
use pare::engine::data::{DatasetSummary, LabelCount};
use pare::engine::model::{Dtype, ModelHeader, TensorInfo};
use pare::id::{JobId, ModelId};
use serde_json::{Value, json};

use crate::support::app::{Answer, App, Form, bare_header};
use crate::support::engine::own;

const HOSTILE: &str = "<img src=x onerror=alert(1)>\"'&";
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; \
                      connect-src 'self'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'";
/// A page is smaller than this, whatever it shows.
const PAGE_BYTES: usize = 100_000;

async fn page(app: &App, path: &str) -> Answer {
    app.fetch(Method::GET, path, &[("accept", "text/html")], Vec::new()).await
}

async fn post(app: &App, path: &str, fields: &str) -> Answer {
    let headers = [("content-type", "application/x-www-form-urlencoded"), ("accept", "text/html")];
    app.fetch(Method::POST, path, &headers, fields.as_bytes().to_vec()).await
}

async fn upload(app: &App, path: &str, form: Form) -> Answer {
    let headers = [("content-type", &*Form::media_type()), ("accept", "text/html")];
    app.fetch(Method::POST, path, &headers, form.finish()).await
}

fn text(answer: &Answer) -> String {
    String::from_utf8(answer.body.to_vec()).unwrap()
}

/// Every tag of a page as it stands there.
fn tags(html: &str) -> impl Iterator<Item = &str> {
    html.split('<').skip(1).map(|rest| rest.split('>').next().unwrap())
}

/// Fails where a page has not the policy, or anything that the policy forbids.
fn check_page(path: &str, answer: &Answer) -> String {
    assert_eq!(answer.header("content-security-policy"), POLICY, "{path}");
    assert_eq!(answer.header("content-type"), "text/html; charset=utf-8", "{path}");
    assert_eq!(answer.header("referrer-policy"), "same-origin", "{path}: forms would have no Origin");
    assert_eq!(answer.header("x-content-type-options"), "nosniff", "{path}");
    assert!(answer.body.len() < PAGE_BYTES, "{path} has {} bytes", answer.body.len());
    let html = text(answer);
    assert!(html.starts_with("<!doctype html>"), "{path}");
    for tag in tags(&html) {
        let name = tag.split([' ', '\n']).next().unwrap();
        let attributes = tag.split('"').step_by(2).collect::<Vec<_>>().join(" ");
        let is_inline = |attribute: &str| attribute.starts_with("on") || attribute == "style=";
        assert!(!attributes.split_whitespace().any(is_inline), "{path}: <{tag}>");
        assert_ne!(name, "style", "{path}");
        assert!(name != "script" || tag.contains(" src=\"/assets/"), "{path}: <{tag}>");
    }
    html
}

async fn good_page(app: &App, path: &str) -> String {
    let answer = page(app, path).await;
    assert_eq!(answer.status.as_u16(), 200, "{path}: {}", text(&answer));
    check_page(path, &answer)
}

/// A model whose every text is hostile.
async fn hostile_model(app: &App) -> ModelId {
    let form = Form::new().text("name", HOSTILE).file("config.json", b"{}").file("<b>.txt", b"x");
    let id = app.upload("/v1/models/files", form).await.expect(201).id();
    let tensor = TensorInfo {
        name: HOSTILE.to_owned(),
        dtype: Dtype::F32,
        shape: vec![2, 2],
        bytes: 16,
        file: HOSTILE.to_owned(),
        site: Some(HOSTILE.to_owned()),
    };
    let hostile = Some(HOSTILE.to_owned());
    let header = ModelHeader {
        family: hostile.clone(),
        architecture: hostile,
        tensors: vec![tensor],
        size_bytes: 16,
        ..bare_header()
    };
    app.validate(&header, None).await;
    id
}

async fn hostile_dataset(app: &App) -> String {
    let form = Form::new().text("name", HOSTILE).file("rows.jsonl", b"{\"text\": \"a\"}\n");
    let id = app.upload("/v1/datasets/files", form).await.expect(201).json()["id"].as_str().unwrap().to_owned();
    let summary = DatasetSummary {
        format: "jsonl".to_owned(),
        rows: 3,
        labels: vec![LabelCount { label: HOSTILE.to_owned(), rows: 3, first: None }],
        words: 3,
        duplicates: 1,
        row_hashes: vec!["00".to_owned()],
        ..DatasetSummary::default()
    };
    app.validate(&bare_header(), Some(&summary)).await;
    id
}

/// A succeeded job on a model, with a report in which a recipe and a file are hostile.
async fn finished(app: &App, model: ModelId, dataset: &str, accuracy: f64, size_bytes: u64) -> JobId {
    let recipe = json!({"version": 1, "stages": [{"method": HOSTILE}]});
    let new = db::jobs::NewJob {
        model_id: Some(model),
        evaluation_dataset_id: Some(dataset.parse().unwrap()),
        recipe: Some(recipe),
        labels: json!({ HOSTILE: HOSTILE }),
        ..db::jobs::NewJob::default()
    };
    let mut tx = app.pool.begin().await.unwrap();
    let job = db::jobs::enqueue(&mut tx, db::DEFAULT_TENANT, &new).await.unwrap();
    tx.commit().await.unwrap();
    let claimed = app.claim().await;
    let mut report: Value = serde_json::from_slice(&std::fs::read(own("report/compressed.json")).unwrap()).unwrap();
    report["result"]["after"]["quality"]["accuracy"]["value"] = json!(accuracy);
    report["result"]["after"]["size_bytes"] = json!(size_bytes);
    report["result"]["verdict"]["summary"] = json!(HOSTILE);
    let mut staged = app.store.writer().await.unwrap();
    staged.write(bytes::Bytes::from_static(b"bytes")).await.unwrap();
    let stored = staged.finish().await.unwrap();
    let file = NewJobFile {
        role: "artifact".to_owned(),
        path: HOSTILE.to_owned(),
        format: "safetensors".to_owned(),
        sha256: stored.digest.to_string(),
        size_bytes: stored.size_bytes,
        loaders: vec![HOSTILE.to_owned()],
    };
    let mut tx = app.pool.begin().await.unwrap();
    assert!(db::jobs::finish_succeeded(&mut tx, job.id, claimed.token, &[file], Some(&report)).await.unwrap());
    tx.commit().await.unwrap();
    job.id
}

#[tokio::test]
async fn every_page_is_drawn_when_there_is_nothing_and_teaches() {
    let app = App::start().await;
    for (path, taught) in [
        ("/", "curl -F name=my-model"),
        ("/models", "save_pretrained"),
        ("/datasets", "one a line"),
        ("/jobs", "There is no job yet"),
        ("/jobs/new", "There is no model to work on"),
        ("/recipes", "svd-50"),
        ("/workers", "pare work"),
    ] {
        let html = good_page(&app, path).await;
        assert!(html.contains(taught), "{path} does not say '{taught}'");
        assert!(html.contains("href=\"/docs\"") && html.contains("<h1"), "{path}");
    }
}

#[tokio::test]
async fn names_from_outside_are_text_on_every_page() {
    let app = App::start().await;
    let model = hostile_model(&app).await;
    let dataset = hostile_dataset(&app).await;
    let job = finished(&app, model, &dataset, 0.84, 1_000).await;
    let plan =
        format!("/jobs/new?model_id={model}&recipe_name=int8&evaluation_dataset_id={dataset}&labels=a:%3Cimg%3E");
    for path in [
        "/".to_owned(),
        "/models".to_owned(),
        format!("/models/{model}"),
        format!("/models/{model}?q=%3Cimg%20src=x%3E"),
        "/datasets".to_owned(),
        format!("/datasets/{dataset}"),
        "/jobs".to_owned(),
        "/jobs?kind=validate".to_owned(),
        "/jobs?label=%3Cimg%3E:%22%3E".to_owned(),
        format!("/jobs/{job}"),
        plan.clone(),
    ] {
        let html = good_page(&app, &path).await;
        assert!(!html.contains("<img") && !html.contains("<b>"), "{path} has a tag that it was given");
        assert!(html.contains("&lt;img") || html.contains("&#60;img"), "{path} shows nothing of what it was given");
    }
    let refused = page(&app, &format!("{plan}&step=plan")).await;
    assert_eq!(refused.status.as_u16(), 422, "nothing can be planned on such a model");
    assert!(!check_page(&plan, &refused).contains("<img"));
}

#[tokio::test]
async fn pages_are_small_whatever_they_show() {
    let app = App::start().await;
    let form = Form::new().text("name", &"n".repeat(200)).file("config.json", b"{}");
    let model: ModelId = app.upload("/v1/models/files", form).await.expect(201).id();
    let tensor = |number: usize| TensorInfo {
        name: format!("{number}{}", "<".repeat(2_000)),
        dtype: Dtype::F32,
        shape: vec![2, 2],
        bytes: 16,
        file: "model.safetensors".to_owned(),
        site: Some("s".repeat(2_000)),
    };
    let header = ModelHeader { tensors: (0..300).map(tensor).collect(), size_bytes: 4_800, ..bare_header() };
    app.validate(&header, None).await;
    let form = Form::new().text("name", "rows").file("rows.jsonl", b"{\"text\": \"a\"}\n");
    let dataset = app.upload("/v1/datasets/files", form).await.expect(201).json()["id"].as_str().unwrap().to_owned();
    let label = |number: usize| LabelCount { label: format!("{number}{}", "l".repeat(5_000)), rows: 1, first: None };
    let summary = DatasetSummary {
        format: "jsonl".to_owned(),
        rows: 300,
        labels: (0..300).map(label).collect(),
        words: 300,
        duplicates: 0,
        row_hashes: vec!["00".to_owned()],
        ..DatasetSummary::default()
    };
    app.validate(&bare_header(), Some(&summary)).await;
    for accuracy in 0..60 {
        finished(&app, model, &dataset, 0.5 + 0.001 * f64::from(accuracy), 1_000_000).await;
    }
    for path in ["/", "/jobs", "/jobs/new", &format!("/datasets/{dataset}"), &format!("/models/{model}")] {
        good_page(&app, path).await;
    }
    let next = good_page(&app, &format!("/models/{model}?from=200")).await;
    assert!(next.contains("201 to 260 of 300"));
}

#[tokio::test]
async fn the_frontier_dims_what_another_result_beats() {
    let app = App::start().await;
    let model = hostile_model(&app).await;
    let dataset = hostile_dataset(&app).await;
    let best = finished(&app, model, &dataset, 0.84, 12_000_000).await;
    let worse = finished(&app, model, &dataset, 0.83, 13_000_000).await;
    let html = good_page(&app, &format!("/models/{model}")).await;
    let class = |job: JobId| {
        let link = tags(&html).find(|tag| tag.starts_with(&format!("a href=\"/jobs/{job}\" class"))).unwrap();
        link.contains("dominated")
    };
    assert!(!class(best) && class(worse));
    assert!(html.contains("class=\"steps\"") && html.contains("class=\"reference\""));
    let agreement = good_page(&app, &format!("/models/{model}?on=top1_agreement.{dataset}.96")).await;
    assert!(agreement.contains("Same answer"));
}

#[tokio::test]
async fn forms_post_and_redirect() {
    let app = App::start().await;
    let folder = own("tickets");
    let mut form = Form::new().text("name", "tickets");
    for name in ["config.json", "tokenizer.json", "model.safetensors"] {
        form = form.file(name, &std::fs::read(folder.join(name)).unwrap());
    }
    let uploaded = upload(&app, "/models", form).await.expect(303);
    let at = uploaded.header("location").to_owned();
    assert!(at.starts_with("/models/mdl_"), "{at}");
    assert!(good_page(&app, &at).await.contains("http-equiv=\"refresh\""), "without a script it is looked at again");
    app.validate(&bare_header(), None).await;

    let model = app.model(&folder).await;
    let dataset =
        upload(&app, "/datasets", Form::new().text("name", "rows").file("r.jsonl", b"{\"text\": \"a\"}")).await;
    assert!(dataset.expect(303).header("location").starts_with("/datasets/dst_"));

    let fields = format!("model_id={model}&recipe_name=int8&max_seq_length=48&deadline_hours=2&labels=run%3A7");
    let plan = good_page(&app, &format!("/jobs/new?{fields}&step=plan")).await;
    for shown in ["Size after", "pare compress real --recipe int8", "curl --json", "transformers", "class=\"value\""] {
        assert!(plan.contains(shown), "the plan lacks '{shown}'");
    }
    assert!(good_page(&app, "/jobs").await.contains("There is no job yet"), "a plan starts nothing");
    let started = post(&app, "/jobs", &fields).await.expect(303);
    let job = started.header("location").to_owned();
    let shown = app.get(&format!("/v1{job}")).await.expect(200).json();
    assert_eq!(shown["plan"]["evaluate"]["max_seq_length"], 48);
    assert_eq!(shown["labels"], json!({"run": "7"}));
    assert!(good_page(&app, &job).await.contains("data-job="));

    let in_use = post(&app, &format!("/models/{model}/delete"), "").await.expect(409);
    assert!(check_page("delete", &in_use).contains("is in use by job_"));
    let cancelled = post(&app, &format!("{job}/cancel"), "").await.expect(303);
    assert_eq!(cancelled.header("location"), job);
    let again = good_page(&app, &job).await;
    assert!(again.contains("cancelled") && again.contains("Retry"));
    let retried = post(&app, &format!("{job}/retry"), "").await.expect(303).header("location").to_owned();
    assert!(retried != job && good_page(&app, &retried).await.contains("Repeats"));
    let live = post(&app, &format!("{retried}/retry"), "").await.expect(409);
    assert!(check_page("retry", &live).contains("It was not retried"));
    post(&app, &format!("{retried}/cancel"), "").await.expect(303);
    post(&app, &format!("/models/{model}/delete"), "").await.expect(303);
    app.get(&format!("/v1/models/{model}")).await.expect(404);
}

#[tokio::test]
async fn a_model_is_measured_by_a_form() {
    let app = App::start().await;
    assert!(good_page(&app, "/jobs/new?kind=evaluate").await.contains("There is no model to measure"));
    let model = app.model(&own("tickets")).await;
    assert!(good_page(&app, "/jobs/new?kind=evaluate").await.contains("There are no rows to measure on"));
    let form = Form::new().text("name", "rows").file("r.jsonl", b"{\"text\": \"a\"}\n");
    let rows = app.upload("/v1/datasets/files", form).await.expect(201).json()["id"].as_str().unwrap().to_owned();
    let link = format!("/jobs/new?kind=evaluate&model_id={model}");
    assert!(good_page(&app, &format!("/models/{model}")).await.contains(&link.replace('&', "&#38;")));
    let html = good_page(&app, &link).await;
    assert!(html.contains(&format!("value=\"{model}\" selected")) && html.contains("Compared with"));

    let fields = format!(
        "kind=evaluate&model_id={model}&reference_model_id={model}&evaluation_dataset_id={rows}\
         &metrics=fidelity&metrics=latency&max_seq_length=48&labels=run%3A7"
    );
    let job = post(&app, "/jobs", &fields).await.expect(303).header("location").to_owned();
    let shown = app.get(&format!("/v1{job}")).await.expect(200).json();
    assert_eq!((&shown["kind"], &shown["reference_model_id"]), (&json!("evaluate"), &json!(model)));
    assert_eq!(shown["evaluate"], json!({"metrics": ["fidelity", "latency"], "max_seq_length": 48}));
    assert_eq!(shown["labels"], json!({"run": "7"}));
    let html = good_page(&app, &job).await;
    assert!(html.contains("measured as it is") && html.contains("Compared with"));
    post(&app, &format!("{job}/cancel"), "").await.expect(303);
    let again = good_page(&app, &job).await;
    let again = again.split('"').find(|part| part.starts_with("/jobs/new?")).unwrap().replace("&#38;", "&");
    let html = good_page(&app, &again).await;
    for kept in
        ["value=\"fidelity\" checked", "value=\"latency\" checked", "value=\"48\"", &format!("\"{rows}\" selected")]
    {
        assert!(html.contains(kept), "'{kept}' is lost");
    }
    // What is wrong stands beside its field, and what was filled in stays
    let wrong = format!("kind=evaluate&model_id={model}&metrics=beauty&metrics=latency&max_seq_length=many");
    let refused = check_page("/jobs", &post(&app, "/jobs", &wrong).await.expect(422));
    assert!(refused.contains("value=\"many\"") && refused.contains("value=\"latency\" checked"));
    assert!(refused.matches("class=\"wrong-field\"").count() >= 1);
}

#[tokio::test]
async fn what_is_wrong_stands_beside_its_field() {
    let app = App::start().await;
    let model = app.bare_model().await;
    let fields = format!("model_id={model}&recipe_name=int9&max_seq_length=many&deadline_hours=0&labels=a");
    for answer in [page(&app, &format!("/jobs/new?{fields}&step=plan")).await, post(&app, "/jobs", &fields).await] {
        let html = check_page("/jobs/new", &answer.expect(422));
        assert!(html.contains("class=\"wrong-field\"") && html.contains("value=\"many\""), "what was typed is kept");
        assert!(html.contains("aria-invalid=\"true\""));
    }
    let refused = upload(&app, "/models", Form::new().text("name", "x").file("a.bin", b"\x80\x02")).await.expect(415);
    let html = check_page("/models", &refused);
    assert!(html.contains("/files/a.bin") && html.contains("safetensors"), "{html}");
    for path in ["/jobs?state=done", "/jobs?cursor=x", "/jobs?model_id=1"] {
        check_page(path, &page(&app, path).await.expect(400));
    }
}

#[tokio::test]
async fn another_sites_form_is_refused() {
    let app = App::start().await;
    let id = app.queued_job().await;
    let form = ("content-type", "application/x-www-form-urlencoded");
    let path = format!("/jobs/{id}/cancel");
    let send = async |header: (&str, &str)| app.fetch(Method::POST, &path, &[form, header], Vec::new()).await;
    let foreign = send(("sec-fetch-site", "cross-site")).await.expect(403);
    assert!(check_page(&path, &foreign).contains("cross_site"));
    send(("origin", "http://localhost:1")).await.expect(403);
    send(("origin", "https://example.org")).await.expect(403);
    let state = app.get(&format!("/v1/jobs/{id}")).await.json();
    assert_eq!(state["state"], "queued");
    send(("sec-fetch-site", "same-origin")).await.expect(303);
}

#[tokio::test]
async fn assets_are_kept_for_ever_and_named_by_their_hash() {
    let app = App::start().await;
    let html = good_page(&app, "/").await;
    let paths: Vec<&str> = html.split('"').filter(|part| part.starts_with("/assets/")).collect();
    assert_eq!(paths.len(), 3, "{paths:?}");
    for path in paths {
        let asset = app.fetch(Method::GET, path, &[], Vec::new()).await.expect(200);
        assert_eq!(asset.header("cache-control"), "public, max-age=31536000, immutable");
        let tag = asset.header("etag").to_owned();
        assert!(path.contains(&tag[1..13]), "{path} is not named by its hash {tag}");
        app.fetch(Method::GET, path, &[("if-none-match", &tag)], Vec::new()).await.expect(304);
        assert!(!text(&asset).contains("http://") || path.ends_with(".svg"), "{path} names another host");
    }
    app.fetch(Method::GET, "/assets/dashboard-0.css", &[], Vec::new()).await.expect(404);
}

#[tokio::test]
async fn what_is_not_there_is_a_page_for_browsers_alone() {
    let app = App::start().await;
    for path in ["/nowhere", &format!("/models/{}", ModelId::new()), "/jobs/1", "/models/x/y/z"] {
        let html = check_page(path, &page(&app, path).await.expect(404));
        assert!(html.contains("Not found") && html.contains("href=\"/models\""), "{path}");
    }
    app.get("/nowhere").await.expect(404);
    let api = page(&app, "/v1/nowhere").await.expect(404);
    assert_eq!(api.header("content-type"), "application/problem+json");
    check_page("/jobs/x/cancel", &page(&app, "/jobs/x/cancel").await.expect(405));
}
