//! PyTorch's module constructors as error cases write them: `BatchNorm2d(3, eps=0.001)`.

use wgpu_batchnorm::verify::Problem;

use super::file::Case;

/// A module as it is after construction.
#[derive(Clone, Debug, PartialEq)]
pub struct Module {
    pub name: String,
    /// The numbers of axes that it takes.
    pub ranks: &'static [usize],
    pub epsilon: Option<f64>,
    pub momentum: Option<f64>,
    channels: usize,
    affine: bool,
    bias: bool,
    tracks: bool,
}

impl Module {
    /// The module of this text; `None` where it is none that is known.
    pub fn parse(text: &str) -> Option<Self> {
        let (path, arguments) = text.trim().strip_suffix(')')?.split_once('(')?;
        let name = path.rsplit('.').next()?.to_owned();
        let ranks = match name.as_str() {
            "BatchNorm1d" => &[2, 3][..],
            "BatchNorm2d" => &[4],
            "BatchNorm3d" => &[5],
            _ => return None,
        };
        let mut module =
            Self { name, ranks, epsilon: None, momentum: None, channels: 0, affine: true, bias: true, tracks: true };
        let order = ["num_features", "eps", "momentum", "affine", "track_running_stats"];
        for (position, argument) in arguments.split(',').enumerate() {
            let (key, value) = match argument.split_once('=') {
                Some((key, value)) => (key.trim(), value.trim()),
                None => (*order.get(position)?, argument.trim()),
            };
            match key {
                "num_features" => module.channels = value.parse().ok()?,
                "eps" => module.epsilon = Some(value.parse().ok()?),
                "momentum" => module.momentum = Some(value.parse().ok()?),
                "affine" => module.affine = flag(value)?,
                "bias" => module.bias = flag(value)?,
                "track_running_stats" => module.tracks = flag(value)?,
                _ => return None,
            }
        }
        Some(module)
    }

    /// The ranks for a reader: `2 or 3`.
    pub fn ranks(&self) -> String {
        self.ranks.iter().map(usize::to_string).collect::<Vec<_>>().join(" or ")
    }

    /// The module's own parameters and statistics for a problem, where the case does not give them.
    pub fn fill(&self, case: &Case, problem: &mut Problem) {
        let gamma = case.has("in.gamma");
        if self.affine && !gamma {
            problem.gamma = vec![1.0; self.channels];
        }
        let filled = |values: &mut Vec<f32>, value: f32, has: bool| {
            if has && values.is_empty() {
                *values = vec![value; self.channels];
            }
        };
        filled(&mut problem.beta, 0.0, self.affine && self.bias);
        filled(&mut problem.running_mean, 0.0, self.tracks);
        filled(&mut problem.running_variance, 1.0, self.tracks);
        problem.descriptor = problem.descriptor.clone().affine(self.affine || gamma, !problem.beta.is_empty());
    }
}

fn flag(value: &str) -> Option<bool> {
    match value {
        "True" => Some(true),
        "False" => Some(false),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::Module;

    #[test]
    fn constructors_are_read() {
        let plain = Module::parse("BatchNorm2d(3)").unwrap();
        assert_eq!((plain.name.as_str(), plain.ranks, plain.channels), ("BatchNorm2d", &[4][..], 3));
        assert_eq!((plain.epsilon, plain.momentum, plain.affine, plain.tracks), (None, None, true, true));
        let full =
            Module::parse("nn.BatchNorm1d(5, 0.001, momentum=0.3, affine=False, track_running_stats=False)").unwrap();
        assert_eq!((full.ranks, full.channels), (&[2, 3][..], 5));
        assert_eq!((full.epsilon, full.momentum, full.affine, full.tracks), (Some(0.001), Some(0.3), false, false));
        assert_eq!((plain.ranks(), full.ranks()), ("4".to_owned(), "2 or 3".to_owned()));
        for unknown in ["GroupNorm(3)", "BatchNorm2d", "BatchNorm2d(three)", "BatchNorm2d(3, affine=maybe)"] {
            assert_eq!(Module::parse(unknown), None, "{unknown}");
        }
    }
}
