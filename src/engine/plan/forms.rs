//! What a plan leaves behind, site by site.

use super::Plan;
use crate::engine::method::{self, Action};
use crate::engine::model::{Forms, ModelHeader, SiteSpec};

/// The forms after a plan's last stage, in the order of the model's sites. `None` where the plan is another model's.
///
/// Reads no weights; linear in the sites of each stage.
pub fn forms(plan: &Plan, header: &ModelHeader) -> Option<Forms> {
    let sites: Vec<SiteSpec> = header.sites.iter().map(|site| site.spec.clone()).collect();
    let mut forms = Forms::of(header);
    for stage in &plan.stages {
        let targets: std::collections::HashSet<&str> = stage.sites.iter().map(String::as_str).collect();
        match method::find(&stage.method)?.bind(stage.params.as_object()?).ok()? {
            Action::Site(action) => {
                let forms = forms.layouts.iter_mut().zip(&mut forms.inputs);
                for (site, (layout, input)) in
                    sites.iter().zip(forms).filter(|(s, _)| targets.contains(s.site.as_str()))
                {
                    *layout = action.layout(site, layout).ok()?;
                    *input = action.input(site, layout, *input, header.reads(site));
                }
            }
            Action::Model(action) => forms.layouts = action.layouts(&sites, &forms.layouts).ok()?,
        }
    }
    Some(forms)
}
