//! The table of a sensitivity job, made again.

use super::files::Inputs;
use super::{Checker, Effort};
use crate::engine::error::Result;
use crate::engine::plan;
use crate::engine::recipe::Recipe;
use crate::engine::run::{evaluate, sensitivity};

impl Checker<'_> {
    /// A job that tried every site alone. Its table comes again by trying them all, and in no other way.
    pub(super) fn table(&mut self, recipe: &Recipe, inputs: &Inputs) -> Result<()> {
        let opened = self.attempt("/model", "the model can be opened", evaluate::open(&inputs.model, self.ctx))?;
        let Some(opened) = opened else { return self.only_own("the model can't be opened") };
        let header = &opened.inspected.header;
        self.summary(header);
        let Some(available) = self.available(&inputs.datasets)? else { return self.only_own("data can't be read") };
        let planned = self.plan(recipe, (header, &available), plan::sensitivity::plan)?;
        let Some((recipe, _)) = planned else { return self.only_own("the recipe can't be resolved") };
        if self.effort < Effort::Recompress {
            let found = evaluate::outcome(&inputs.model, &opened, None, None, None)?;
            self.part("/result/after", "sizes of the model", &found.after, &[]);
            self.part("/result/sites", "sites: bytes and form", &found.sites, &[]);
            self.part("/result/bytes_by_category", "bytes by category", &found.bytes_by_category, &[]);
            let why = "--recompress tries every change again";
            self.not_checked("/result/sensitivity", "the table of sensitivity", why);
            return Ok(());
        }
        if let Some(why) = self.no_inputs(&inputs.datasets) {
            return self.only_own(&why);
        }
        let asked =
            sensitivity::Asked { source: &inputs.model, recipe: &recipe, plan: None, datasets: &inputs.datasets };
        let again = sensitivity::measure(&asked, None, self.ctx);
        if let Some(again) = self.attempt("/result", "every change is tried again", again)? {
            self.how(&again.provenance);
            self.whole(&again.result);
        }
        Ok(())
    }
}
