//! The tensors of a model, from its stored header, with search.

use super::form::Fields;
use super::model::LETTERS;
use super::show::{Markup, cut, grouped};
use crate::engine::model::{ModelHeader, TensorInfo};

/// Tensors of a page.
const ROWS: usize = 60;

/// A tensor in the table.
pub(super) struct Row {
    pub(super) name: String,
    pub(super) site: Option<String>,
    pub(super) dtype: &'static str,
    pub(super) shape: String,
    pub(super) bytes: Markup,
}

/// A page of tensors.
pub(super) struct Tensors {
    /// How many the model has.
    pub(super) all: usize,
    /// What was searched for.
    pub(super) query: String,
    /// How many were found.
    pub(super) told: String,
    pub(super) rows: Vec<Row>,
    /// The page after this one.
    pub(super) next: Option<String>,
}

/// Those whose name or site holds `q`, from the place `from` on.
pub(super) fn of(header: Option<&ModelHeader>, query: &Fields, path: &str) -> Tensors {
    let all = header.map(|header| header.tensors.as_slice()).unwrap_or_default();
    let wanted = query.get("q").unwrap_or_default().to_lowercase();
    let fits = |tensor: &&TensorInfo| {
        let site = tensor.site.as_deref().unwrap_or_default();
        tensor.name.to_lowercase().contains(&wanted) || site.to_lowercase().contains(&wanted)
    };
    let found: Vec<&TensorInfo> = all.iter().filter(fits).collect();
    let from = query.get("from").and_then(|from| from.parse().ok()).unwrap_or(0).min(found.len());
    let to = found.len().min(from.saturating_add(ROWS));
    let shown = found.get(from..to).unwrap_or_default();
    let told = match (found.len(), shown.len()) {
        (0, _) => format!("None of the {} has that in its name or site.", grouped(all.len() as u64)),
        (some, part) if part < some => format!(
            "{} to {} of {}{}.",
            grouped(from as u64 + 1),
            grouped(to as u64),
            grouped(some as u64),
            if wanted.is_empty() { "" } else { " that were found" },
        ),
        (some, _) if some < all.len() => format!("{} of {}.", grouped(some as u64), grouped(all.len() as u64)),
        (some, _) => format!("All {}.", grouped(some as u64)),
    };
    let next =
        (to < found.len()).then(|| format!("{path}{}#tensors", query.query(&["q", "on"], ("from", &to.to_string()))));
    Tensors {
        all: all.len(),
        query: query.text("q"),
        told,
        rows: shown.iter().map(|tensor| row(tensor)).collect(),
        next,
    }
}

fn row(tensor: &TensorInfo) -> Row {
    let shape: Vec<String> = tensor.shape.iter().map(ToString::to_string).collect();
    Row {
        name: cut(&tensor.name, LETTERS),
        site: tensor.site.as_deref().map(|site| cut(site, LETTERS)),
        dtype: tensor.dtype.as_str(),
        shape: shape.join(" × "),
        bytes: Markup::bytes(tensor.bytes),
    }
}
