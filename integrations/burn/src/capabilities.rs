//! What a recipe must know of burn's device, and the recipe for it.

use burn::backend::DispatchDevice;
use burn::tensor::Device;
use burn_cubecl::cubecl::client::Client;
use burn_cubecl::cubecl::ir::{ElemType, UIntKind};
use wgpu_batchnorm::recipe::{Capabilities, Choice, Operation, Recipe};
use wgpu_batchnorm::tuning::{AdapterKind, Tuning};
use wgpu_batchnorm::{Descriptor, PlanError};

use crate::error::Error;

/// The capabilities of a device, if it runs WGSL.
pub fn of_device(device: &Device) -> Result<Capabilities, Error> {
    let backend = match device.as_dispatch().clone().inner() {
        DispatchDevice::Cube(cube) => match cube.client() {
            client if client.name() == "wgpu<wgsl>" => return Ok(of_client(&client)),
            client => client.name().to_owned(),
        },
        #[allow(unreachable_patterns)]
        other => format!("{other:?}"),
    };
    Err(Error::NotWgpu { device: device.clone(), backend })
}

/// The capabilities of a client that runs WGSL.
pub fn of_client(client: &Client) -> Capabilities {
    let properties = client.properties();
    let hardware = &properties.hardware;
    let int64 = properties.supports_type(ElemType::UInt(UIntKind::U64));
    Capabilities {
        // What is no card computes on the CPU.
        kind: if properties.identity.physical.is_some() { AdapterKind::Gpu } else { AdapterKind::Cpu },
        invocations: hardware.max_units_per_cube.min(hardware.max_cube_dim.0),
        workgroup_bytes: u32::try_from(hardware.max_shared_memory_size).unwrap_or(u32::MAX),
        workgroups: hardware.max_cube_count.0,
        binding_bytes: properties.memory.max_page_size,
        // cubecl keeps one back for itself.
        storage_buffers: hardware.max_bindings + 1,
        int64,
        // What kernels read at a time.
        alignment: properties.memory.alignment.max(if int64 { 32 } else { 16 }),
    }
}

/// How an operation is computed there, chosen by rule.
pub fn plan(descriptor: &Descriptor, operation: Operation, capabilities: &Capabilities) -> Result<Recipe, PlanError> {
    let tuning = Tuning::of(capabilities.kind);
    Recipe::new(descriptor, operation, capabilities, &tuning, &Choice::default())
}
