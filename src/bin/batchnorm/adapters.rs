//! `batchnorm adapters`: what there is to compute on.

use serde::{Deserialize, Serialize};
use wgpu_batchnorm::{Gpu, GpuError, wgpu};

use crate::say::say;
use crate::table::Table;

/// Lists every adapter.
pub async fn run() -> crate::Outcome {
    let adapters = Gpu::adapters().await;
    if adapters.is_empty() {
        return Err(GpuError::NoAdapter.into());
    }
    for (number, adapter) in adapters.iter().enumerate() {
        let identity = Identity::of(&adapter.get_info());
        say!("{number}  {}", identity.name);
        say!("   {}, {}, driver {}\n", identity.backend, identity.kind, identity.driver);
        properties(adapter).print();
        say!("");
    }
    Ok(true)
}

/// Who an adapter is, for reports.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Identity {
    pub name: String,
    pub backend: String,
    /// The driver's name and version, as it gives them.
    pub driver: String,
    #[serde(rename = "type")]
    pub kind: String,
}

impl Identity {
    pub fn of(info: &wgpu::AdapterInfo) -> Self {
        let said: Vec<&str> = [&info.driver, &info.driver_info].into_iter().map(|s| s.trim()).collect();
        let driver = said.join(" ").trim().to_owned();
        Self {
            name: info.name.clone(),
            backend: info.backend.to_string(),
            driver: if driver.is_empty() { "unnamed".to_owned() } else { driver },
            kind: match info.device_type {
                wgpu::DeviceType::DiscreteGpu => "discrete GPU",
                wgpu::DeviceType::IntegratedGpu => "integrated GPU",
                wgpu::DeviceType::VirtualGpu => "virtual GPU",
                wgpu::DeviceType::Cpu => "CPU (software driver)",
                wgpu::DeviceType::Other => "unknown type",
            }
            .to_owned(),
        }
    }
}

impl std::fmt::Display for Identity {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { name, backend, driver, kind } = self;
        write!(f, "{name} | {backend} | {driver} | {kind}")
    }
}

/// The limits and features that decide what the kernels may do, beside what WebGPU promises everywhere.
fn properties(adapter: &wgpu::Adapter) -> Table {
    let (has, promised, info) = (adapter.limits(), wgpu::Limits::default(), adapter.get_info());
    let mut table = Table::new(["limit or feature", "here", "WebGPU promises"]);
    type Limit = fn(&wgpu::Limits) -> u64;
    let bytes: [(&str, Limit); 4] = [
        ("max_storage_buffer_binding_size", |limits| limits.max_storage_buffer_binding_size),
        ("max_buffer_size", |limits| limits.max_buffer_size),
        ("max_compute_workgroup_storage_size", |limits| limits.max_compute_workgroup_storage_size.into()),
        ("min_storage_buffer_offset_alignment", |limits| limits.min_storage_buffer_offset_alignment.into()),
    ];
    for (name, limit) in bytes {
        table.row([name.to_owned(), size(limit(&has)), size(limit(&promised))]);
    }
    let counts: [(&str, Limit); 3] = [
        ("max_compute_invocations_per_workgroup", |limits| limits.max_compute_invocations_per_workgroup.into()),
        ("max_compute_workgroups_per_dimension", |limits| limits.max_compute_workgroups_per_dimension.into()),
        ("max_storage_buffers_per_shader_stage", |limits| limits.max_storage_buffers_per_shader_stage.into()),
    ];
    for (name, limit) in counts {
        table.row([name.to_owned(), limit(&has).to_string(), limit(&promised).to_string()]);
    }
    let features = [
        ("SUBGROUP", wgpu::Features::SUBGROUP),
        ("SHADER_F16", wgpu::Features::SHADER_F16),
        ("TIMESTAMP_QUERY", wgpu::Features::TIMESTAMP_QUERY),
    ];
    for (name, feature) in features {
        let here = match adapter.features().contains(feature) {
            false => "no".to_owned(),
            true if feature == wgpu::Features::SUBGROUP => {
                format!("yes, {} to {} lanes", info.subgroup_min_size, info.subgroup_max_size)
            }
            true => "yes".to_owned(),
        };
        table.row([name.to_owned(), here, "optional".to_owned()]);
    }
    table
}

/// Bytes in the largest binary unit that leaves no long fraction: `128 MiB`, `2.0 GiB`, `100 B`.
pub fn size(bytes: u64) -> String {
    const UNITS: [&str; 6] = ["KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
    let mut value = bytes as f64;
    let mut unit = "B";
    for larger in UNITS {
        if value < 1024.0 {
            break;
        }
        (value, unit) = (value / 1024.0, larger);
    }
    if value.fract() == 0.0 { format!("{value} {unit}") } else { format!("{value:.1} {unit}") }
}

#[cfg(test)]
mod tests {
    use super::size;

    #[test]
    fn sizes_read_well() {
        assert_eq!(size(0), "0 B");
        assert_eq!(size(256), "256 B");
        assert_eq!(size(16_384), "16 KiB");
        assert_eq!(size(128 << 20), "128 MiB");
        assert_eq!(size((2 << 30) - 1), "2.0 GiB");
        assert_eq!(size(u64::MAX), "16 EiB");
    }
}
