//! The shortest useful program: a layer with known statistics, applied to a batch.
//!
//! ```sh
//! cargo run --example inference --features gpu
//! ```

use wgpu_batchnorm::{BatchNorm, Bindings, Error, Gpu};

fn main() {
    if let Err(error) = pollster::block_on(run()) {
        eprintln!("{error}");
        std::process::exit(1);
    }
}

async fn run() -> Result<(), Error> {
    let gpu = Gpu::new().await?;
    println!("{}", gpu.name());

    // A batch of 2 images with 3 channels of 2×2 pixels. Channel c is around 10c.
    let shape = [2, 3, 2, 2];
    let batch: [f32; 24] = std::array::from_fn(|i| (10 * (i / 4 % 3) + i % 4) as f32);
    let x = gpu.upload(&batch)?;
    let y = gpu.empty(x.size())?;

    // γ = 1 and β = 0 as in a new layer; the statistics are those that training left.
    let mut layer = BatchNorm::new(&gpu.kernels, 3)?;
    layer.running_mean = gpu.upload(&[1.5_f32, 11.5, 21.5])?;
    layer.running_variance = gpu.upload(&[1.25_f32; 3])?;

    let norm = layer.inference(&shape, &Bindings::new().x(&x).y(&y))?;
    gpu.run(|pass| norm.record(pass));

    let y: Vec<f32> = gpu.read(&y).await?;
    for (image, channels) in y.chunks(12).enumerate() {
        for (channel, pixels) in channels.chunks(4).enumerate() {
            println!("image {image}, channel {channel}: {pixels:6.3?}");
        }
    }
    Ok(())
}
