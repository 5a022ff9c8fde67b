//! wgpu's pipeline cache as bytes that a program keeps between its runs.
//!
//! wgpu hands the driver what it is given and checks little of it: not whether a file was damaged, nor whether the
//! driver was built anew under the same version. So the bytes carry a head of ours: what they are, for which adapter
//! and driver, and a checksum. That keeps accidents from the driver. It cannot keep out who means harm, which is why
//! taking bytes in is `unsafe`.

use crate::buffer::catching;

/// Saved bytes that cannot be used. Start without them: [`Kernels::new`](crate::Kernels::new).
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum CacheError {
    /// The device keeps no cache.
    #[error("the device keeps no pipeline cache; request it with Features::PIPELINE_CACHE, where the adapter has that")]
    Unsupported,
    /// The bytes are no cache of this library, or there are none at all.
    #[error("these {bytes} bytes are no pipeline cache of wgpu-batchnorm; it needs what Kernels::cache_data returned")]
    Foreign {
        /// How many there are.
        bytes: usize,
    },
    /// The cache is of another adapter or driver, as after every update of a driver.
    #[error("the pipeline cache is of another adapter or driver than {adapter}; save a new one")]
    OtherDriver {
        /// This one.
        adapter: String,
    },
    /// The bytes have changed since, or not all are there.
    #[error("the pipeline cache of {bytes} bytes was damaged or cut off; save a new one, in one go")]
    Damaged {
        /// How many there are.
        bytes: usize,
    },
    /// wgpu would not make a cache of it.
    #[error("wgpu makes no pipeline cache of these bytes: {message}; save a new one")]
    Refused {
        /// What wgpu said.
        message: String,
    },
}

/// What the bytes begin with: a name, and the version of what follows.
const MAGIC: [u8; 8] = *b"wgpu-bn\x01";

/// The name, and two checksums.
const HEAD: usize = MAGIC.len() + 2 * size_of::<u64>();

/// A cache with nothing in it, where the device has the feature for one and room.
pub(crate) fn empty(device: &wgpu::Device) -> Option<wgpu::PipelineCache> {
    // SAFETY: no data is given.
    unsafe { create(device, None) }.ok()
}

/// A cache with what was saved.
///
/// # Safety
/// What passes for the work of [`data`] must be that.
pub(crate) unsafe fn filled(device: &wgpu::Device, saved: &[u8]) -> Result<wgpu::PipelineCache, CacheError> {
    supported(device)?;
    let data = unseal(&adapter(device), saved)?;
    // SAFETY: it came from `data` of the same adapter and driver, as the caller promises and the head says.
    unsafe { create(device, Some(data)) }
}

/// # Safety
/// The data must have come from `wgpu::PipelineCache::get_data`.
unsafe fn create(device: &wgpu::Device, data: Option<&[u8]>) -> Result<wgpu::PipelineCache, CacheError> {
    supported(device)?;
    let descriptor = wgpu::PipelineCacheDescriptor { label: Some("batchnorm"), data, fallback: true };
    // SAFETY: as of this function. With `fallback`, what wgpu finds out of date is dropped.
    let cache = catching(device, || unsafe { device.create_pipeline_cache(&descriptor) });
    cache.map_err(|message| CacheError::Refused { message })
}

/// To be asked first: in a browser wgpu panics where it is told to make a cache.
fn supported(device: &wgpu::Device) -> Result<(), CacheError> {
    let has = device.features().contains(wgpu::Features::PIPELINE_CACHE);
    if has { Ok(()) } else { Err(CacheError::Unsupported) }
}

/// What a cache holds, to be saved.
pub(crate) fn data(device: &wgpu::Device, cache: &wgpu::PipelineCache) -> Option<Vec<u8>> {
    Some(seal(&adapter(device), &cache.get_data()?))
}

/// All that tells one adapter and driver from another.
fn adapter(device: &wgpu::Device) -> String {
    let wgpu::AdapterInfo { name, vendor, device, driver, driver_info, backend, .. } = device.adapter_info();
    format!("{name} ({vendor:x}:{device:x}, {driver} {driver_info}, {backend})")
}

fn seal(adapter: &str, data: &[u8]) -> Vec<u8> {
    let sums = [adapter.as_bytes(), data].map(|bytes| checksum(bytes).to_le_bytes());
    [&MAGIC[..], &sums[0], &sums[1], data].concat()
}

fn unseal<'a>(adapter: &str, saved: &'a [u8]) -> Result<&'a [u8], CacheError> {
    let bytes = saved.len();
    let (head, data) = saved.split_at_checked(HEAD).ok_or(CacheError::Foreign { bytes })?;
    let (magic, sums) = head.split_at(MAGIC.len());
    let (of_adapter, of_data) = sums.split_at(size_of::<u64>());
    if magic != MAGIC {
        return Err(CacheError::Foreign { bytes });
    }
    if of_adapter != checksum(adapter.as_bytes()).to_le_bytes() {
        return Err(CacheError::OtherDriver { adapter: adapter.to_owned() });
    }
    if of_data != checksum(data).to_le_bytes() {
        return Err(CacheError::Damaged { bytes });
    }
    Ok(data)
}

/// FNV-1a of 64 bits, which stays what it is: the standard library's hashes may change with its versions.
fn checksum(bytes: &[u8]) -> u64 {
    let step = |hash: u64, byte: &u8| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, step)
}

#[cfg(test)]
mod tests {
    use super::*;

    const DATA: &[u8] = b"what a driver keeps";

    #[test]
    fn the_checksum_is_fnv_1a() {
        // From the authors' table of test vectors.
        assert_eq!(
            [b"".as_slice(), b"a", b"foobar"].map(checksum),
            [0xcbf2_9ce4_8422_2325, 0xaf63_dc4c_8601_ec8c, 0x8594_4171_f739_67e8]
        );
    }

    #[test]
    fn what_was_sealed_comes_back() {
        for data in [DATA, b""] {
            assert_eq!(unseal("this", &seal("this", data)), Ok(data));
        }
    }

    #[test]
    fn nothing_else_does() {
        let sealed = seal("this", DATA);
        let adapter = "other".to_owned();
        assert_eq!(unseal("other", &sealed), Err(CacheError::OtherDriver { adapter }));
        for bit in 0..8 * sealed.len() {
            let mut damaged = sealed.clone();
            damaged[bit / 8] ^= 1 << (bit % 8);
            assert!(unseal("this", &damaged).is_err(), "bit {bit}");
        }
        for length in 0..sealed.len() {
            assert!(unseal("this", &sealed[..length]).is_err(), "{length} bytes");
        }
        let longer = [sealed, vec![0]].concat();
        assert_eq!(unseal("this", &longer), Err(CacheError::Damaged { bytes: longer.len() }));
        assert_eq!(unseal("this", DATA), Err(CacheError::Foreign { bytes: DATA.len() }));
    }
}
