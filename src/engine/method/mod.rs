//! Compression methods: an open set. A new one is a file here and a line in [`METHODS`].
//!
//! From the one definition come the capabilities of the API, `pare methods`, the README's table, the check of
//! parameters, and the conformance tests.

pub mod activations;
mod centered;
pub mod factorize;
pub mod feedback;
pub mod fold;
pub mod gptq;
mod judged;
pub mod params;
pub mod quantize;
pub mod range;
pub mod share;

use serde_json::{Map, Value, json};

use super::calibrate::{Moments, Wanted};
use super::error::Result;
use super::model::build::Model;
use super::model::linear::{Linear, LinearMap};
use super::model::{InputForm, Layout, SiteSpec};
use super::problem::Problem;
pub use super::report::Fallback;
use params::ParamSpec;

/// What a method needs besides the model.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Needs {
    /// The weights alone.
    Nothing,
    /// Text to take statistics from.
    Calibration,
    /// Text of the task to train on.
    TrainingText,
    /// Labelled text.
    Labels,
}

impl Needs {
    /// As it stands in JSON and tables.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Nothing => "nothing",
            Self::Calibration => "calibration",
            Self::TrainingText => "training_text",
            Self::Labels => "labels",
        }
    }
}

/// What a method is: written once, shown everywhere.
pub struct MethodSpec {
    /// Its name in recipes.
    pub name: &'static str,
    /// `quantization`, `low_rank`, `exact`, ….
    pub family: &'static str,
    /// One sentence.
    pub summary: &'static str,
    /// Where it comes from.
    pub source: &'static str,
    /// What it needs besides the model.
    pub needs: Needs,
    /// Its parameters.
    pub params: &'static [ParamSpec],
    /// Sites that it works on where a stage names none.
    pub default_targets: &'static [&'static str],
}

/// One technique.
pub trait Method: Sync {
    /// What it is.
    fn spec(&self) -> &'static MethodSpec;

    /// Binds parameters, all of them present and checked against [`MethodSpec::params`].
    ///
    /// # Errors
    ///
    /// Combinations that are not allowed; pointers are relative to the stage's `params`.
    fn bind(&self, params: &Map<String, Value>) -> std::result::Result<Action, Vec<Problem>>;
}

/// A method with its parameters.
pub enum Action {
    /// Works on one site at a time.
    Site(Box<dyn SiteAction>),
    /// Works on the whole model.
    Model(Box<dyn ModelAction>),
}

impl Action {
    /// What must be known of what sites are fed; `None`: nothing.
    pub fn wants(&self) -> Option<Wanted> {
        match self {
            Self::Site(action) => action.wants(),
            Self::Model(_) => None,
        }
    }
}

/// How little of a model an action must see at a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Streams {
    /// All of it, or what it is fed.
    No,
    /// One map. Its bias stays.
    Maps,
    /// Some rows of a plain matrix: what becomes of a row depends on that row alone. Its bias stays.
    Rows,
}

/// Changes one site's map.
pub trait SiteAction: Send + Sync {
    /// The layout that it will leave behind; reads no weights.
    ///
    /// # Errors
    ///
    /// Why it can't work on such a site.
    fn layout(&self, site: &SiteSpec, current: &Layout) -> std::result::Result<Layout, String>;

    /// What will happen to the site's input first, `layout` being what its map becomes; `is_run`: whether answers come by
    /// the site when the model is run, so that it is known what it is fed. Stays as it is where an action does not say.
    fn input(&self, _site: &SiteSpec, _layout: &Layout, current: InputForm, _is_run: bool) -> InputForm {
        current
    }

    /// What must be known of what sites are fed; `None`: nothing.
    fn wants(&self) -> Option<Wanted> {
        None
    }

    /// Whether a site must be fed what comes out of those that were changed before it. Then both models go side by side,
    /// the original and the one on its way, and sums are taken anew after every change: `cross` is then of the two.
    fn follows(&self) -> bool {
        false
    }

    /// Whether maps can be handed over one by one, or some rows at a time, without the model.
    fn streams(&self) -> Streams;

    /// The map in its new form, and what was not done as asked. `fed` is what the site is fed, where that was wanted and
    /// could be had: tables and families that can't be run are fed nothing.
    fn apply(&self, site: &SiteSpec, linear: &Linear, fed: Option<&Fed<'_>>) -> Result<(Linear, Vec<Fallback>)>;
}

/// What is known of what a site is fed.
#[derive(Debug, Clone, Copy)]
pub struct Fed<'a> {
    /// On the rows that are fitted to.
    pub fit: &'a Moments,
    /// On the rows that choices are made on: taken where sites follow each other ([`SiteAction::follows`]), and there are any.
    pub held_out: Option<&'a Moments>,
    /// The original's map, where sites follow each other and it still has this shape.
    pub original: Option<&'a LinearMap>,
}

impl<'a> Fed<'a> {
    /// Sums over rows that are fitted to, and nothing else.
    pub const fn of(fit: &'a Moments) -> Self {
        Self { fit, held_out: None, original: None }
    }
}

/// Changes several sites together.
pub trait ModelAction: Send + Sync {
    /// The layouts that it will leave behind, for all of the model's sites in order.
    ///
    /// # Errors
    ///
    /// Why it can't work on such a model.
    fn layouts(&self, sites: &[SiteSpec], current: &[Layout]) -> std::result::Result<Vec<Layout>, String>;

    /// The model in its new form, and what was not done as asked. `targets` are indices into its sites.
    fn apply(&self, model: &Model, targets: &[usize]) -> Result<(Model, Vec<Fallback>)>;
}

impl Fallback {
    /// Said of a site of whose scales some had to be raised.
    fn raised(site: &str, count: usize) -> Option<Self> {
        (count > 0).then(|| Self {
            site: site.to_owned(),
            what: format!("{count} scales raised to the smallest that is stored"),
            why: "the weights of these groups are too small for the type of the scales".to_owned(),
        })
    }

    /// Takes up what another part of the same site tells: whether it is the same, or a count of the same, which adds up.
    pub fn join(&mut self, other: &Self) -> bool {
        let counted = |what: &str| {
            let (count, of) = what.split_once(' ')?;
            Some((count.parse::<usize>().ok()?, of.to_owned()))
        };
        match (counted(&self.what), counted(&other.what)) {
            (Some((a, of)), Some((b, same))) if of == same && self.site == other.site && self.why == other.why => {
                self.what = format!("{} {of}", a.saturating_add(b));
                true
            }
            _ => self == other,
        }
    }
}

/// Every method.
pub static METHODS: &[&dyn Method] =
    &[&quantize::Quantize, &gptq::Gptq, &share::Share, &factorize::Factorize, &fold::Fold];

/// The method with that name.
pub fn find(name: &str) -> Option<&'static dyn Method> {
    METHODS.iter().copied().find(|method| method.spec().name == name)
}

/// Every method with the JSON Schema of its parameters.
pub fn capabilities() -> Value {
    let method = |spec: &MethodSpec| {
        json!({
            "name": spec.name,
            "family": spec.family,
            "summary": spec.summary,
            "source": spec.source,
            "needs": spec.needs.as_str(),
            "default_targets": spec.default_targets,
            "params": params::schema(spec.params),
        })
    };
    METHODS.iter().map(|m| method(m.spec())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_of_a_site_tell_a_thing_once_and_their_counts_add_up() {
        let counted = |site: &str, count| Fallback::raised(site, count).unwrap();
        let mut whole = counted("a", 3);
        assert!(whole.join(&counted("a", 3)) && whole.join(&counted("a", 39)));
        assert_eq!(whole, counted("a", 45));
        assert!(!whole.join(&counted("b", 1)));
        let said = |what: &str| Fallback { site: "a".into(), what: what.into(), why: "so".into() };
        let mut whole = said("rounded to nearest");
        assert!(whole.join(&said("rounded to nearest")) && !whole.join(&said("rounded up")));
        assert_eq!(whole, said("rounded to nearest"));
    }
}
