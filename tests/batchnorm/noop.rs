//! wgpu's device that computes nothing but validates everything: for tests that need no answer.

use std::sync::{Arc, Mutex};

use wgpu_batchnorm::Kernels;
use wgpu_batchnorm::wgpu::{self, Buffer, BufferUsages, Limits};

pub struct Noop {
    pub device: wgpu::Device,
    pub queue: wgpu::Queue,
    pub kernels: Kernels,
    complaints: Arc<Mutex<Vec<String>>>,
}

impl Noop {
    /// With WebGPU's default limits.
    pub fn new() -> Self {
        Self::with(Limits::default())
    }

    pub fn with(limits: Limits) -> Self {
        let descriptor = wgpu::DeviceDescriptor { required_limits: limits, ..Default::default() };
        Self::of(wgpu::Device::noop(&descriptor))
    }

    /// Two devices of one instance; of [`Noop::new`] each has an instance of its own.
    pub fn two_of_one_instance() -> [Self; 2] {
        let noop = wgpu::NoopBackendOptions::enabled();
        let instance = wgpu::Instance::new(wgpu::InstanceDescriptor {
            backends: wgpu::Backends::NOOP,
            backend_options: wgpu::BackendOptions { noop, ..Default::default() },
            ..wgpu::InstanceDescriptor::new_without_display_handle()
        });
        [(); 2].map(|()| {
            let adapter = pollster::block_on(instance.request_adapter(&wgpu::RequestAdapterOptions::default()));
            Self::of(pollster::block_on(adapter.unwrap().request_device(&Default::default())).unwrap())
        })
    }

    fn of((device, queue): (wgpu::Device, wgpu::Queue)) -> Self {
        let complaints = Arc::new(Mutex::new(Vec::new()));
        let heard = complaints.clone();
        device.on_uncaptured_error(Arc::new(move |error| heard.lock().unwrap().push(error.to_string())));
        Self { kernels: Kernels::new(&device), device, queue, complaints }
    }

    pub fn buffer_for(&self, usage: BufferUsages, size: u64) -> Buffer {
        let label = Some("test");
        self.device.create_buffer(&wgpu::BufferDescriptor { label, size, usage, mapped_at_creation: false })
    }

    pub fn buffer(&self, size: u64) -> Buffer {
        self.buffer_for(BufferUsages::STORAGE, size)
    }

    /// Records into one pass and submits.
    pub fn run(&self, record: impl FnOnce(&mut wgpu::ComputePass<'_>)) {
        let mut encoder = self.device.create_command_encoder(&wgpu::CommandEncoderDescriptor::default());
        record(&mut encoder.begin_compute_pass(&wgpu::ComputePassDescriptor::default()));
        self.queue.submit([encoder.finish()]);
    }

    /// Panics if wgpu has complained about anything since.
    pub fn assert_silent(&self) {
        let complaints = self.complaints.lock().unwrap();
        assert!(complaints.is_empty(), "wgpu was the messenger: {complaints:#?}");
    }

    /// Panics unless wgpu has complained since, with this word in it; then that is forgotten.
    pub fn assert_heard(&self, word: &str) {
        let complaints = std::mem::take(&mut *self.complaints.lock().unwrap());
        assert!(complaints.iter().any(|complaint| complaint.contains(word)), "{word:?} is not in {complaints:#?}");
    }
}

#[test]
fn hears_wgpu_complain() {
    let noop = Noop::new();
    noop.buffer(u64::MAX - 7);
    let silent = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| noop.assert_silent()));
    assert!(silent.is_err());
}
