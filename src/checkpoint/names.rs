//! Who calls the tensors of a batch norm what.

/// The tensors of one batch norm in a file, by their whole names.
///
/// | who | γ | β | mean | variance | counter |
/// |---|---|---|---|---|---|
/// | PyTorch | `weight` | `bias` | `running_mean` | `running_var` | `num_batches_tracked` |
/// | Keras, TensorFlow | `gamma` | `beta` | `moving_mean` | `moving_variance` | |
/// | Flax | `scale` | `bias` | `mean` | `var` | |
///
/// Names stand behind a prefix that ends with a dot or a slash, such as `layer1.0.bn1.` or `model/bn1/`. A `:0` behind
/// them, as TensorFlow's variables have it, may be there. What Flax keeps in two collections is looked for in both,
/// `params.bn1.scale` and `batch_stats.bn1.mean`: there the prefix is what both have in common, `bn1.`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Names {
    /// Who calls them so.
    pub framework: Framework,
    /// γ.
    pub gamma: String,
    /// β.
    pub beta: String,
    /// The running mean.
    pub mean: String,
    /// The running variance.
    pub variance: String,
    /// The batch counter, which only PyTorch has.
    pub counter: Option<String>,
}

/// Whose names a file has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Framework {
    /// PyTorch.
    PyTorch,
    /// Keras and TensorFlow.
    Keras,
    /// Flax.
    Flax,
}

impl Framework {
    const ALL: [Self; 3] = [Self::PyTorch, Self::Keras, Self::Flax];

    /// ε of its batch norm unless it is told another: files do not hold it.
    pub const fn epsilon(self) -> f64 {
        match self {
            Self::Keras => 1e-3,
            Self::PyTorch | Self::Flax => 1e-5,
        }
    }

    /// γ, β, mean, variance.
    const fn parts(self) -> [&'static str; 4] {
        match self {
            Self::PyTorch => ["weight", "bias", "running_mean", "running_var"],
            Self::Keras => ["gamma", "beta", "moving_mean", "moving_variance"],
            Self::Flax => ["scale", "bias", "mean", "var"],
        }
    }
}

/// The collections that Flax keeps parameters and statistics in.
const PARAMETERS: &str = "params";
const STATISTICS: &str = "batch_stats";
const SEPARATORS: [char; 2] = ['.', '/'];
/// What may stand behind every name.
const ENDINGS: [&str; 2] = ["", ":0"];

impl Names {
    /// The tensors behind a prefix, by the framework whose names the file has there, or by PyTorch's if none.
    pub fn find(has: impl Fn(&str) -> bool, prefix: &str) -> Self {
        let all: Vec<Self> = Framework::ALL.into_iter().flat_map(|it| Self::possible(it, prefix)).collect();
        // `bias` is two frameworks'.
        let own = |names: &Self| names.all().filter(|name| has(name) && *name != names.beta).count();
        // The last of equals is the one that comes back: the first in order.
        let most = all.into_iter().rev().max_by_key(own).filter(|names| own(names) > 0);
        most.unwrap_or_else(|| Self::with(Framework::PyTorch, [prefix, prefix], ""))
    }

    /// The prefixes of all batch norms among these tensors, in alphabetical order.
    pub fn prefixes<'a>(tensors: impl IntoIterator<Item = &'a str> + Clone) -> Vec<String> {
        let all: std::collections::BTreeSet<&str> = tensors.clone().into_iter().collect();
        let prefix = |name: &str| {
            let name = ENDINGS.iter().rev().find_map(|ending| name.strip_suffix(ending)).unwrap_or(name);
            Framework::ALL.into_iter().find_map(|framework| {
                let prefix = name.strip_suffix(framework.parts()[2])?;
                let prefix = (prefix.is_empty() || prefix.ends_with(SEPARATORS)).then_some(prefix)?;
                // Others have something called `mean`.
                let names = Self::find(|name| all.contains(name), prefix);
                let prefix = if framework == Framework::Flax { common(prefix) } else { prefix };
                (framework == Framework::PyTorch || all.contains(names.variance.as_str())).then(|| prefix.to_owned())
            })
        };
        let found: std::collections::BTreeSet<String> = tensors.into_iter().filter_map(prefix).collect();
        found.into_iter().collect()
    }

    /// All ways in which a framework may have written them.
    fn possible(framework: Framework, prefix: &str) -> impl Iterator<Item = Self> {
        let mut prefixes = vec![[prefix.to_owned(), prefix.to_owned()]];
        if framework == Framework::Flax {
            let separator = prefix.chars().next_back();
            for separator in SEPARATORS.into_iter().filter(|any| separator.is_none_or(|one| one == *any)) {
                prefixes.push([PARAMETERS, STATISTICS].map(|name| format!("{name}{separator}{}", common(prefix))));
            }
        }
        let with = move |[parameters, statistics]: [String; 2]| {
            ENDINGS.map(|ending| Self::with(framework, [&parameters, &statistics], ending))
        };
        prefixes.into_iter().flat_map(with)
    }

    fn with(framework: Framework, [parameters, statistics]: [&str; 2], ending: &str) -> Self {
        let [gamma, beta, mean, variance] = framework.parts();
        let counter = (framework == Framework::PyTorch).then(|| format!("{parameters}num_batches_tracked"));
        let [gamma, beta] = [gamma, beta].map(|part| format!("{parameters}{part}{ending}"));
        let [mean, variance] = [mean, variance].map(|part| format!("{statistics}{part}{ending}"));
        Self { framework, gamma, beta, mean, variance, counter }
    }

    /// All of them.
    pub fn all(&self) -> impl Iterator<Item = &str> {
        [&self.gamma, &self.beta, &self.mean, &self.variance].into_iter().chain(&self.counter).map(String::as_str)
    }
}

/// A prefix without the collection that it may begin with.
fn common(prefix: &str) -> &str {
    let collection = |name| prefix.strip_prefix(name)?.strip_prefix(SEPARATORS);
    [PARAMETERS, STATISTICS].into_iter().find_map(collection).unwrap_or(prefix)
}

#[cfg(test)]
mod tests {
    use super::{Framework, Names};

    fn found(tensors: &[&str]) -> Vec<(String, Framework)> {
        let has = |name: &str| tensors.contains(&name);
        let framework = |prefix: String| {
            let names = Names::find(has, &prefix);
            assert!([&names.mean, &names.variance].into_iter().all(|name| has(name)), "{names:?}");
            (prefix, names.framework)
        };
        Names::prefixes(tensors.iter().copied()).into_iter().map(framework).collect()
    }

    #[test]
    fn every_frameworks_batch_norms_are_found() {
        for (tensors, prefix, framework) in [
            (["bn.running_mean", "bn.running_var"], "bn.", Framework::PyTorch),
            (["params.running_mean", "params.running_var"], "params.", Framework::PyTorch),
            (["running_mean", "running_var"], "", Framework::PyTorch),
            (["m/bn/moving_mean", "m/bn/moving_variance"], "m/bn/", Framework::Keras),
            (["m/bn/moving_mean:0", "m/bn/moving_variance:0"], "m/bn/", Framework::Keras),
            (["bn.mean", "bn.var"], "bn.", Framework::Flax),
            (["batch_stats.a.bn.mean", "batch_stats.a.bn.var"], "a.bn.", Framework::Flax),
            (["batch_stats/bn/mean", "batch_stats/bn/var"], "bn/", Framework::Flax),
            (["batch_stats/mean", "batch_stats/var"], "", Framework::Flax),
        ] {
            assert_eq!(found(&tensors), [(prefix.to_owned(), framework)], "{tensors:?}");
        }
        let none = ["image.mean", "x.bias", "y.scale", "not_running_mean", "z/moving_mean"];
        assert!(Names::prefixes(none).is_empty());
    }

    #[test]
    fn parameters_are_where_their_framework_has_them() {
        let tensors = ["batch_stats.bn.mean", "batch_stats.bn.var", "params.bn.scale", "params.bn.bias"];
        for prefix in ["bn.", "params.bn.", "batch_stats.bn."] {
            let names = Names::find(|name| tensors.contains(&name), prefix);
            assert!(names.all().all(|name| tensors.contains(&name)), "{prefix}: {names:?}");
        }
        // What is not there at all has the names of this library's own files.
        assert_eq!(Names::find(|_| false, "bn.").mean, "bn.running_mean");
    }
}
