//! Options of a form's lists.

use super::show::{cut, short_id};
use crate::db::UploadState;
use crate::db::names::Named;

/// An option.
pub(super) struct Choice {
    pub(super) value: String,
    pub(super) text: String,
    pub(super) is_chosen: bool,
}

/// Models or datasets by name; those that share one are told apart by their ids.
pub(super) fn of(named: &[Named], prefix: &str, chosen: Option<&str>) -> Vec<Choice> {
    let is_shared = |name: &str| named.iter().filter(|other| other.name == name).count() > 1;
    let mut choices: Vec<Choice> = named
        .iter()
        .map(|one| {
            let value = format!("{prefix}_{}", one.id.hyphenated());
            let mut text = cut(&one.name, 80);
            if is_shared(&one.name) {
                text.push_str(&format!(" ({})", short_id(&value)));
            }
            if one.state == UploadState::Validating {
                text.push_str(" (being checked)");
            }
            Choice { is_chosen: chosen == Some(value.as_str()), value, text }
        })
        .collect();
    // one that is older than those in the list was chosen all the same
    if let Some(chosen) = chosen.filter(|_| !choices.iter().any(|one| one.is_chosen)) {
        choices.push(Choice { value: chosen.to_owned(), text: short_id(chosen), is_chosen: true });
    }
    choices
}
