//! What stands at the sites of a model, without numbers: what planning is a fold of, and what files are laid out by.

use super::build::Model;
use super::input::InputForm;
use super::layout::Layout;
use super::{ModelHeader, SiteHeader};

/// The forms of all sites, in the model's order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Forms {
    /// Of the maps.
    pub layouts: Vec<Layout>,
    /// Of what happens to their inputs; as many.
    pub inputs: Vec<InputForm>,
}

impl Forms {
    /// As a model's files have them.
    pub fn of(header: &ModelHeader) -> Self {
        let one = |site: &SiteHeader| (site.layout.clone(), site.input);
        let (layouts, inputs) = header.sites.iter().map(one).unzip();
        Self { layouts, inputs }
    }

    /// As a model in memory has them.
    pub fn of_model(model: &Model) -> Self {
        let (layouts, inputs) = model.maps.iter().map(|linear| (linear.map.layout(), linear.input.form())).unzip();
        Self { layouts, inputs }
    }

    /// Both, site by site.
    pub fn iter(&self) -> impl Iterator<Item = (&Layout, InputForm)> {
        self.layouts.iter().zip(self.inputs.iter().copied())
    }
}
