//! Every site tried alone, by a form.

use serde_json::json;

use super::{check_page, good_page, post};
use crate::support::app::{App, Form};
use crate::support::engine::own;

#[tokio::test]
async fn every_site_is_tried_by_a_form() {
    let app = App::start().await;
    assert!(good_page(&app, "/jobs/new?kind=sensitivity").await.contains("There is no model to try it on"));
    let model = app.model(&own("tickets")).await;
    let form = Form::new().text("name", "rows").file("r.jsonl", b"{\"text\": \"a\"}\n");
    let rows = app.upload("/v1/datasets/files", form).await.expect(201).json()["id"].as_str().unwrap().to_owned();
    let link = format!("/jobs/new?kind=sensitivity&model_id={model}");
    assert!(good_page(&app, &format!("/models/{model}")).await.contains(&link.replace('&', "&#38;")));
    assert!(good_page(&app, &link).await.contains(&format!("value=\"{model}\" selected")));
    let fields =
        format!("kind=sensitivity&model_id={model}&calibration_dataset_id={rows}&recipe_name=int8&bits=2%2C+8");
    let job = post(&app, "/jobs", &fields).await.expect(303).header("location").to_owned();
    let shown = app.get(&format!("/v1{job}")).await.expect(200).json();
    assert_eq!((&shown["kind"], &shown["recipe_name"]), (&json!("sensitivity"), &json!("int8")));
    assert_eq!(shown["recipe"]["sensitivity"], json!({"bits": [2, 8]}));
    assert!(good_page(&app, &job).await.contains("every site alone"));
    post(&app, &format!("{job}/cancel"), "").await.expect(303);
    let again = good_page(&app, &job).await;
    let again = again.split('"').find(|part| part.starts_with("/jobs/new?")).unwrap().replace("&#38;", "&");
    let html = good_page(&app, &again).await;
    for kept in ["value=\"2, 8\"", "value=\"int8\" selected", &format!("\"{rows}\" selected")] {
        assert!(html.contains(kept), "'{kept}' is lost");
    }
    // What is wrong stands beside its field, and what was filled in stays
    let wrong = format!("kind=sensitivity&model_id={model}&bits=many");
    let refused = post(&app, "/jobs", &wrong).await.expect(422);
    let html = check_page("refused", &refused);
    assert!(html.contains("value=\"many\"") && html.contains("&#39;calibration_dataset_id&#39; is wanted"), "{html}");
}
