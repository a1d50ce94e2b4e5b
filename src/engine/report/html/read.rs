//! Reading of JSON that may be anything.

use serde_json::Value;

use super::format::escape;
pub(super) use crate::engine::problem::escape_pointer as segment;

/// A report, read by JSON pointers. A value that is missing, `null` or of another type is `None`.
pub(super) struct Doc<'a> {
    root: &'a Value,
}

impl<'a> Doc<'a> {
    pub(super) fn new(root: &'a Value) -> Self {
        Self { root }
    }

    /// What is there and not `null`.
    pub(super) fn get(&self, pointer: &str) -> Option<&'a Value> {
        self.root.pointer(pointer).filter(|value| !value.is_null())
    }

    pub(super) fn number(&self, pointer: &str) -> Option<f64> {
        self.get(pointer).and_then(Value::as_f64).filter(|number| number.is_finite())
    }

    pub(super) fn whole(&self, pointer: &str) -> Option<u64> {
        self.get(pointer).and_then(Value::as_u64)
    }

    pub(super) fn text(&self, pointer: &str) -> Option<&'a str> {
        self.get(pointer).and_then(Value::as_str)
    }

    pub(super) fn flag(&self, pointer: &str) -> Option<bool> {
        self.get(pointer).and_then(Value::as_bool)
    }

    /// How many items the list at `pointer` has; 0 where there is none.
    pub(super) fn len(&self, pointer: &str) -> usize {
        self.get(pointer).and_then(Value::as_array).map_or(0, Vec::len)
    }

    /// The names in the object at `pointer`, in its order.
    pub(super) fn keys(&self, pointer: &str) -> Vec<&'a str> {
        let object = self.get(pointer).and_then(Value::as_object);
        object.into_iter().flat_map(|object| object.keys().map(String::as_str)).collect()
    }

    /// Why there is nothing at `pointer`: its own reason, or a parent's.
    pub(super) fn reason(&self, pointer: &str) -> Option<&'a str> {
        let reasons = self.get("/unmeasured")?.as_object()?;
        let parents = pointer.match_indices('/').rev().filter_map(|(at, _)| pointer.get(..at));
        std::iter::once(pointer).chain(parents).find_map(|pointer| reasons.get(pointer)?.as_str())
    }

    /// A value as `show` writes it (HTML), or a dash that tells the reason.
    pub(super) fn or_dash<T>(&self, value: Option<T>, pointer: &str, show: impl FnOnce(T) -> String) -> String {
        value.map_or_else(
            || {
                let reason = self.reason(pointer).unwrap_or("not measured");
                format!("<span class=\"none\" title=\"{}\">–</span>", escape(reason))
            },
            show,
        )
    }

    /// The number at `pointer` as `show` writes it, or a dash that tells the reason.
    pub(super) fn show(&self, pointer: &str, show: impl FnOnce(f64) -> String) -> String {
        self.or_dash(self.number(pointer), pointer, show)
    }

    /// The escaped text at `pointer`, or a dash that tells the reason.
    pub(super) fn show_text(&self, pointer: &str) -> String {
        self.or_dash(self.text(pointer), pointer, escape)
    }

    /// Whether nothing was compressed: a model was measured as it is.
    pub(super) fn is_measured_only(&self) -> bool {
        let is_table = self.len("/result/sensitivity") > 0;
        (self.get("/recipe").is_none() || is_table) && self.len("/result/stages") == 0
    }

    /// What the two models are called.
    pub(super) fn sides(&self) -> (&'static str, &'static str) {
        if self.is_measured_only() { ("reference", "this model") } else { ("original", "result") }
    }

    /// The metric that the page speaks of: the verdict's, else accuracy, else the first that was measured.
    pub(super) fn metric(&self) -> Option<&'a str> {
        let measured = self.keys("/result/after/quality");
        let of = |name: &str| measured.iter().copied().find(|metric| *metric == name);
        self.text("/result/verdict/metric").and_then(of).or_else(|| of("accuracy")).or(measured.first().copied())
    }
}
