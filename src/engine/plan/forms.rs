//! What a plan leaves behind, site by site.

use super::Plan;
use crate::engine::method::{self, Action};
use crate::engine::model::{Layout, ModelHeader, SiteSpec};

/// The layouts after a plan's last stage, in the order of the model's sites. `None` where the plan is another model's.
///
/// Reads no weights; linear in the sites of each stage.
pub fn layouts(plan: &Plan, header: &ModelHeader) -> Option<Vec<Layout>> {
    let sites: Vec<SiteSpec> = header.sites.iter().map(|site| site.spec.clone()).collect();
    let mut layouts: Vec<Layout> = header.sites.iter().map(|site| site.layout.clone()).collect();
    for stage in &plan.stages {
        let targets: std::collections::HashSet<&str> = stage.sites.iter().map(String::as_str).collect();
        match method::find(&stage.method)?.bind(stage.params.as_object()?).ok()? {
            Action::Site(action) => {
                for (site, layout) in sites.iter().zip(&mut layouts).filter(|(s, _)| targets.contains(s.site.as_str()))
                {
                    *layout = action.layout(site, layout).ok()?;
                }
            }
            Action::Model(action) => layouts = action.layouts(&sites, &layouts).ok()?,
        }
    }
    Some(layouts)
}
