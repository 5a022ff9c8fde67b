//! What recording a bound plan costs beside the same dispatches recorded by hand: no allocation more, and next to no
//! time. On wgpu's noop device, which does all of wgpu's own work and no driver's.
//!
//! A binary of its own, since it counts what the whole program allocates.

mod by_hand;

use std::alloc::{GlobalAlloc, Layout as Memory, System};
use std::cell::Cell;
use std::time::{Duration, Instant};

use by_hand::{ByHand, zeros};
use wgpu_batchnorm::recipe::Operation;
use wgpu_batchnorm::wgpu::{self, BufferUsages, ComputePass};
use wgpu_batchnorm::{BatchNorm, Bindings, Bound, Gradients, Kernels};

/// Recordings in one pass.
const RECORDINGS: usize = 1_000;

/// The most that a dispatch may cost over wgpu's own.
const LIMIT: Duration = Duration::from_micros(2);

/// The system's allocator, counting what each thread asks of it.
struct Counting;

thread_local! {
    static ALLOCATIONS: Cell<usize> = const { Cell::new(0) };
}

fn count() {
    // A thread that is ending has no count any more, and nobody to ask for it.
    let _ = ALLOCATIONS.try_with(|count| count.set(count.get() + 1));
}

// SAFETY: all is passed on as it came to the system's allocator, and counting allocates nothing.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, memory: Memory) -> *mut u8 {
        count();
        // SAFETY: as of this function.
        unsafe { System.alloc(memory) }
    }

    unsafe fn dealloc(&self, at: *mut u8, memory: Memory) {
        // SAFETY: as of this function.
        unsafe { System.dealloc(at, memory) }
    }

    unsafe fn realloc(&self, at: *mut u8, memory: Memory, size: usize) -> *mut u8 {
        count();
        // SAFETY: as of this function.
        unsafe { System.realloc(at, memory, size) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// A training step, and the dispatches of the same recipes by hand.
struct Both {
    device: wgpu::Device,
    _queue: wgpu::Queue,
    ours: [Bound; 2],
    by_hand: Vec<ByHand>,
}

impl Both {
    fn new(shape: [usize; 4]) -> Self {
        let (device, queue) = wgpu::Device::noop(&wgpu::DeviceDescriptor::default());
        let kernels = Kernels::new(&device);
        let bytes = 4 * shape.iter().product::<usize>() as u64;
        let [x, y, dy, dx] = [(); 4].map(|()| {
            let usage = BufferUsages::STORAGE;
            device.create_buffer(&wgpu::BufferDescriptor { label: None, size: bytes, usage, mapped_at_creation: false })
        });
        let layer = BatchNorm::new(&kernels, shape[1]).unwrap();
        let step = layer.training(&shape, &Bindings::new().x(&x).y(&y).dy(&dy).dx(&dx)).unwrap();
        let descriptor = layer.descriptor(&shape);
        let recipes = [Operation::Forward, Operation::Backward(Gradients::ALL)]
            .map(|operation| kernels.recipe(&descriptor, operation).unwrap());
        let dispatches = recipes.iter().flat_map(|recipe| &recipe.dispatches);
        let by_hand = dispatches.map(|dispatch| ByHand::new(&device, dispatch, |slot| zeros(&device, slot))).collect();
        Self { device, _queue: queue, ours: [step.forward, step.backward], by_hand }
    }

    fn ours(&self, pass: &mut ComputePass<'_>) {
        self.ours.iter().for_each(|bound| bound.record(pass));
    }

    fn by_hand(&self, pass: &mut ComputePass<'_>) {
        self.by_hand.iter().for_each(|dispatch| dispatch.record(pass));
    }

    /// What `record` allocates and how long it takes, so many times in a pass of its own.
    fn measure(&self, record: impl Fn(&mut ComputePass<'_>)) -> (usize, Duration) {
        let mut encoder = self.device.create_command_encoder(&wgpu::CommandEncoderDescriptor::default());
        let mut pass = encoder.begin_compute_pass(&wgpu::ComputePassDescriptor::default());
        let (before, start) = (ALLOCATIONS.get(), Instant::now());
        for _ in 0..RECORDINGS {
            record(&mut pass);
        }
        (ALLOCATIONS.get() - before, start.elapsed())
    }
}

/// A layer whose values a workgroup keeps, and one of two dispatches each way.
const SHAPES: [[usize; 4]; 2] = [[4, 256, 14, 14], [4, 8, 112, 112]];

#[test]
fn recording_allocates_nothing_of_its_own() {
    for shape in SHAPES {
        let both = Both::new(shape);
        let ((ours, _), (by_hand, _)) = (both.measure(|pass| both.ours(pass)), both.measure(|pass| both.by_hand(pass)));
        assert!(ours <= by_hand, "{shape:?}: {ours} allocations, {by_hand} by hand");
        // wgpu's list grows a few times, not once a dispatch.
        assert!(ours < RECORDINGS / 10, "{shape:?}: {ours} allocations");
    }
}

/// The control: an allocation a recording is seen.
#[test]
fn an_allocation_is_counted() {
    let both = Both::new(SHAPES[0]);
    let (ours, _) = both.measure(|pass| both.ours(pass));
    let (more, _) = both.measure(|pass| {
        std::hint::black_box(Box::new(1));
        both.ours(pass);
    });
    assert_eq!(more, ours + RECORDINGS);
}

#[test]
fn recording_takes_wgpus_time_and_next_to_none_besides() {
    for shape in SHAPES {
        let both = Both::new(shape);
        // The best of many: the machine may be busy with something else.
        let (mut ours, mut by_hand) = (Duration::MAX, Duration::MAX);
        for _ in 0..20 {
            ours = ours.min(both.measure(|pass| both.ours(pass)).1);
            by_hand = by_hand.min(both.measure(|pass| both.by_hand(pass)).1);
        }
        let dispatches = (RECORDINGS * both.by_hand.len()) as u32;
        let (ours, by_hand) = (ours / dispatches, by_hand / dispatches);
        println!("{shape:?}: {ours:?} a dispatch, {by_hand:?} by hand");
        assert!(ours < by_hand + LIMIT, "{shape:?}: {ours:?} a dispatch, {by_hand:?} by hand");
    }
}
