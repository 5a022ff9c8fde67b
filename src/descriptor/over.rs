//! What has statistics of its own, and what corrects them.

/// What shares one mean and one variance a channel, in training.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Over {
    /// The whole batch.
    #[default]
    Batch,
    /// Groups of this many samples, the last one of what remains: ghost batch norm (Hoffer, Hubara and Soudry
    /// 2017, "Train longer, generalize better", algorithm 1). The running statistics take the groups one
    /// after the other, each as a batch of its own (which is how the batch counter counts them).
    Groups {
        /// Samples of a group.
        samples: usize,
    },
    /// Each step of the one axis that is neither batch nor channel (`[N, C, T]` or `[N, T, C]`): recurrent batch
    /// norm (Cooijmans et al. 2016). There are running statistics for each of `kept` steps, in memory as
    /// `[kept, C]`; later steps are normalised by the last of them in inference, and leave them alone in training.
    /// Step by step it is a batch norm of `[N, C]` each, on that step's range of the running statistics.
    Steps {
        /// Steps that have running statistics of their own.
        kept: usize,
    },
}

/// Batch renormalization (Ioffe 2017): training normalises by the batch, then corrects towards the running
/// statistics, as far as these bounds allow. With σ_b = √(σ²+ε) of the batch, μ_r and σ_r = √(σ_r²+ε) of the
/// running statistics before they move,
/// r = clamp(σ_b/σ_r, 1/r_max, r_max), d = clamp((μ−μ_r)/σ_r, −d_max, d_max), y = γ·(x̂·r + d) + β; the
/// gradient takes r and d as constants. With r_max = 1 and d_max = 0 it is batch norm. (Computed as x̂·γr + (γd + β), as
/// TensorFlow does: where γ is infinite, y may be NaN.)
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Renorm {
    /// r_max, at least 1 (the paper ends at 3); infinite for no bound.
    pub r_max: f32,
    /// d_max, at least 0 (the paper ends at 5); infinite for no bound.
    pub d_max: f32,
}
