//! Runs a job's task. The verbs of the engine, behind one door.

mod allocated;
mod assemble;
mod bins;
mod calibrated;
mod checkpointed;
mod compress;
mod distance;
mod evaluate;
mod files;
mod following;
mod measure;
mod origin;
mod outputs;
mod reasons;
mod sensitivity;
mod sides;
mod streamed;
mod validate;
pub mod verify;

use super::context::RunContext;
use super::error::EngineError;
use super::job::{Input, Output, Task};

pub use compress::{OUT, available};
pub use evaluate::{Evaluated, evaluate_files};

/// Runs a task. Files are left in `<scratch>/out`.
///
/// # Errors
///
/// Only what another try may mend: being stopped, and the machine's own failures. What is wrong with what was given is
/// an [`Output`].
pub fn run(input: &Input, ctx: &RunContext<'_>) -> Result<Output, EngineError> {
    let done = match &input.task {
        Task::ValidateModel { model } => validate::model(model, ctx).or_else(invalid),
        Task::ValidateDataset { dataset } => validate::dataset(dataset).or_else(invalid),
        Task::Compress { model, recipe, plan, datasets } => {
            compress::compress(model, recipe, plan.as_ref(), datasets, ctx).map(|files| Output::Files { files })
        }
        Task::Evaluate { model, reference, evaluate, datasets } => {
            evaluate::evaluate(model, reference.as_ref(), evaluate, datasets, ctx).map(|files| Output::Files { files })
        }
        Task::Sensitivity { model, recipe, plan, datasets, earlier } => {
            let asked = sensitivity::Asked { source: model, recipe, plan: plan.as_ref(), datasets };
            sensitivity::sensitivity(&asked, earlier.as_deref(), ctx).map(|files| Output::Files { files })
        }
    };
    match done {
        Err(EngineError::Invalid(problems)) => Ok(Output::Failed { problems }),
        other => other,
    }
}

fn invalid(error: EngineError) -> Result<Output, EngineError> {
    match error {
        EngineError::Invalid(problems) => Ok(Output::Invalid { problems }),
        other => Err(other),
    }
}
