//! The probes' failing controls: what they watch over is taken from a real model, and they must say so.
//!
//! `bert-recall` answers where a fact stands about a hundred tokens from the question, and in half of its rows which of two facts
//! came first: it can't do without distance or order.

use std::fmt::Write;
use std::fs;
use std::path::Path;

use pare::engine::context::RunContext;
use pare::engine::evaluate::Answers;
use pare::engine::evaluate::probes::{Given, Probes, Sides, WINDOW, measure};
use pare::engine::evaluate::rows::{self, Rows};
use pare::engine::evaluate::score::score;
use pare::engine::export::verify::input;
use pare::engine::job::{Datasets, Source};
use pare::engine::model::build::Model;
use pare::engine::model::inspect::inspect;
use pare::engine::recipe::Evaluate;
use pare::engine::run::evaluate_files;
use serde_json::{Value, json};

use crate::support::engine::{model, own, shared, with_context};

/// Rows that the controls are measured on: all of them are run again. The table in `results/` is of twice as many.
const ROWS: usize = 128;
/// A probe has moved where it is this many widths of the intact model's interval from the intact model's value.
const WIDTHS: f64 = 5.0;
/// The layer whose heads are taken.
const LAYER: usize = 1;

/// Copies a model's folder, with one tensor of its weight file changed.
fn changed(from: &Path, to: &Path, tensor: &str, change: impl Fn(&mut [u8])) {
    for file in model(from).files {
        fs::copy(&file.location, to.join(&file.path)).unwrap();
    }
    let path = to.join("model.safetensors");
    let mut bytes = fs::read(&path).unwrap();
    let length = u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
    let header: Value = serde_json::from_slice(&bytes[8..8 + length]).unwrap();
    let at = |end: usize| header[tensor]["data_offsets"][end].as_u64().unwrap() as usize + 8 + length;
    change(&mut bytes[at(0)..at(1)]);
    fs::write(&path, bytes).unwrap();
}

/// The position table's rows in another order.
fn shuffle_positions(bytes: &mut [u8]) {
    let (rows, old) = (256, bytes.to_vec());
    let width = bytes.len() / rows;
    for row in 0..rows {
        let from = (row * 97 + 13) % rows; // 97 is odd, so every row is taken once
        bytes[row * width..(row + 1) * width].copy_from_slice(&old[from * width..(from + 1) * width]);
    }
}

fn load(folder: &Path, ctx: &RunContext<'_>) -> Model {
    let (inspected, checkpoint) = inspect(&model(folder).files).unwrap();
    Model::load(&inspected, &checkpoint, ctx).unwrap()
}

/// The first rows of the test set.
fn rows(folder: &Path, data: &Path, count: usize, ctx: &RunContext<'_>) -> Rows {
    let few: String = fs::read_to_string(data).unwrap().lines().take(count).map(|line| format!("{line}\n")).collect();
    fs::write(ctx.scratch.join("rows.jsonl"), few).unwrap();
    let evaluation = Source { name: "rows".into(), files: vec![input(&ctx.scratch, "rows.jsonl").unwrap()] };
    let (inspected, checkpoint) = inspect(&model(folder).files).unwrap();
    let datasets = Datasets { evaluation: Some(evaluation), ..Datasets::default() };
    rows::choose(inspected.header.spec.as_ref().unwrap(), &checkpoint, &datasets, (256, 0), ctx).unwrap()
}

/// A number of the probes.
struct Watched {
    name: &'static str,
    of: fn(&Probes) -> Sides,
}

const LONG_RANGE: Watched = Watched { name: "long range: worth, probability", of: |p| p.long_range.worth };
const DISTANCE: Watched = Watched { name: "long range: change, nats", of: |p| p.long_range.change.unwrap() };
const ORDER: Watched = Watched { name: "positions: worth, probability", of: |p| p.positions.worth };
const SHUFFLE: Watched = Watched { name: "positions: change, nats", of: |p| p.positions.change.unwrap() };
const HEADS: Watched =
    Watched { name: "head balance: fewest effective heads", of: |p| p.head_balance.fewest_effective };

impl Watched {
    /// How many widths of the intact model's interval the number is off.
    fn moved(&self, intact: &Probes, probes: &Probes) -> f64 {
        let whole = (self.of)(intact).result;
        ((self.of)(probes).result.value - whole.value).abs() / (whole.high - whole.low)
    }
}

/// The intact model, then each corruption, with its probes against the intact one.
fn measured(count: usize) -> Option<Vec<(&'static str, Probes)>> {
    let (folder, data) = (shared("bert-recall")?, shared("data/recall/test.jsonl")?);
    Some(with_context(|ctx| {
        let rows = rows(&folder, &data, count, ctx);
        let intact = load(&folder, ctx);
        let made = |name: &str, tensor: &str, change: fn(&mut [u8])| {
            let to = ctx.scratch.join(name);
            fs::create_dir(&to).unwrap();
            changed(&folder, &to, tensor, change);
            load(&to, ctx)
        };
        let heads = format!("bert.encoder.layer.{LAYER}.attention.output.dense.weight");
        let positions = "bert.embeddings.position_embeddings.weight";
        let models = [
            ("intact", intact.clone()),
            ("position table shuffled", made("positions", positions, shuffle_positions)),
            ("attention cut beyond 16 tokens", intact.within(WINDOW)),
            ("heads of layer 1 gone", made("heads", &heads, |bytes| bytes.fill(0))),
        ];
        let answers = |model: &Model| Answers::Scores(score(model, rows.questions.encoded(), ctx).unwrap());
        let before = answers(&intact);
        let probes = models.iter().map(|(name, model)| {
            let answers = answers(model);
            let spec = model.spec.as_ref().unwrap();
            let given = Given { spec, rows: &rows, original: Some((&intact, &before)), result: (model, &answers) };
            (*name, measure(&given, ctx).unwrap())
        });
        probes.collect()
    }))
}

/// Every probe of every model, and how far it moved.
fn table(measured: &[(&str, Probes)]) -> String {
    let (intact, corrupted) = (&measured[0].1, &measured[1..]);
    let names: String = corrupted.iter().map(|(name, _)| format!(" {name} | widths |")).collect();
    let mut text = format!("| probe | intact, 95% |{names}\n|---|---|{}\n", "---|".repeat(2 * corrupted.len()));
    for watched in [LONG_RANGE, DISTANCE, ORDER, SHUFFLE, HEADS] {
        let whole = (watched.of)(intact).result;
        write!(text, "| {} | {:.4} ({:.4} to {:.4}) |", watched.name, whole.value, whole.low, whole.high).unwrap();
        for (_, probes) in corrupted {
            let value = (watched.of)(probes).result.value;
            write!(text, " {value:.4} | {:.1} |", watched.moved(intact, probes)).unwrap();
        }
        text.push('\n');
    }
    let mut line = |name: &str, of: &dyn Fn(&Probes) -> f64| {
        write!(text, "| {name} | {:.4} |", of(intact)).unwrap();
        for (_, probes) in corrupted {
            write!(text, " {:.4} | |", of(probes)).unwrap();
        }
        text.push('\n');
    };
    line("positions: error of the table", &|p| p.positions.table_relative_error.unwrap());
    line("head balance: heads that add anything, layer 1", &|p| p.head_balance.layers[LAYER].result.kept as f64);
    let longest = |p: &Probes| p.long_range.quartiles.last().unwrap().quality.unwrap().result.value;
    line("long range: accuracy of the longest quartile", &longest);
    let longest = |p: &Probes| p.long_range.quartiles.last().unwrap().kl.unwrap().value;
    line("long range: KL of the longest quartile", &longest);
    let shortest = |p: &Probes| p.long_range.quartiles.first().unwrap().kl.unwrap().value;
    line("long range: KL of the shortest quartile", &shortest);
    text
}

#[test]
fn what_is_taken_away_moves_its_probe() {
    let Some(measured) = measured(ROWS) else { return };
    println!("{}", table(&measured));
    let [(_, intact), (_, positions), (_, cut), (_, heads)] = &measured[..] else { panic!("four models") };
    let same = (LONG_RANGE.of)(intact).ratio.unwrap();
    assert_eq!((same.value, same.low, same.high), (1.0, 1.0, 1.0), "the intact model beside itself");
    for (watched, probes) in [(ORDER, positions), (LONG_RANGE, cut), (DISTANCE, cut), (HEADS, heads)] {
        let moved = watched.moved(intact, probes);
        assert!(moved > WIDTHS, "{} moved by {moved} widths of the intact model's interval", watched.name);
    }
    // What is gone can't be taken away once more
    assert_eq!(((LONG_RANGE.of)(cut).result.value, (DISTANCE.of)(cut).result.value), (0.0, 0.0));
    let error = |probes: &Probes| probes.positions.table_relative_error.unwrap();
    assert!(error(positions) > 1.0 && [intact, cut, heads].iter().all(|probes| error(probes) == 0.0));
    let kept = |probes: &Probes| probes.head_balance.layers.iter().map(|layer| layer.result.kept).collect::<Vec<_>>();
    assert_eq!((kept(heads), kept(intact), kept(positions)), (vec![4, 0, 4, 4], vec![4; 4], vec![4; 4]));
    assert_eq!((HEADS.of)(heads).result.value, 0.0);
    // Of answers that are guesses, a guess is lost: how much answers change says nothing of order
    assert!(SHUFFLE.moved(intact, positions) < WIDTHS);
}

const PAGE: &str = "# What the probes see

`cargo test --test it probes::write_the_table -- --ignored` writes this page.

`bert-recall` answers where a fact stands about a hundred tokens from the question, and in half of its rows which of two facts
came first. From it were taken the rows of its position table (put in another order), all attention beyond 16 tokens, or all heads
of layer 1 (their output projection set to zero), and the probes were measured against the intact model on the first 256 rows of
its test set. *widths* is how far a number is from the intact model's, in widths of the intact model's 95% interval (bootstrap
over rows, 2,000 resamples, seeded).

";

const READING: &str = "
What they say, and what they don't:

- Each thing that was taken moves its own probe by more than five widths, and makes it all but zero. Lost distance leaves nothing
  for a second cut to change: both numbers are 0 exactly.
- `worth` falls whenever the answer is lost, whatever was lost: this model can give no answer without all three. It says *that*
  distance and order are no longer used, and is read beside the others: the error of the table tells a broken table, the layer's
  heads tell missing heads, and the `change` of 0 tells cut attention.
- How much answers change when words are shuffled (mean KL) does not fall with the table: answers that are confident guesses become
  other confident guesses. So the probability of the original's answer is what is watched, and the KL stands beside it.
- Effective heads have a very narrow interval, so that they move by several widths where other things change, too; none of these
  takes them near 0.
- Lengths lie between 193 and 251 tokens, so quartiles by length differ little, as they must.
";

#[test]
#[ignore = "writes results/probes.md"]
fn write_the_table() {
    let measured = measured(256).expect("the fixtures");
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("results/probes.md");
    fs::write(path, format!("{PAGE}{}{READING}", table(&measured))).unwrap();
}

#[test]
fn equal_bytes_whatever_the_threads() {
    let found = [1, 3].map(|threads| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        pool.install(|| {
            with_context(|ctx| {
                let folder = own("tickets");
                let rows = rows(&folder, &folder.join("data/test.jsonl"), 100, ctx);
                let (original, cut) = (load(&folder, ctx), load(&folder, ctx).within(2));
                let answers = |model| Answers::Scores(score(model, rows.questions.encoded(), ctx).unwrap());
                let (before, after) = (answers(&original), answers(&cut));
                let spec = original.spec.as_ref().unwrap();
                let given = Given { spec, rows: &rows, original: Some((&original, &before)), result: (&cut, &after) };
                serde_json::to_string(&measure(&given, ctx).unwrap()).unwrap()
            })
        })
    });
    assert_eq!(found[0], found[1]);
}

#[test]
fn every_kind_of_answer_has_its_probes_or_a_reason() {
    let kinds = [
        ("bert-relu", "probability"),
        ("bert-regression", "difference"),
        ("bert-tags", "probability"),
        ("bert-mlm", "nats"),
        ("distilbert-embed", "cosine_distance"),
        ("llama-embed-mean", "cosine_distance"),
        ("gpt2-lm", "nats"),
        ("qwen2-window", "nats"),
        ("llama-classify", "probability"),
    ];
    for (name, unit) in kinds {
        let source = model(&Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/goldens/models").join(name));
        for reference in [None, Some(&source)] {
            let settings = json!({"metrics": ["fidelity"], "max_seq_length": 24});
            let settings = Evaluate::parse(&settings).unwrap();
            let found = with_context(|ctx| evaluate_files(&source, reference, &settings, &Datasets::default(), ctx));
            let mut report = found.unwrap_or_else(|error| panic!("{name}: {error}")).report;
            report.finish().unwrap_or_else(|error| panic!("{name}: {error}"));
            let document = serde_json::to_value(&report).unwrap();
            let at = |pointer: &str| document.pointer(&format!("/result/probes{pointer}")).unwrap();
            assert_eq!(at("/unit"), unit, "{name}");
            assert!(at("/long_range/worth/result/value").is_number(), "{name}");
            assert_eq!(at("/long_range/worth/original").is_null(), reference.is_none(), "{name}");
            let own =
                ["/long_range/worth/ratio/value", "/positions/worth/ratio/value", "/long_range/change/ratio/value"];
            for ratio in own.iter().filter_map(|own| document.pointer(&format!("/result/probes{own}"))) {
                assert_eq!(ratio, 1.0, "{name}: a model beside itself");
            }
            let rotary = ["llama", "qwen2"].iter().any(|family| name.starts_with(family));
            let error = at("/positions/table_relative_error");
            assert_eq!(error.is_null(), rotary || reference.is_none(), "{name}: {error}");
            assert!(!at("/head_balance/layers").as_array().unwrap().is_empty(), "{name}");
        }
    }
}
