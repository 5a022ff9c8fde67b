//! Ways of computing: the numbers and choices that reach each family of kernels, and where the buffers are.

use wgpu_batchnorm::recipe::Regime;
use wgpu_batchnorm::shader::Tile;
use wgpu_batchnorm::tuning::{Order, Tuning};
use wgpu_batchnorm::verify::Placement;
use wgpu_batchnorm::{Choice, Kernels};

/// How it is computed, and where its buffers are.
#[derive(Clone, Copy)]
pub struct Way {
    /// The numbers to choose by, where not the adapter's own.
    pub tuning: Option<Tuning>,
    pub choice: Choice,
    pub placement: Placement,
}

impl Way {
    /// What the recipe chooses by itself, each tensor in a buffer of its own.
    pub const BY_RULE: Self = Self { tuning: None, choice: BY_RULE, placement: Placement::Separate };

    pub fn choosing(choice: Choice) -> Self {
        Self { choice, ..Self::BY_RULE }
    }

    pub fn tuned(tuning: Tuning) -> Self {
        Self { tuning: Some(tuning), ..Self::BY_RULE }
    }

    /// The adapter's kernels, choosing this way.
    pub fn kernels(&self, kernels: &Kernels) -> Kernels {
        let kernels = kernels.choosing(self.choice);
        self.tuning.map_or_else(|| kernels.clone(), |tuning| kernels.tuned(tuning))
    }
}

pub const BY_RULE: Choice = Choice { regime: None, wide: None, tile: None, order: None, parts: None };

pub fn placed(placement: Placement) -> Vec<Way> {
    regimes().map(|choice| Way { choice, placement, ..Way::BY_RULE }).to_vec()
}

/// Resident in workgroups of a size that every device has, whatever its rule; cached; split into more
/// parts than one.
pub fn regimes() -> [Choice; 3] {
    let tile = Some(Tile { columns: 1, lanes: 64 });
    [
        Choice { regime: Some(Regime::Resident), tile, ..BY_RULE },
        Choice { regime: Some(Regime::Cached), ..BY_RULE },
        Choice { regime: Some(Regime::Split), parts: Some(3), ..BY_RULE },
    ]
}

/// Ways of going over rows that no load divides, and over several as one, where the device has 64-bit words: cached,
/// split, lanes in blocks, and in place.
pub fn joined() -> [Way; 5] {
    let cached = Tuning { items: 0, ..Tuning::CPU };
    let split = Tuning { slab: 0, merge: 0, ..cached };
    let blocks = Tuning { order: Order::Blocked, ..cached };
    let in_place = |tuning| Way { placement: Placement::InPlace, ..Way::tuned(tuning) };
    [Way::tuned(cached), Way::tuned(split), Way::tuned(blocks), in_place(cached), in_place(split)]
}

/// Bands of a tile or two, as GPUs have them and as software drivers would, walking several units along or one; and in
/// place.
pub fn in_bands() -> [Way; 5] {
    let banded = |tuning| Tuning {
        cache: 9_000,
        columns: [1, 2],
        items: 0,
        slab: 0,
        merge: 0,
        settle: u32::MAX,
        near: 0,
        ..tuning
    };
    let gpu = Tuning { lanes: 32, ..banded(Tuning::GPU) };
    let along = Tuning { across: 2, loads: 4, ..gpu };
    let in_place = |tuning| Way { placement: Placement::InPlace, ..Way::tuned(tuning) };
    [Way::tuned(gpu), Way::tuned(along), Way::tuned(banded(Tuning::CPU)), in_place(gpu), in_place(along)]
}

/// 16-byte and single accesses, lanes interleaved and in blocks.
pub fn accesses() -> [Choice; 4] {
    let of = |wide, order| Choice { wide: Some(wide), order: Some(order), ..BY_RULE };
    [of(true, Order::Interleaved), of(true, Order::Blocked), of(false, Order::Interleaved), of(false, Order::Blocked)]
}

pub fn merged(regime: Choice, access: Choice) -> Way {
    Way::choosing(Choice { wide: access.wide, order: access.order, ..regime })
}
