//! `batchnorm fold`: batch norms of a model file, folded into the layers beside them.

pub mod files;
mod map;
pub mod model;
mod reading;

use std::path::{Path, PathBuf};

use wgpu_batchnorm::checkpoint::CheckpointError;

use crate::Failure;
use crate::say::say;
use crate::table::Table;
use files::Files;
pub use map::Mapping;
use map::Order;
pub use model::InF32;
use model::Model;

/// Folds what the maps say, in their order, and writes the result when all is done.
pub fn run(options: &crate::Fold) -> crate::Outcome {
    let path = &options.model;
    let files = Files::read(path)?;
    let mut model = Model::open(&files, options.epsilon, options.no_affine)?;
    let target = target(options, &files)?;
    let mut table = Table::new(["batch norm", "goes into", "which runs", "channels", "epsilon", "bias"]);
    for mapping in mappings(options, &model.norms())? {
        let Mapping { norm, layer, order, .. } = &mapping;
        let folded = model.fold(&mapping).map_err(|error| about(path, &format!("{norm} into {layer}: {error}")))?;
        let order = if *order == Order::LayerFirst { "before it" } else { "after it" };
        let bias = if folded.bias_is_new { "new" } else { "changed" };
        table.row([norm, layer, order, &folded.channels.to_string(), &format!("{:e}", folded.epsilon), bias]);
    }
    let left = model.norms();
    let contents = model.contents(options.f32).map_err(|error| about(path, &error.to_string()))?;
    files.write(contents, &target, options.in_place)?;
    say!("{table}");
    if !left.is_empty() {
        say!("not mapped, and still there: {}", left.join(", "));
    }
    say!("written: {}", target.display());
    Ok(true)
}

/// The maps with their patterns filled in, if they can all be meant: a layer has at most one batch norm right before
/// it and one right after it, and a batch norm goes into the one layer before it, or into those after it.
fn mappings(options: &crate::Fold, norms: &[String]) -> Result<Vec<Mapping>, Failure> {
    let mut all: Vec<Mapping> = Vec::new();
    for given in &options.map {
        let expanded = given.expand(norms);
        if expanded.is_empty() {
            let problem = format!("no batch norm matches {}; there are: {}", given.norm, norms.join(", "));
            return Err(about(&options.model, &problem));
        }
        for mapping in expanded {
            if let Some(clash) = all.iter().find_map(|before| mapping.clashes(before)) {
                return Err(Failure::new(format!("--map: {clash}")));
            }
            all.push(mapping);
        }
    }
    Ok(all)
}

/// Where the result goes. The model itself is replaced on demand only.
fn target(options: &crate::Fold, files: &Files) -> Result<PathBuf, Failure> {
    let target = match &options.out {
        Some(out) => out.clone(),
        None if options.in_place => return Ok(options.model.clone()),
        None => files.default_target(),
    };
    if files.has(&target) {
        return Err(about(&target, "is the model itself; to replace it, say --in-place instead of --out"));
    }
    Ok(target)
}

impl From<CheckpointError> for Failure {
    fn from(error: CheckpointError) -> Self {
        Self::new(error.to_string())
    }
}

fn about(path: &Path, problem: &str) -> Failure {
    Failure::new(format!("{}: {problem}", path.display()))
}
