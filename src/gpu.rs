//! A device for programs and tests that have none of their own. A program that has one needs nothing
//! of this: see [`Kernels`].

use wgpu::BufferUsages;

use crate::buffer;
use crate::error::GpuError;
use crate::kernels::Kernels;

/// An adapter's device and queue, and the kernels for it.
#[derive(Clone, Debug)]
pub struct Gpu {
    /// What the adapter says of itself: name, backend, driver, type.
    pub info: wgpu::AdapterInfo,
    /// The device, with all the limits that the adapter offers, and timestamps and a pipeline cache where it has
    /// them.
    pub device: wgpu::Device,
    /// Its queue.
    pub queue: wgpu::Queue,
    /// The kernels.
    pub kernels: Kernels,
}

impl Gpu {
    /// The best adapter: discrete before integrated, a GPU before a software driver, and of one piece of
    /// hardware the native API before GL.
    ///
    /// # Errors
    /// [`GpuError::NoAdapter`] says what to install.
    pub async fn new() -> Result<Self, GpuError> {
        Self::open(&best(Self::adapters().await)?).await
    }

    /// The adapter with this number in [`Gpu::adapters`], or, first match, with this text in its name,
    /// driver or backend, in any case: `"1"`, `"nvidia"`, `"llvmpipe"`, `"gl"`.
    ///
    /// # Errors
    /// [`GpuError::NoSuchAdapter`] lists those there are.
    pub async fn named(asked: &str) -> Result<Self, GpuError> {
        let adapters = Self::adapters().await;
        let found: Vec<String> = adapters.iter().map(|adapter| describe(&adapter.get_info())).collect();
        let number = asked.parse::<usize>().ok();
        let text = asked.to_lowercase();
        let matches = |name: &String| name.to_lowercase().contains(&text);
        let index = number.filter(|i| *i < found.len()).or_else(|| found.iter().position(matches));
        match index.and_then(|i| adapters.get(i)) {
            Some(adapter) => Self::open(adapter).await,
            None if found.is_empty() => Err(GpuError::NoAdapter),
            None => Err(GpuError::NoSuchAdapter { asked: asked.to_owned(), found }),
        }
    }

    /// All adapters that can compute, of all backends that this build has. One piece of hardware may
    /// appear once a backend.
    pub async fn adapters() -> Vec<wgpu::Adapter> {
        let instance = wgpu::Instance::new(wgpu::InstanceDescriptor::new_without_display_handle_from_env());
        let mut adapters = instance.enumerate_adapters(wgpu::Backends::all()).await;
        adapters.retain(|adapter| {
            let flags = adapter.get_downlevel_capabilities().flags;
            flags.contains(wgpu::DownlevelFlags::COMPUTE_SHADERS)
                && adapter.limits().max_storage_buffers_per_shader_stage > 0
        });
        adapters
    }

    /// A device of this adapter, with all its limits.
    ///
    /// # Errors
    /// [`GpuError::NoDevice`].
    pub async fn open(adapter: &wgpu::Adapter) -> Result<Self, GpuError> {
        Self::open_with(adapter, adapter.limits()).await
    }

    /// A device of this adapter with just these limits, such as `wgpu::Limits::default()`.
    ///
    /// # Errors
    /// [`GpuError::NoDevice`].
    pub async fn open_with(adapter: &wgpu::Adapter, limits: wgpu::Limits) -> Result<Self, GpuError> {
        let info = adapter.get_info();
        // The clock of benchmarks; what software drivers read and write memory fastest with; what compiling again is
        // saved by.
        let wanted = wgpu::Features::TIMESTAMP_QUERY
            | wgpu::Features::TIMESTAMP_QUERY_INSIDE_ENCODERS
            | wgpu::Features::SHADER_INT64
            | wgpu::Features::PIPELINE_CACHE;
        let descriptor = wgpu::DeviceDescriptor {
            label: Some("batchnorm"),
            required_features: adapter.features() & wanted,
            required_limits: limits,
            ..Default::default()
        };
        let no_device = |error: wgpu::RequestDeviceError| GpuError::NoDevice {
            adapter: describe(&info),
            message: error.to_string(),
        };
        let (device, queue) = adapter.request_device(&descriptor).await.map_err(no_device)?;
        let kernels = Kernels::new(&device);
        Ok(Self { info, device, queue, kernels })
    }

    /// The adapter's name, backend and driver in one line.
    pub fn name(&self) -> String {
        describe(&self.info)
    }

    /// A buffer with these values, for any use here.
    ///
    /// # Errors
    /// [`GpuError::NoBuffer`] where the device has no room for it.
    pub fn upload<T: bytemuck::NoUninit>(&self, values: &[T]) -> Result<wgpu::Buffer, GpuError> {
        let contents = bytemuck::cast_slice(values);
        self.made(contents.len() as u64, || buffer::filled(&self.device, "batchnorm data", Self::USAGE, contents))
    }

    /// A buffer of this many bytes, for any use here; wgpu clears it.
    ///
    /// # Errors
    /// [`GpuError::NoBuffer`] where the device has no room for it.
    pub fn empty(&self, bytes: u64) -> Result<wgpu::Buffer, GpuError> {
        self.made(bytes, || buffer::empty(&self.device, "batchnorm data", Self::USAGE, bytes))
    }

    fn made(&self, bytes: u64, make: impl FnOnce() -> Result<wgpu::Buffer, String>) -> Result<wgpu::Buffer, GpuError> {
        self.kernels.check_device().and_then(|()| make()).map_err(|message| GpuError::NoBuffer {
            adapter: self.name(),
            bytes,
            message,
        })
    }

    const USAGE: BufferUsages = BufferUsages::STORAGE.union(BufferUsages::COPY_SRC).union(BufferUsages::COPY_DST);

    /// Runs what `record` records into one compute pass. Does not wait for it.
    pub fn run(&self, record: impl FnOnce(&mut wgpu::ComputePass<'_>)) {
        let mut encoder = self.device.create_command_encoder(&wgpu::CommandEncoderDescriptor::default());
        record(&mut encoder.begin_compute_pass(&wgpu::ComputePassDescriptor::default()));
        self.queue.submit([encoder.finish()]);
    }

    /// Reads a buffer back, once all that was submitted before has run. In a browser the wait is the
    /// browser's; elsewhere this call polls the device.
    ///
    /// # Errors
    /// [`GpuError::ReadBack`], for instance where the device was lost.
    pub async fn read<T: bytemuck::Pod>(&self, buffer: &wgpu::Buffer) -> Result<Vec<T>, GpuError> {
        Ok(self.read_ranges(&[buffer.as_entire_buffer_binding()]).await?.pop().unwrap_or_default())
    }

    /// Reads ranges of buffers back, all in one go; see [`read`](Self::read). A range without a size
    /// reaches to the buffer's end.
    ///
    /// # Errors
    /// [`GpuError::ReadBack`].
    pub async fn read_ranges<T: bytemuck::Pod>(
        &self,
        ranges: &[wgpu::BufferBinding<'_>],
    ) -> Result<Vec<Vec<T>>, GpuError> {
        const { assert!(size_of::<T>() > 0, "values of no size cannot be read back") };
        let size = |range: &wgpu::BufferBinding<'_>| {
            range.size.map_or(range.buffer.size().saturating_sub(range.offset), |size| size.get())
        };
        let bytes = ranges.iter().map(size).fold(0, u64::saturating_add);
        let failed = |message: String| GpuError::ReadBack { bytes, message };
        let usage = BufferUsages::MAP_READ | BufferUsages::COPY_DST;
        let staging = buffer::empty(&self.device, "batchnorm read-back", usage, bytes).map_err(failed)?;
        let (sender, receiver) = futures::channel::oneshot::channel();
        let copy = || {
            let mut encoder = self.device.create_command_encoder(&wgpu::CommandEncoderDescriptor::default());
            let mut end = 0;
            for range in ranges {
                encoder.copy_buffer_to_buffer(range.buffer, range.offset, &staging, end, size(range));
                end = end.saturating_add(size(range));
            }
            self.queue.submit([encoder.finish()]);
            // The receiver is only gone if this future was dropped, and then nobody wants the answer.
            staging.map_async(wgpu::MapMode::Read, .., move |result| drop(sender.send(result)));
        };
        buffer::catching(&self.device, copy).map_err(failed)?;
        #[cfg(not(target_arch = "wasm32"))]
        self.device.poll(wgpu::PollType::wait_indefinitely()).map_err(|error| failed(error.to_string()))?;
        match receiver.await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => return Err(failed(error.to_string())),
            Err(_) => return Err(failed("the device was lost".to_owned())),
        }
        let mapped = staging.get_mapped_range(..).map_err(|error| failed(error.to_string()))?;
        let mut rest = &mapped[..];
        let mut take = |range| {
            let (front, back) = rest.split_at(size(range) as usize);
            rest = back;
            bytemuck::pod_collect_to_vec(front)
        };
        Ok(ranges.iter().map(&mut take).collect())
    }
}

/// An adapter in one line.
pub fn describe(info: &wgpu::AdapterInfo) -> String {
    let wgpu::AdapterInfo { name, backend, driver, driver_info, device_type, .. } = info;
    let driver =
        [driver.as_str(), driver_info].into_iter().filter(|text| !text.is_empty()).collect::<Vec<_>>().join(" ");
    // Browsers tell no names.
    let name = if name.is_empty() { "unnamed adapter" } else { name };
    let said = [name, &backend.to_string(), &driver, &format!("{device_type:?}")];
    said.into_iter().filter(|text| !text.is_empty()).collect::<Vec<_>>().join(" | ")
}

fn best(mut adapters: Vec<wgpu::Adapter>) -> Result<wgpu::Adapter, GpuError> {
    let rank = |adapter: &wgpu::Adapter| {
        let info = adapter.get_info();
        let kind = match info.device_type {
            wgpu::DeviceType::DiscreteGpu => 0,
            wgpu::DeviceType::IntegratedGpu => 1,
            wgpu::DeviceType::VirtualGpu => 2,
            wgpu::DeviceType::Other => 3,
            wgpu::DeviceType::Cpu => 4,
        };
        (kind, info.backend == wgpu::Backend::Gl)
    };
    adapters.sort_by_key(rank);
    adapters.into_iter().next().ok_or(GpuError::NoAdapter)
}
