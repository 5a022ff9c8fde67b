//! A batch in several places: each gathers its statistics, one merges them, each normalises by the whole; and
//! back likewise.

use wgpu_batchnorm::wgpu::{Buffer, CommandEncoderDescriptor};
use wgpu_batchnorm::{Bindings, Descriptor, Error, Float, Gpu, Plan};

use super::exercise::{Output, Outputs, Ran, Stop, convention, output, problem};
use super::file::Case;

/// One of the places, with its part of the batch.
struct Rank {
    descriptor: Descriptor,
    x: Buffer,
    dy: Buffer,
    y: Buffer,
    dx: Buffer,
    statistics: Buffer,
    sums: Buffer,
}

impl Rank {
    fn new(gpu: &Gpu, case: &Case, rank: usize) -> Result<Self, Stop> {
        let descriptor = problem(case, &format!("in.x.{rank}"), None)?.descriptor;
        let values = |name: &str| case.f32(&format!("in.{name}.{rank}")).map(Option::unwrap_or_default);
        let (x, dy) = (gpu.upload(values("x")?)?, gpu.upload(values("dy")?)?);
        let [y, dx] = [gpu.empty(x.size())?, gpu.empty(x.size())?];
        let [statistics, sums] = [planes(gpu, &descriptor, 3)?, planes(gpu, &descriptor, 2)?];
        Ok(Self { descriptor, x, dy, y, dx, statistics, sums })
    }
}

/// Runs all ranks on the one device.
pub async fn sync(gpu: &Gpu, case: &Case) -> Outputs {
    for key in ["dtype", "param_dtype", "stat_dtype"] {
        if case.float(key)? != Float::F32 {
            return Err(Stop::Ran(Ran::LeftOut("ranks whose tensors are not f32".to_owned())));
        }
    }
    let kernels = &gpu.kernels;
    let whole = problem(case, "in.x.0", convention(case)?)?;
    let descriptor = &whole.descriptor;
    let ranks = (0..).take_while(|rank| case.has(&format!("in.x.{rank}")));
    let ranks = ranks.map(|rank| Rank::new(gpu, case, rank)).collect::<Result<Vec<_>, _>>()?;
    let parts = ranks.len() as u32;
    let optional = |name: &str, values: &[f32]| case.has(name).then(|| gpu.upload(values)).transpose();
    let (gamma, beta) = (optional("in.gamma", &whole.gamma)?, optional("in.beta", &whole.beta)?);
    let (mean, variance) = (gpu.upload(&whole.running_mean)?, gpu.upload(&whole.running_variance)?);
    // γ and β, for whichever plan takes them.
    let given = Bindings::new().gamma(gamma.as_ref()).beta(beta.as_ref());
    let bind = |plan: Plan, to: Bindings<'_>| plan.bind(&to.taken_by(&plan));

    for Rank { descriptor, x, statistics, .. } in &ranks {
        let plan = kernels.gather(descriptor)?;
        let scratch = gpu.empty(plan.scratch_bytes())?;
        let gather = plan.bind(&Bindings::new().x(x).statistics(statistics).scratch(&scratch))?;
        gpu.run(|pass| gather.record(pass));
    }
    let many = joined(gpu, ranks.iter().map(|rank| &rank.statistics))?;
    let [statistics, saved, scale_and_shift] =
        [planes(gpu, descriptor, 3)?, planes(gpu, descriptor, 4)?, planes(gpu, descriptor, 2)?];
    let merge = kernels.merge(descriptor, parts)?;
    let merge = merge.bind(&Bindings::new().many(&many).statistics(&statistics))?;
    let to = given.clone().statistics(&statistics).saved(&saved).scale_and_shift(&scale_and_shift);
    let finalize = bind(kernels.finalize(descriptor)?, to.running_mean(&mean).running_variance(&variance))?;
    gpu.run(|pass| [&merge, &finalize].into_iter().for_each(|bound| bound.record(pass)));
    for Rank { descriptor, x, dy, y, sums, .. } in &ranks {
        let normalize = kernels.normalize(descriptor)?.bind(&given.clone().x(x).y(y).saved(&saved))?;
        let plan = kernels.gather_backward(descriptor)?;
        let scratch = gpu.empty(plan.scratch_bytes())?;
        let gather = plan.bind(&Bindings::new().x(x).dy(dy).saved(&saved).sums(sums).scratch(&scratch))?;
        gpu.run(|pass| [&normalize, &gather].into_iter().for_each(|bound| bound.record(pass)));
    }
    let many = joined(gpu, ranks.iter().map(|rank| &rank.sums))?;
    let [sums, dgamma, dbeta, coefficients] = [
        planes(gpu, descriptor, 2)?,
        planes(gpu, descriptor, 1)?,
        planes(gpu, descriptor, 1)?,
        planes(gpu, descriptor, 3)?,
    ];
    let merge = kernels.merge_backward(descriptor, parts)?;
    let merge = merge.bind(&Bindings::new().many(&many).sums(&sums))?;
    let to = given.clone().sums(&sums).saved(&saved).dgamma(&dgamma).dbeta(&dbeta).coefficients(&coefficients);
    let finalize = bind(kernels.finalize_backward(descriptor)?, to)?;
    gpu.run(|pass| [&merge, &finalize].into_iter().for_each(|bound| bound.record(pass)));
    for Rank { descriptor, x, dy, dx, .. } in &ranks {
        let apply =
            bind(kernels.apply_backward(descriptor)?, given.clone().x(x).dy(dy).saved(&saved).sums(&sums).dx(dx))?;
        gpu.run(|pass| apply.record(pass));
    }

    let read = async |buffer: &Buffer| gpu.read::<f32>(buffer).await.map_err(Error::from);
    let mut outputs = Vec::new();
    for (rank, Rank { y, dx, sums, .. }) in ranks.iter().enumerate() {
        let sums = read(sums).await?;
        let (of_beta, of_gamma) = sums.split_at(sums.len() / 2);
        let (y, dx) = (read(y).await?, read(dx).await?);
        for (name, values) in [("y", &y[..]), ("dx", &dx), ("dgamma_local", of_gamma), ("dbeta_local", of_beta)] {
            outputs.push(output(&format!("{name}.{rank}"), values));
        }
    }
    let saved = read(&saved).await?;
    let planes = saved.chunks(saved.len() / 4);
    outputs.extend(
        ["save_mean", "save_invstd", "save_var"].into_iter().zip(planes).map(|(name, plane)| output(name, plane)),
    );
    for (name, buffer) in [("dgamma", &dgamma), ("dbeta", &dbeta), ("running_mean", &mean), ("running_var", &variance)]
    {
        outputs.push(Output { name: name.to_owned(), values: read(buffer).await? });
    }
    Ok(outputs)
}

/// So many planes of C values.
fn planes(gpu: &Gpu, descriptor: &Descriptor, planes: usize) -> Result<Buffer, Error> {
    Ok(gpu.empty(4 * (planes * descriptor.channels()) as u64)?)
}

/// Buffers of one size, one after the other in a buffer.
fn joined<'a>(gpu: &Gpu, buffers: impl Iterator<Item = &'a Buffer>) -> Result<Buffer, Error> {
    let buffers: Vec<&Buffer> = buffers.collect();
    let whole = gpu.empty(buffers.iter().map(|buffer| buffer.size()).sum())?;
    let mut encoder = gpu.device.create_command_encoder(&CommandEncoderDescriptor::default());
    let mut end = 0;
    for buffer in buffers {
        encoder.copy_buffer_to_buffer(buffer, 0, &whole, end, buffer.size());
        end += buffer.size();
    }
    gpu.queue.submit([encoder.finish()]);
    Ok(whole)
}
