//! Rounding of what sites are fed, beside whatever is done to their maps.
//!
//! `x̂_tj = s_t round(x_tj / s_t)`, codes within ±127. `dynamic`: `s_t = max_j |x_tj| / 127` of every token as it comes, which
//! costs one more look at it. `static`: one `s` for all tokens, `max |x| / 127` over the calibration rows; what is beyond is cut
//! off, and one large feature takes the precision of all others, which a BERT has (Bondarenko et al. 2021, arXiv 2109.12948):
//! per token is the safe choice.
//!
//! Products are those of whole numbers where weights have 8 bits and one symmetric scale a row; with other codes the inputs are
//! rounded all the same, which is what such a file means to every reader, and multiplied in f32. Of two factors both are fed so;
//! what passes between them has a scale for every token. Tables are looked up, not multiplied with: they stay as they are.

use serde_json::{Map, Value};

use super::params::{Kind, ParamSpec};
use super::{Fallback, Fed, SiteAction, Streams};
use crate::engine::calibrate::Wanted;
use crate::engine::error::Result;
use crate::engine::model::linear::{Input, Linear};
use crate::engine::model::spec::SiteRole;
use crate::engine::model::{Dtype, InputForm, Layout, SiteSpec};

/// The parameter of methods that know this.
pub const PARAM: ParamSpec = ParamSpec {
    name: "activations",
    kind: Kind::Word(&["none", "dynamic", "static"], "none"),
    doc: "What happens to the inputs of linear maps. dynamic: 8 bits with a scale for every token. static: 8 bits with one scale, \
          the largest on calibration text over 127. Tables stay as they are. Fast with weights of 8 bits, one symmetric scale a row.",
};

/// How the scales of inputs are found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Scales {
    Dynamic,
    Static,
}

/// An action, with inputs rounded as the parameters say.
pub fn with(action: Box<dyn SiteAction>, params: &Map<String, Value>) -> Box<dyn SiteAction> {
    let scales = match params.get(PARAM.name).and_then(Value::as_str) {
        Some("dynamic") => Scales::Dynamic,
        Some("static") => Scales::Static,
        _ => return action,
    };
    Box::new(Activations { action, scales })
}

struct Activations {
    action: Box<dyn SiteAction>,
    scales: Scales,
}

/// What the scale of inputs is stored as: what those of the weights are.
fn scale_dtype(layout: &Layout) -> Dtype {
    match layout {
        Layout::Grouped { scale_dtype, .. } => *scale_dtype,
        Layout::Product { right, .. } => scale_dtype(right),
        _ => Dtype::F32,
    }
}

/// The largest distance over 127, as it will be stored: above 0 and finite. 1 where the site is fed zeros alone.
fn scale(largest: &[f32], dtype: Dtype) -> f32 {
    let scale = largest.iter().copied().fold(0f32, f32::max) / 127.0;
    if scale == 0.0 {
        return 1.0;
    }
    // The largest and the smallest that F16 holds
    let (low, high) = if dtype == Dtype::F16 { (5.960_464_5e-8, 65_504.0) } else { (f32::MIN_POSITIVE, f32::MAX) };
    dtype.rounded(scale.clamp(low, high)).clamp(low, high)
}

impl SiteAction for Activations {
    fn layout(&self, site: &SiteSpec, current: &Layout) -> std::result::Result<Layout, String> {
        self.action.layout(site, current)
    }

    fn input(&self, site: &SiteSpec, layout: &Layout, current: InputForm, is_run: bool) -> InputForm {
        match self.scales {
            _ if site.role == SiteRole::Embedding => current,
            Scales::Static if is_run => InputForm::StaticInt8 { scale_dtype: scale_dtype(layout) },
            _ => InputForm::DynamicInt8,
        }
    }

    fn wants(&self) -> Option<Wanted> {
        self.action.wants().or((self.scales == Scales::Static).then(Wanted::default))
    }

    fn follows(&self) -> bool {
        self.action.follows()
    }

    fn streams(&self) -> Streams {
        if self.scales == Scales::Static { Streams::No } else { self.action.streams() }
    }

    fn apply(&self, site: &SiteSpec, linear: &Linear, fed: Option<&Fed<'_>>) -> Result<(Linear, Vec<Fallback>)> {
        let (linear, mut fallbacks) = self.action.apply(site, linear, fed)?;
        let mut say = |what: &str, why: &str| {
            fallbacks.push(Fallback { site: site.site.clone(), what: what.to_owned(), why: why.to_owned() });
        };
        let layout = linear.map.layout();
        let input = match self.input(site, &layout, linear.input.form(), fed.is_some()) {
            InputForm::None => return Ok((linear, fallbacks)),
            InputForm::StaticInt8 { scale_dtype: dtype } => {
                if matches!(layout, Layout::Product { .. }) {
                    say("a scale for every token between its two factors", "what passes there is not calibrated");
                }
                Input::StaticInt8 { scale: scale(fed.map_or(&[], |fed| fed.fit.largest.as_slice()), dtype), dtype }
            }
            InputForm::DynamicInt8 => {
                if self.scales == Scales::Static {
                    let why =
                        "nothing is known of what this site is fed: the model can't be run, or no answer comes by it";
                    say("a scale for every token", why);
                }
                Input::DynamicInt8
            }
        };
        Ok((Linear { input, ..linear }, fallbacks))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_static_scale_is_one_that_its_type_holds() {
        assert_eq!(scale(&[0.0, 12.7, 3.0], Dtype::F32), 12.7 / 127.0);
        assert_eq!(scale(&[0.0, 12.7], Dtype::F16), Dtype::F16.rounded(0.1));
        assert_eq!(scale(&[0.0], Dtype::F16), 1.0);
        for largest in [1e-30, 1e30] {
            let scale = scale(&[largest], Dtype::F16);
            assert!(scale > 0.0 && scale.is_finite() && Dtype::F16.rounded(scale) == scale, "{scale}");
        }
        assert!(scale(&[f32::MAX], Dtype::BF16).is_finite());
    }
}
