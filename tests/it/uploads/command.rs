//! `pare upload` against a real server and worker.

use std::path::Path;
use std::process::Stdio;

use pare::http::{HostRule, Limits};
use pare::store::Digest;
use serde_json::Value;
use tokio::process::Command;

use super::{limits, look, pattern};
use crate::support::app::App;
use crate::support::cluster::PARE;
use crate::support::engine::own;
use crate::support::worker::{Bench, until};

struct Setting {
    bench: Bench,
    app: App,
}

impl Setting {
    async fn new(limits: Limits) -> Self {
        let bench = Bench::new().await;
        let app = App::over(bench.pool().clone(), bench.store.clone(), limits, HostRule::Loopback).await;
        Self { bench, app }
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(PARE);
        command.arg("upload").args(arguments).args(["--server", &self.app.base, "--log", "warn"]);
        command.env("XDG_STATE_HOME", self.bench.folder.path().join("client")).env("NO_PROXY", "*");
        command.stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
        command
    }

    /// Exit code, standard output and standard error.
    async fn run(&self, arguments: &[&str]) -> (i32, String, String) {
        let output = self.command(arguments).output().await.unwrap();
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        (output.status.code().unwrap(), text(output.stdout), text(output.stderr))
    }
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

#[tokio::test]
async fn a_folder_becomes_a_model_that_is_ready() {
    let setting = Setting::new(limits()).await;
    let worker = setting.bench.start(setting.bench.config());
    let folder = setting.bench.folder.path().join("my-tickets");
    std::fs::create_dir(&folder).unwrap();
    let names = ["config.json", "tokenizer.json", "model.safetensors"];
    for name in names.iter().filter(|name| own("tickets").join(name).exists()) {
        std::fs::copy(own("tickets").join(name), folder.join(name)).unwrap();
    }
    std::fs::write(folder.join("pytorch_model.bin"), b"left out").unwrap();
    let (code, out, err) = setting.run(&[text(&folder)]).await;
    assert_eq!(code, 0, "{err}");
    let model = setting.app.get(&format!("/v1/models/{}", out.trim())).await.expect(200).json();
    assert_eq!((model["name"].as_str(), model["state"].as_str()), (Some("my-tickets"), Some("ready")));
    let (code, out, err) = setting.run(&[text(&folder), "--json", "--name", "again"]).await;
    assert_eq!(code, 0, "{err}");
    let model: Value = serde_json::from_str(&out).unwrap();
    assert_eq!((model["name"].as_str(), model["state"].as_str()), (Some("again"), Some("ready")));

    let rows = setting.bench.folder.path().join("rows.jsonl");
    std::fs::write(&rows, "{\"text\": \"a\"}\n").unwrap();
    let (code, out, err) = setting.run(&[text(&rows), "--dataset"]).await;
    assert_eq!((code, out.starts_with("dst_")), (0, true), "{err}");
    std::fs::write(&rows, "{\"text\": 1}\n").unwrap();
    let (code, _, err) = setting.run(&[text(&rows), "--dataset"]).await;
    assert!(code == 3 && err.contains("is invalid"), "{code}: {err}");
    worker.stop().await;
}

#[tokio::test]
async fn refusals_have_their_exit_codes() {
    let setting = Setting::new(limits()).await;
    let folder = setting.bench.folder.path();
    let pickle = folder.join("model.safetensors");
    std::fs::write(&pickle, b"\x80\x04\x95\x10\0\0\0\0\0\0\0\0").unwrap();
    let (code, _, err) = setting.run(&[text(&pickle), "--no-wait"]).await;
    assert!(code == 3 && err.contains("pickle_refused"), "{code}: {err}");
    std::fs::rename(&pickle, folder.join("model.bin")).unwrap();
    let (code, _, err) = setting.run(&[text(&folder.join("model.bin"))]).await;
    assert!(code == 3 && err.contains("pickle_refused"), "{code}: {err}");
    assert_eq!(setting.run(&[text(&folder.join("nowhere"))]).await.0, 1);
    assert_eq!(setting.run(&[]).await.0, 2);
}

#[tokio::test]
async fn a_run_that_was_killed_is_gone_on_with() {
    let setting = Setting::new(Limits { part_bytes: 4096, ..limits() }).await;
    let data = pattern(1 << 20);
    let file = setting.bench.folder.path().join("model.safetensors");
    std::fs::write(&file, &data).unwrap();
    let arguments = [text(&file), "--no-wait", "--parallel", "2"];
    let mut first = setting.command(&arguments).spawn().unwrap();
    let count = || async {
        let query = sqlx::query_scalar("select count(*) from upload_parts");
        query.fetch_one(&setting.app.pool).await.unwrap_or(0_i64)
    };
    until("some parts", async || (count().await > 20).then_some(())).await;
    first.kill().await.unwrap();
    let id: uuid::Uuid = sqlx::query_scalar("select id from uploads").fetch_one(&setting.app.pool).await.unwrap();
    let id = format!("upl_{}", id.hyphenated());
    let before = look(&setting.app, &id).await;
    assert_eq!(before["state"], "pending", "it was killed too late to show anything");
    let (code, out, err) = setting.run(&arguments).await;
    assert_eq!(code, 0, "{err}");
    let rows: i64 = sqlx::query_scalar("select count(*) from uploads").fetch_one(&setting.app.pool).await.unwrap();
    assert_eq!(rows, 1, "it went on with the same upload");
    assert_eq!(look(&setting.app, &id).await["sha256"], Digest::of(&data).to_string());
    let model = setting.app.get(&format!("/v1/models/{}", out.trim())).await.expect(200).json();
    assert_eq!(model["files"][0]["sha256"], Digest::of(&data).to_string());
    assert_eq!(std::fs::read_dir(setting.bench.folder.path().join("client/pare/uploads")).unwrap().count(), 0);
}
