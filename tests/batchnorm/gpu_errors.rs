//! Every error of finding a device and of reading back from one.

use wgpu_batchnorm::wgpu::{BufferBinding, BufferSize, Limits};
use wgpu_batchnorm::{BatchNorm, Gpu, GpuError, PlanError};

use crate::adapters::gpus;
use crate::check::says;

#[test]
fn no_such_adapter() {
    let names: Vec<String> = gpus().iter().map(Gpu::name).collect();
    let error = pollster::block_on(Gpu::named("Voodoo 2")).unwrap_err();
    assert_eq!(error, GpuError::NoSuchAdapter { asked: "Voodoo 2".to_owned(), found: names.clone() });
    says(&error, &["Voodoo 2", &names[0]]);
    let number = names.len().to_string();
    assert!(matches!(pollster::block_on(Gpu::named(&format!("number {number}"))), Err(GpuError::NoSuchAdapter { .. })));
    assert_eq!(pollster::block_on(Gpu::named("0")).unwrap().name(), names[0]);
}

/// A process of its own, told to look for adapters where there are none.
#[test]
fn no_adapter() {
    let output = std::process::Command::new(std::env::current_exe().unwrap())
        .args(["gpu_errors::finds_no_adapter", "--exact", "--ignored", "--nocapture"])
        .env("WGPU_BACKEND", "noop")
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && text.contains("1 passed"), "{text}");
}

#[test]
#[ignore = "run by no_adapter, in a process whose environment hides all adapters"]
fn finds_no_adapter() {
    let errors = pollster::block_on(async { [Gpu::new().await.unwrap_err(), Gpu::named("0").await.unwrap_err()] });
    assert_eq!(errors, [GpuError::NoAdapter, GpuError::NoAdapter]);
    says(&errors[0], &["install", "mesa-vulkan-drivers"]);
}

#[test]
fn no_device() {
    for adapter in pollster::block_on(Gpu::adapters()) {
        let limits = Limits { max_compute_invocations_per_workgroup: u32::MAX, ..adapter.limits() };
        let error = pollster::block_on(Gpu::open_with(&adapter, limits)).unwrap_err();
        assert!(matches!(error, GpuError::NoDevice { .. }), "{error:?}");
        says(&error, &[&adapter.get_info().name, "gives no device", "max_compute_invocations_per_workgroup"]);
    }
}

#[test]
fn buffers_and_reading_back() {
    for adapter in pollster::block_on(Gpu::adapters()) {
        let gpu = pollster::block_on(Gpu::open(&adapter)).unwrap();
        let buffer = gpu.upload(&[1.0_f32; 4]).unwrap();
        let beyond = BufferBinding { buffer: &buffer, offset: 8, size: BufferSize::new(16) };
        let error = pollster::block_on(gpu.read_ranges::<f32>(&[beyond])).unwrap_err();
        assert!(matches!(error, GpuError::ReadBack { bytes: 16, .. }), "{error:?}");
        let bytes = gpu.device.limits().max_buffer_size + 4;
        let error = gpu.empty(bytes).unwrap_err();
        assert!(matches!(error, GpuError::NoBuffer { .. }), "{error:?}");
        says(&error, &["gave no buffer of", &bytes.to_string(), "max_buffer_size is"]);
        gpu.device.destroy();
        let error = gpu.empty(4).unwrap_err();
        assert!(matches!(error, GpuError::NoBuffer { bytes: 4, .. }), "{error:?}");
        says(&error, &["gave no buffer of 4 bytes", "lost"]);
        let error = BatchNorm::new(&gpu.kernels, 3).unwrap_err();
        assert!(matches!(error, PlanError::Buffer { bytes: 12, .. }), "{error:?}");
        says(&error, &["no buffer of 12 bytes for", "gamma"]);
        let error = pollster::block_on(gpu.read::<f32>(&buffer)).unwrap_err();
        assert!(matches!(error, GpuError::ReadBack { bytes: 16, .. }), "{error:?}");
        says(&error, &["reading back 16 bytes"]);
    }
}

#[test]
fn nothing_can_be_read_back() {
    let gpu = &gpus()[0];
    let nothing = gpu.upload::<f32>(&[]).unwrap();
    assert_eq!(pollster::block_on(gpu.read::<f32>(&nothing)), Ok(vec![]));
}
