//! Buffers of the library's own, made without a queue, and without wgpu's error handler being the
//! messenger if there is no room.

use wgpu::{Buffer, BufferDescriptor, BufferUsages, Device};

/// A buffer of this many bytes, rounded up to what copies need; wgpu clears it.
pub(crate) fn empty(device: &Device, label: &str, usage: BufferUsages, bytes: u64) -> Result<Buffer, String> {
    alive(device)?;
    create(device, &BufferDescriptor { label: Some(label), size: bytes, usage, mapped_at_creation: false })
}

/// An error where the device is lost. wgpu is silent then, whatever it is asked for: so it is asked for what it refuses
/// before it goes to the driver. (A device has room for one callback of its loss, which is the program's.)
#[cfg(not(target_arch = "wasm32"))]
pub(crate) fn alive(device: &Device) -> Result<(), String> {
    let scope = device.push_error_scope(wgpu::ErrorFilter::Validation);
    let no_usage = BufferDescriptor { label: None, size: 4, usage: BufferUsages::empty(), mapped_at_creation: false };
    drop(device.create_buffer(&no_usage));
    match ready(scope.pop()).flatten() {
        Some(_) => Ok(()),
        None => Err("the device is lost".to_owned()),
    }
}

/// In a browser [`Kernels`](crate::Kernels) hear of it.
#[cfg(target_arch = "wasm32")]
pub(crate) fn alive(_: &Device) -> Result<(), String> {
    Ok(())
}

/// A buffer with these contents.
pub(crate) fn filled(device: &Device, label: &str, usage: BufferUsages, contents: &[u8]) -> Result<Buffer, String> {
    let size = contents.len() as u64;
    let buffer = create(device, &BufferDescriptor { label: Some(label), size, usage, mapped_at_creation: true })?;
    let mut mapped = buffer.get_mapped_range_mut(..).map_err(|error| error.to_string())?;
    mapped.slice(..contents.len()).copy_from_slice(contents);
    drop(mapped);
    buffer.unmap();
    Ok(buffer)
}

fn create(device: &Device, descriptor: &BufferDescriptor<'_>) -> Result<Buffer, String> {
    let size = descriptor.size.checked_next_multiple_of(wgpu::COPY_BUFFER_ALIGNMENT).unwrap_or(u64::MAX);
    // A browser would say so later, and to somebody else.
    let most = device.limits().max_buffer_size;
    if size > most {
        return Err(format!("the device's max_buffer_size is {most}"));
    }
    catching(device, || device.create_buffer(&BufferDescriptor { size, ..descriptor.clone() }))
}

/// What `work` returns, or what wgpu had to complain of meanwhile.
#[cfg(not(target_arch = "wasm32"))]
pub(crate) fn catching<T>(device: &Device, work: impl FnOnce() -> T) -> Result<T, String> {
    let (result, complaint) = watching(device, work);
    match ready(complaint).flatten() {
        None => Ok(result),
        Some(message) => Err(message),
    }
}

/// A browser answers later, and a scope would swallow the complaint: without one it reaches the device's
/// own error handler.
#[cfg(target_arch = "wasm32")]
pub(crate) fn catching<T>(_: &Device, work: impl FnOnce() -> T) -> Result<T, String> {
    Ok(work())
}

/// What `work` returns, and later what wgpu had to complain of meanwhile.
pub(crate) fn watching<T>(device: &Device, work: impl FnOnce() -> T) -> (T, impl Future<Output = Option<String>>) {
    use wgpu::ErrorFilter;
    let scopes = [ErrorFilter::Validation, ErrorFilter::Internal, ErrorFilter::OutOfMemory]
        .map(|filter| device.push_error_scope(filter));
    let result = work();
    // Scopes end innermost first, and before anybody else's work.
    let mut answers = scopes.into_iter().rev().map(|scope| scope.pop()).collect::<Vec<_>>();
    let complaint = async move {
        let mut first = None;
        for answer in answers.drain(..) {
            first = first.or(answer.await);
        }
        first.map(|error| error.to_string())
    };
    (result, complaint)
}

/// The value of a future that is ready, as wgpu's error scopes are on every native backend.
#[cfg(not(target_arch = "wasm32"))]
fn ready<T>(future: impl Future<Output = T>) -> Option<T> {
    use std::pin::pin;
    use std::task::{Context, Poll, Waker};
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(value) => Some(value),
        Poll::Pending => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_wgpu_says_of_work_is_heard() {
        let (device, _) = Device::noop(&wgpu::DeviceDescriptor::default());
        let make = |size| {
            let usage = BufferUsages::UNIFORM;
            let work =
                || device.create_buffer(&BufferDescriptor { label: None, size, usage, mapped_at_creation: false });
            ready(watching(&device, work).1)
        };
        let [fine, too_large] = [make(4), make(1 << 62)];
        assert_eq!(fine, Some(None));
        let message = too_large.flatten().unwrap();
        assert!(message.contains(&(1_u64 << 62).to_string()), "{message}");
    }
}
