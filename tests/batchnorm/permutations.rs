//! Every shader permutation through naga: parsed, validated with nothing but what WebGPU promises, and
//! written for every backend.

use std::cmp::Reverse;
use std::collections::HashSet;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use naga::back::{glsl, hlsl, msl, spv};
use naga::valid::{Capabilities, ModuleInfo, ValidationFlags, Validator};
use naga::{AddressSpace, Module, ShaderStage, StorageAccess};
use wgpu_batchnorm::shader::{Access, Flag, Flags, Permutation, Tile};
use wgpu_batchnorm::tuning::Tuning;

use crate::adapters::say;
use crate::every::checked;

/// The workgroup shapes that recipes ask for under the default limits, by the built-in tunings: 256
/// invocations at the most, powers of two both ways. `recipes::stay_within_what_is_validated` proves it.
pub fn tiles() -> impl Iterator<Item = Tile> {
    let powers = || (0..=8).map(|power| 1 << power);
    powers().flat_map(move |columns| {
        powers().map(move |lanes| Tile { columns, lanes }).filter(|tile| tile.invocations() <= 256)
    })
}

/// A tile changes two constants of a text and nothing else, so permutations take turns at these few (one lane,
/// one column, both; what CPUs and what GPUs get), and the fullest ones come in all tiles.
const TILES: [Tile; 4] = [
    Tile { columns: 8, lanes: 1 },
    Tile { columns: 1, lanes: 8 },
    Tile { columns: 1, lanes: 256 },
    Tile { columns: 32, lanes: 8 },
];

pub struct Checked {
    module: Module,
    info: ModuleInfo,
}

/// What WebGPU promises on every device: naga counts `unpack2x16float` as more than the least.
const PROMISED: Capabilities = Capabilities::SHADER_FLOAT16_IN_FLOAT32;

/// Parses and validates, with nothing but what WebGPU promises.
pub fn validate(wgsl: &str) -> Result<Checked, String> {
    validate_with(wgsl, PROMISED)
}

fn validate_with(wgsl: &str, capabilities: Capabilities) -> Result<Checked, String> {
    let module = naga::front::wgsl::parse_str(wgsl).map_err(|error| error.emit_to_string(wgsl))?;
    let mut validator = Validator::new(ValidationFlags::all(), capabilities);
    let info = validator.validate(&module).map_err(|error| error.emit_to_string(wgsl))?;
    Ok(Checked { module, info })
}

impl Checked {
    /// Writes SPIR-V, MSL, HLSL and GLSL ES 3.1; 64-bit words SPIR-V alone, which drivers that have a use for them
    /// read.
    fn write(&self, long: bool) -> Result<(), String> {
        let Self { module, info } = self;
        let (stage, entry) = (ShaderStage::Compute, "main".to_owned());
        let words = spv::write_vec(module, info, &spv::Options::default(), None).map_err(|e| format!("SPIR-V: {e}"))?;
        if long {
            return if words.is_empty() { Err("nothing was written".to_owned()) } else { Ok(()) };
        }
        // What macOS 10.12 has.
        let options = msl::Options { lang_version: (1, 2), ..msl::Options::default() };
        let (metal, _) = msl::write_string(module, info, &options, &msl::PipelineOptions::default())
            .map_err(|e| format!("MSL: {e}"))?;
        let mut direct = String::new();
        let (options, pipeline) = (hlsl::Options::default(), hlsl::PipelineOptions::default());
        hlsl::Writer::new(&mut direct, &options, &pipeline)
            .write(module, info, None)
            .map_err(|e| format!("HLSL: {e}"))?;
        let mut open = String::new();
        let (options, policies) = (glsl::Options::default(), naga::proc::BoundsCheckPolicies::default());
        let pipeline = glsl::PipelineOptions { shader_stage: stage, entry_point: entry, multiview: None };
        glsl::Writer::new(&mut open, module, info, &options, &pipeline, policies)
            .and_then(|mut writer| writer.write())
            .map_err(|e| format!("GLSL: {e}"))?;
        let empty = words.is_empty() || [&metal, &direct, &open].into_iter().any(String::is_empty);
        if empty { Err("a backend wrote nothing".to_owned()) } else { Ok(()) }
    }

    /// Compares what the library says of a permutation with what its text does.
    fn agrees_with(&self, permutation: &Permutation) {
        let Self { module, info } = self;
        let [entry] = &module.entry_points[..] else { panic!("{permutation:?}: not one entry point") };
        let used = info.get_entry_point(0);
        assert_eq!(entry.workgroup_size, [permutation.tile.invocations(), 1, 1], "{permutation:?}");
        let mut workgroup_bytes = 0;
        let mut slots = permutation.slots();
        for (handle, global) in module.global_variables.iter() {
            let (name, size) = (global.name.as_deref().unwrap(), module.types[global.ty].inner.size(module.to_ctx()));
            let access = match global.space {
                AddressSpace::WorkGroup => {
                    workgroup_bytes += size;
                    continue;
                }
                AddressSpace::Uniform => Access::Uniform,
                AddressSpace::Storage { access } if access.contains(StorageAccess::STORE) => Access::Write,
                AddressSpace::Storage { .. } => Access::Read,
                space => panic!("{permutation:?}: {name} is in {space:?}"),
            };
            // A layout made from the text alone, as engines make it, lacks what the kernel does not touch.
            assert!(!used[handle].is_empty(), "{permutation:?}: {name} is bound for nothing");
            let binding = global.binding.as_ref().unwrap();
            assert_eq!(binding.group, 0, "{permutation:?}: {name}");
            let at = slots.iter().position(|slot| slot.name == name);
            let slot = slots.swap_remove(at.unwrap_or_else(|| panic!("{permutation:?}: no slot for {name}")));
            assert_eq!((slot.binding, slot.access), (binding.binding, access), "{permutation:?}: {name}");
        }
        assert!(slots.is_empty(), "{permutation:?} has no {slots:?}");
        assert_eq!(workgroup_bytes, permutation.workgroup_bytes(), "{permutation:?}");
    }
}

/// Panics unless all permutations are fine throughout.
fn check(all: &[Permutation]) {
    let refused = Mutex::new(Vec::new());
    on_all_cores(all, |permutation| {
        let long = permutation.flags.has(Flag::Long);
        let capabilities = if long { PROMISED | Capabilities::SHADER_INT64 } else { PROMISED };
        let done = validate_with(&permutation.wgsl(), capabilities).and_then(|checked| {
            checked.write(long)?;
            checked.agrees_with(permutation);
            Ok(())
        });
        if let Err(message) = done {
            refused.lock().unwrap().push((*permutation, message));
        }
    });
    report(refused.into_inner().unwrap());
}

/// Panics if any permutations were refused, with one of them for each message.
pub fn report(mut refused: Vec<(Permutation, String)>) {
    let many = refused.len();
    let mut seen = HashSet::new();
    // Line numbers differ, and so do the numbers of what naga made of them.
    let place = |message: &str| message.replace(|c: char| c.is_ascii_digit() || c.is_whitespace(), "");
    refused.sort_by_key(|(permutation, _)| permutation.wgsl().len());
    refused.retain(|(_, message)| seen.insert(place(message)));
    let list: Vec<String> =
        refused.iter().map(|(permutation, message)| format!("{permutation:?}\n{message}")).collect();
    assert!(many == 0, "{many} permutations are refused, for {} reasons:\n{}", list.len(), list.join("\n"));
}

/// Does something with each of many, on as many threads as there are cores.
pub fn on_all_cores<T: Sync>(all: &[T], each: impl Fn(&T) + Sync) {
    let next = AtomicUsize::new(0);
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..cores {
            scope.spawn(|| {
                while let Some(one) = all.get(next.fetch_add(1, Ordering::Relaxed)) {
                    each(one);
                }
            });
        }
    });
}

#[test]
fn all_are_valid_on_every_backend() {
    let all = checked();
    let of_tile = |(i, permutation): (usize, Permutation)| Permutation { tile: TILES[i % TILES.len()], ..permutation };
    // Of ragged rows and of folded ones too, with the loads in flight that software drivers get.
    let has_loads = |p: &Permutation| !p.kernel.streams() || p.chunk * p.side() == Tuning::CPU.loads;
    let joined = |p: &Permutation| [Flag::Ragged, Flag::Folded, Flag::Copies].into_iter().any(|flag| p.flags.has(flag));
    let joined: Vec<Permutation> = all.iter().flat_map(|p| ways(*p)).filter(|p| joined(p) && has_loads(p)).collect();
    let all: Vec<Permutation> = all.into_iter().chain(joined).enumerate().map(of_tile).collect();
    check(&all);
    say(&format!("{} permutations through naga to SPIR-V, MSL, HLSL and GLSL", all.len()));
}

/// The longest text of each kernel, in each layout and width.
pub fn fullest() -> Vec<Permutation> {
    let mut most: Vec<(usize, Permutation)> = checked().into_iter().map(|p| (p.wgsl().len(), p)).collect();
    let family = |p: &Permutation| (p.kernel.name(), [Flag::Wide, Flag::ChannelsLast].map(|flag| p.flags.has(flag)));
    most.sort_by_key(|(size, permutation)| (family(permutation), Reverse(*size)));
    most.dedup_by_key(|(_, permutation)| family(permutation));
    most.into_iter().map(|(_, permutation)| permutation).collect()
}

/// The ways that lanes move values by the built-in tunings: elements at a time, and units.
/// `recipes::stay_within_what_is_validated` proves it.
pub const WAYS: [[u32; 2]; 14] =
    [[1, 1], [8, 1], [4, 1], [2, 1], [2, 2], [1, 2], [1, 3], [1, 4], [1, 5], [1, 6], [1, 7], [1, 8], [1, 9], [1, 12]];

/// A permutation in all of them, and with all that software drivers do to move values faster: 64-bit words, two V at a
/// time, rows that begin and end within those, several rows as one, units that do not divide evenly.
pub fn ways(permutation: Permutation) -> impl Iterator<Item = Permutation> {
    use Flag::*;
    let own = [Chunked, Long, Twin, Ragged, Uneven, Folded, Copies];
    let flags = own.into_iter().fold(permutation.flags, Flags::without);
    let (streams, wide, last) = (permutation.kernel.streams(), flags.has(Wide), flags.has(ChannelsLast));
    let plain = !flags.has(Strided) && !flags.has(Grouped);
    let dense = plain && !flags.has(Masked);
    let moves: [(&[Flag], bool); 9] = [
        (&[], true),
        (&[Long], wide),
        (&[Long, Twin], wide && streams && plain),
        (&[Long, Ragged], wide && !last && dense),
        (&[Long, Twin, Ragged], wide && streams && !last && dense),
        (&[Folded], wide && streams && last && dense && !flags.has(Given)),
        (&[Long, Folded], wide && streams && last && dense && !flags.has(Given)),
        (&[Long, Twin, Folded], wide && streams && last && dense && !flags.has(Given)),
        (&[Copies], !wide && !streams && last && dense),
    ];
    moves.into_iter().filter(|(_, can)| *can).flat_map(move |(moves, _)| {
        let flags = moves.iter().fold(flags, |flags, flag| flags.with(*flag));
        let ways = WAYS.into_iter().filter(move |[chunk, across]| streams || chunk * across == 1);
        let ways = ways.filter(move |[_, across]| !flags.has(Ragged) || *across == 1);
        let ways = ways.flat_map(|[chunk, across]| [false, across > 1].map(|uneven| (chunk, across, uneven)));
        ways.map(move |(chunk, across, uneven)| {
            let flags = flags.and(Flags::of(&[(Chunked, chunk > 1), (Uneven, uneven)]));
            Permutation { flags, chunk, across, ..permutation }
        })
    })
}

#[test]
fn the_fullest_are_valid_in_every_tile_and_way() {
    let most = fullest();
    let in_tiles = tiles().flat_map(|tile| most.iter().map(move |p| Permutation { tile, ..*p }));
    let in_ways = most.iter().flat_map(|p| ways(Permutation { tile: TILES[0], ..*p }));
    let all: Vec<Permutation> = in_tiles.chain(in_ways).collect();
    check(&all);
    say(&format!("{} permutations more, of {} tiles", all.len(), tiles().count()));
}
