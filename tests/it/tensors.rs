//! A model's tensors.

use pare::engine::model::inspect::inspect;
use pare::engine::problem::{Code, Problem};
use pare::id::ModelId;
use serde_json::{Value, json};

use crate::support::app::{App, Form};
use crate::support::engine::{model, own};

async fn all(app: &App, id: ModelId, query: &str) -> Vec<Value> {
    let mut tensors = Vec::new();
    let mut cursor = String::new();
    loop {
        let page = app.get(&format!("/v1/models/{id}/tensors?{query}{cursor}")).await.expect(200).json();
        tensors.extend(page["data"].as_array().unwrap().clone());
        match page["next_cursor"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => return tensors,
        }
    }
}

#[tokio::test]
async fn every_tensor_is_listed_once_by_name() {
    let app = App::start().await;
    let id = app.model(&own("tickets")).await;
    let (inspected, _) = inspect(&model(&own("tickets")).files).unwrap();
    let paged = all(&app, id, "limit=7").await;
    assert_eq!(paged.len(), inspected.header.tensors.len());
    assert_eq!(paged, all(&app, id, "limit=200").await, "pages hold what the whole list holds");
    for shown in &paged {
        let tensor = inspected.header.tensors.iter().find(|tensor| shown["name"] == tensor.name.as_str()).unwrap();
        assert_eq!(shown["shape"], json!(tensor.shape));
        assert_eq!(shown["size_bytes"], json!(tensor.bytes));
        assert_eq!(shown["dtype"], json!(tensor.dtype));
        assert_eq!(shown.get("site"), tensor.site.as_ref().map(|site| json!(site)).as_ref());
    }
    let names: Vec<&str> = paged.iter().map(|tensor| tensor["name"].as_str().unwrap()).collect();
    assert!(names.is_sorted() && names.windows(2).all(|pair| pair[0] != pair[1]), "{names:?}");
}

#[tokio::test]
async fn they_are_chosen_by_site_and_by_name() {
    let app = App::start().await;
    let id = app.model(&own("tickets")).await;
    let whole = all(&app, id, "limit=200").await;
    let of_mlp = |tensor: &&Value| tensor["site"].as_str().is_some_and(|site| site.contains(".mlp."));
    let expected: Vec<Value> = whole.iter().filter(of_mlp).cloned().collect();
    assert!(!expected.is_empty() && expected.len() < whole.len());
    assert_eq!(all(&app, id, "site=block.*.mlp.*&limit=3").await, expected);
    let expected: Vec<Value> = whole
        .iter()
        .filter(|tensor| tensor["name"].as_str().unwrap().starts_with("bert.embeddings."))
        .cloned()
        .collect();
    assert!(!expected.is_empty());
    assert_eq!(all(&app, id, "name_prefix=bert.embeddings.").await, expected);
    assert_eq!(all(&app, id, "site=nowhere").await, [] as [Value; 0]);
    for query in ["site=a%5B", "cursor=x", "prefix=a"] {
        assert_eq!(app.get(&format!("/v1/models/{id}/tensors?{query}")).await.status.as_u16(), 400, "{query}");
    }
}

#[tokio::test]
async fn a_model_that_is_not_ready_has_none_to_show() {
    let app = App::start().await;
    let form = Form::new().text("name", "x").file("config.json", b"{}");
    let id: ModelId = app.upload("/v1/models/files", form).await.expect(201).id();
    let path = format!("/v1/models/{id}/tensors");
    let answer = app.get(&path).await;
    assert_eq!(answer.problem(), (409, "not_ready".to_owned()));
    assert_eq!(answer.header("retry-after"), "1");
    let problem = Problem::new("/files/config.json", Code::ConfigInvalid, "it names no model");
    let mut tx = app.pool.begin().await.unwrap();
    assert!(pare::db::models::reject(&mut tx, id, &[problem]).await.unwrap());
    tx.commit().await.unwrap();
    assert_eq!(app.get(&path).await.problem(), (409, "model_invalid".to_owned()));
    let missing = format!("/v1/models/{}/tensors", ModelId::new());
    assert_eq!(app.get(&missing).await.problem(), (404, "not_found".to_owned()));
}
