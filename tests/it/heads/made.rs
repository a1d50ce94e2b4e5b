//! Small random models with a tokenizer and data that fit them, and their answers to one row at a time.

use std::path::{Path, PathBuf};

use pare::engine::model::build::Model;
use pare::engine::model::forward::Packed;
use pare::engine::model::inspect::inspect;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokenizers::Tokenizer;

use crate::support::engine::{model, with_context};

/// Tokens that rows are cut to, special ones included: a few rows are longer.
pub(super) const LENGTH: usize = 24;
const ROWS: usize = 80;
const CLS: u32 = 2;
const SEP: u32 = 3;

/// A model with data in a folder of its own.
pub(super) struct Made {
    folder: TempDir,
    words: Vec<Vec<String>>,
    /// What is right, of taggers.
    tags: Vec<Vec<String>>,
    /// And of models that answer with numbers.
    labels: Vec<f64>,
}

/// Answers of a tagger.
pub(super) struct Answered {
    /// Of each row's words, as far as they have an answer.
    pub(super) names: Vec<Vec<String>>,
    /// All words' one after another.
    pub(super) logits: Vec<Vec<f64>>,
}

/// Numbers from nowhere, the same every time.
struct Draws(u64);

impl Draws {
    fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as usize % bound
    }
}

/// Whole words of the vocabulary: 39 of two letters.
fn syllables() -> Vec<String> {
    let all = "bdfgklmn".chars().flat_map(|first| "aeiou".chars().map(move |second| format!("{first}{second}")));
    all.take(39).collect()
}

/// A `WordPiece` vocabulary of 96: special tokens, letters, letters within a word, syllables.
fn tokenizer() -> Value {
    let special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"].map(ToOwned::to_owned);
    let letters = ('a'..='z').map(|letter| letter.to_string());
    let within = ('a'..='z').map(|letter| format!("##{letter}"));
    let all = special.iter().cloned().chain(letters).chain(within).chain(syllables());
    let vocab: serde_json::Map<String, Value> =
        all.zip(0..).map(|(token, id): (String, u32)| (token, json!(id))).collect();
    assert_eq!(vocab.len(), 96);
    let added = |(id, content): (usize, &String)| {
        json!({ "id": id, "content": content, "single_word": false, "lstrip": false, "rstrip": false,
                "normalized": false, "special": true })
    };
    json!({
        "version": "1.0", "truncation": null, "padding": null, "decoder": null,
        "added_tokens": special.iter().enumerate().map(added).collect::<Vec<_>>(),
        "normalizer": { "type": "BertNormalizer", "clean_text": true, "handle_chinese_chars": true,
                        "strip_accents": true, "lowercase": true },
        "pre_tokenizer": { "type": "BertPreTokenizer" },
        "post_processor": { "type": "BertProcessing", "sep": ["[SEP]", SEP], "cls": ["[CLS]", CLS] },
        "model": { "type": "WordPiece", "unk_token": "[UNK]", "continuing_subword_prefix": "##",
                   "max_input_chars_per_word": 100, "vocab": vocab },
    })
}

impl Made {
    fn new(golden: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let from = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/goldens/models").join(golden);
        let to = folder.path().join("model");
        std::fs::create_dir(&to).unwrap();
        for name in ["config.json", "model.safetensors"] {
            std::fs::copy(from.join(name), to.join(name)).unwrap();
        }
        std::fs::write(to.join("tokenizer.json"), tokenizer().to_string()).unwrap();
        let (mut draws, syllables) = (Draws(7), syllables());
        // A word of two syllables is one that the vocabulary has not: it is cut into letters
        let mut word = || {
            let first = syllables[draws.below(39)].clone();
            if draws.below(3) == 0 { first + &syllables[draws.below(39)] } else { first }
        };
        let words: Vec<Vec<String>> = (0..ROWS).map(|row| (0..3 + row % 12).map(|_| word()).collect()).collect();
        let texts: String = words.iter().map(|words| format!("{}\n", words.join(" "))).collect();
        std::fs::write(folder.path().join("plain.txt"), texts).unwrap();
        Self { folder, words, tags: Vec::new(), labels: Vec::new() }
    }

    /// Rows whose numbers are the model's own, blurred.
    pub(super) fn regression() -> Self {
        let mut made = Self::new("bert-regression");
        let answers = made.numbers(&made.model());
        let mut draws = Draws(11);
        made.labels = answers.iter().map(|x| ((x + draws.below(1000) as f64 / 2500.0) * 1e4).round() / 1e4).collect();
        made.labels[0] = 1.5; // at least one has a fraction
        let rows: String = made
            .words
            .iter()
            .zip(&made.labels)
            .map(|(words, label)| format!("{}\n", json!({ "text": words.join(" "), "label": label })))
            .collect();
        std::fs::write(made.folder().join("labelled.jsonl"), rows).unwrap();
        made
    }

    /// Words whose tags are the model's own, of which every fourth is another.
    pub(super) fn tags() -> Self {
        let made = Self::new("bert-tags");
        let names = made.names();
        made.with_tags(&names)
    }

    /// The same rows and tags for a model that calls its answers otherwise.
    pub(super) fn tags_shuffled() -> Self {
        let made = Self::new("bert-tags");
        let names = made.names();
        let path = made.model().join("config.json");
        let mut config: Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
        let map = |(at, _): (usize, &String)| (at.to_string(), json!(names[(at + 2) % names.len()]));
        config["id2label"] = Value::Object(names.iter().enumerate().rev().map(map).collect());
        config.as_object_mut().unwrap().remove("label2id");
        std::fs::write(&path, config.to_string()).unwrap();
        made.with_tags(&names)
    }

    /// Tags after what the first model answers, by these names.
    fn with_tags(mut self, names: &[String]) -> Self {
        let mut draws = Draws(13);
        let mut other = |tag: String| if draws.below(4) == 0 { names[draws.below(names.len())].clone() } else { tag };
        let blank = || "O".to_owned();
        let answered = self.answers(&self.model(), names);
        let rows = self.words.iter().zip(answered.names);
        // Beyond the cut there is no answer to take over
        self.tags = rows
            .map(|(words, tags)| {
                (0..words.len()).map(|at| other(tags.get(at).cloned().unwrap_or_else(blank))).collect()
            })
            .collect();
        let rows: String = self
            .words
            .iter()
            .zip(&self.tags)
            .map(|(words, tags)| format!("{}\n", json!({ "tokens": words, "tags": tags })))
            .collect();
        std::fs::write(self.folder().join("labelled.jsonl"), rows).unwrap();
        self
    }

    pub(super) fn folder(&self) -> &Path {
        self.folder.path()
    }

    pub(super) fn model(&self) -> PathBuf {
        self.folder().join("model")
    }

    pub(super) fn rows(&self) -> usize {
        self.words.len()
    }

    pub(super) fn words(&self) -> usize {
        self.words.iter().map(Vec::len).sum()
    }

    pub(super) fn labels(&self) -> Vec<f64> {
        self.labels.clone()
    }

    pub(super) fn is_regression(&self) -> bool {
        self.tags.is_empty()
    }

    /// All that applies but clocks.
    pub(super) fn metrics(&self, labelled: bool) -> Vec<String> {
        let own = if self.is_regression() { ["pearson", "spearman"] } else { ["token_f1", "entity_f1"] };
        let own = own.into_iter().filter(|_| labelled);
        own.chain(["fidelity"]).map(ToOwned::to_owned).collect()
    }

    /// The model's own names, in the order of its answers.
    fn names(&self) -> Vec<String> {
        let config: Value = serde_json::from_slice(&std::fs::read(self.model().join("config.json")).unwrap()).unwrap();
        let map = &config["id2label"];
        (0..5).map(|at: usize| map[at.to_string()].as_str().unwrap().to_owned()).collect()
    }

    /// The tokens of each word, told one by one.
    fn pieces(words: &[String]) -> Vec<Vec<u32>> {
        let tokenizer = Tokenizer::from_bytes(tokenizer().to_string()).unwrap();
        words.iter().map(|word| tokenizer.encode(word.as_str(), false).unwrap().get_ids().to_vec()).collect()
    }

    /// Each row's tags as far as its words begin before the cut.
    pub(super) fn right(&self) -> Vec<Vec<String>> {
        let kept = |words: &Vec<String>| starts(&Self::pieces(words)).len();
        self.words.iter().zip(&self.tags).map(|(words, tags)| tags[..kept(words)].to_vec()).collect()
    }

    /// One number a row.
    pub(super) fn numbers(&self, folder: &Path) -> Vec<f64> {
        let rows: Vec<Vec<u32>> = self.words.iter().map(|words| framed(&Self::pieces(words))).collect();
        forward(folder, &rows).into_iter().map(|answer| answer[0][0]).collect()
    }

    /// A tag a word, by the model's own names.
    pub(super) fn tagged(&self, folder: &Path) -> Answered {
        self.answers(folder, &self.names())
    }

    fn answers(&self, folder: &Path, names: &[String]) -> Answered {
        let pieces: Vec<Vec<Vec<u32>>> = self.words.iter().map(|words| Self::pieces(words)).collect();
        let rows: Vec<Vec<u32>> = pieces.iter().map(|pieces| framed(pieces)).collect();
        let mut answered = Answered { names: Vec::new(), logits: Vec::new() };
        for (row, pieces) in forward(folder, &rows).into_iter().zip(&pieces) {
            let lines: Vec<Vec<f64>> = starts(pieces).into_iter().map(|at| row[at].clone()).collect();
            let best = |line: &Vec<f64>| (0..line.len()).max_by(|a, b| line[*a].total_cmp(&line[*b])).unwrap();
            answered.names.push(lines.iter().map(|line| names[best(line)].clone()).collect());
            answered.logits.extend(lines);
        }
        answered
    }

    /// Every token's answer but those of the first and the last, which are special.
    pub(super) fn texts(&self, folder: &Path) -> Answered {
        let rows: Vec<Vec<u32>> = self.words.iter().map(|words| framed(&Self::pieces(words))).collect();
        let answers = forward(folder, &rows).into_iter();
        let logits = answers.flat_map(|row| row[1..row.len() - 1].to_vec()).collect();
        Answered { names: Vec::new(), logits }
    }
}

/// `[CLS]`, the words' tokens, `[SEP]`, cut to [`LENGTH`].
fn framed(pieces: &[Vec<u32>]) -> Vec<u32> {
    let inside = pieces.iter().flatten().copied().take(LENGTH - 2);
    std::iter::once(CLS).chain(inside).chain([SEP]).collect()
}

/// Where words begin in a framed row, of those that begin before the cut.
fn starts(pieces: &[Vec<u32>]) -> Vec<usize> {
    let begin = |at: usize| 1 + pieces[..at].iter().map(Vec::len).sum::<usize>();
    (0..pieces.len()).map(begin).filter(|at| *at < LENGTH - 1).collect()
}

/// A model's answers to each row by itself.
fn forward(folder: &Path, rows: &[Vec<u32>]) -> Vec<Vec<Vec<f64>>> {
    with_context(|ctx| {
        let (inspected, checkpoint) = inspect(&model(folder).files).unwrap();
        let model = Model::load(&inspected, &checkpoint, ctx).unwrap().realized().unwrap();
        let one = |ids: &Vec<u32>| -> Vec<Vec<f64>> {
            let types = vec![0; ids.len()];
            let answer = model.forward(&Packed::new([(ids.as_slice(), types.as_slice())])).unwrap();
            let lines = answer.to_vec2::<f32>().unwrap();
            lines.into_iter().map(|line| line.into_iter().map(f64::from).collect()).collect()
        };
        rows.iter().map(one).collect()
    })
}
