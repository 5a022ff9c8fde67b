//! A recipe launched through cubecl: its kernels are WGSL that cubecl compiles, binds and records between burn's own,
//! in the order in which they were called.

use burn_cubecl::cubecl::client::Client;
use burn_cubecl::cubecl::ir::attributes::BufferIOAttr;
use burn_cubecl::cubecl::ir::metadata::Info;
use burn_cubecl::cubecl::ir::settings::Dim3;
use burn_cubecl::cubecl::ir::{AddressType, ElemType, Scope, UIntKind};
use burn_cubecl::cubecl::prelude::{
    CubeCount, ExecutionMode, KernelDefinition, KernelId, KernelMetadata, KernelSettings,
};
use burn_cubecl::cubecl::server::{Handle, KernelArguments, MetadataBindingInfo};
use burn_cubecl::cubecl::{CubeKernel, PrecompiledSource};
use wgpu_batchnorm::Argument;
use wgpu_batchnorm::recipe::Recipe;
use wgpu_batchnorm::shader::{Access, Permutation, Slot};

/// Launches a recipe's dispatches, each slot bound to the argument of its name.
pub fn launch(client: &Client, recipe: &Recipe, arguments: &[(Argument, Handle)]) {
    for dispatch in &recipe.dispatches {
        // Burn's tensors share buffers, and no dispatch may bind a buffer both to read and to write.
        let permutation = dispatch.permutation.for_one_buffer();
        let (words, rest) = dispatch.params().as_chunks();
        assert!(rest.is_empty(), "parameters are whole 64-bit words");
        let words = words.iter().map(|word| u64::from_ne_bytes(*word)).collect();
        let mut bound = KernelArguments::new().with_info(MetadataBindingInfo::custom(words));
        // Which of them it writes, the forms for separate buffers tell.
        for Slot { name, access, .. } in storage(&dispatch.permutation) {
            let taken = dispatch.argument(&name);
            let find = |argument| arguments.iter().find(|(known, _)| *known == argument);
            let Some((argument, bytes, (_, handle))) = taken.and_then(|(a, bytes)| Some((a, bytes, find(a)?))) else {
                unreachable!("the kernel {} takes {name}", permutation.kernel.name());
            };
            let handle = match bytes {
                None => handle.clone(),
                Some(bytes) => {
                    // Kernels see whole words, of 16-bit values too, and cubecl binds them.
                    let has = handle.size_in_used();
                    assert!(bytes.end <= has.next_multiple_of(4), "{argument} has {has} bytes, not {}", bytes.end);
                    // Both count from where the handle's own part begins and ends.
                    handle.clone().offset_start(bytes.start).offset_end(has.saturating_sub(bytes.end))
                }
            };
            let io = if access == Access::Read { BufferIOAttr::ReadOnly } else { BufferIOAttr::ReadWrite };
            bound = bound.with_buffer_io(handle.binding(), io);
        }
        let [x, y] = dispatch.grid;
        client.launch(Box::new(Kernel(permutation)), CubeCount::Static(x, y, 1), bound);
    }
}

/// The storage buffers of a kernel, in the order of their binding numbers.
fn storage(permutation: &Permutation) -> Vec<Slot> {
    let mut slots = permutation.slots();
    slots.retain(|slot| slot.access != Access::Uniform);
    slots.sort_by_key(|slot| slot.binding);
    slots
}

/// A permutation of our kernels as cubecl takes kernels written by hand.
struct Kernel(Permutation);

impl Kernel {
    fn settings(&self) -> KernelSettings {
        KernelSettings::new(self.cube_dim(), ExecutionMode::Unchecked, AddressType::U32)
    }

    fn cube_dim(&self) -> Dim3 {
        Dim3 { x: self.0.tile.invocations(), y: 1, z: 1 }
    }
}

impl KernelMetadata for Kernel {
    fn name(&self) -> &'static str {
        self.0.kernel.name()
    }

    fn id(&self) -> KernelId {
        // Unchecked: no loop bounding, since the recipes prove that every loop ends.
        KernelId::new::<Self>().info(self.0).cube_dim(self.cube_dim()).mode(ExecutionMode::Unchecked)
    }

    fn address_type(&self) -> ElemType {
        ElemType::UInt(UIntKind::U32)
    }
}

impl CubeKernel for Kernel {
    fn define(&self) -> KernelDefinition {
        let settings = self.settings();
        KernelDefinition { body: Scope::root(settings.clone()), settings, info: Info::default() }
    }

    /// The WGSL with cubecl's binding numbers: the buffers in order, then the parameters.
    fn source(&self) -> Option<PrecompiledSource> {
        let storage = storage(&self.0);
        let number = |binding: u32| storage.iter().position(|slot| slot.binding == binding).unwrap_or(storage.len());
        let mut source = String::new();
        for line in self.0.wgsl().lines() {
            let declared = line.strip_prefix("@group(0) @binding(").and_then(|rest| rest.split_once(')'));
            source += &match declared.and_then(|(binding, rest)| Some((binding.parse().ok()?, rest))) {
                Some((binding, rest)) => format!("@group(0) @binding({}){rest}\n", number(binding)),
                None => format!("{line}\n"),
            };
        }
        Some(PrecompiledSource { source, entrypoint_name: "main".to_owned(), lang: "wgsl" })
    }
}
