//! Every error of planning: its variant, and a message that names the argument, what it was and what it
//! had to be.

use wgpu_batchnorm::recipe::Regime;
use wgpu_batchnorm::shader::Tile;
use wgpu_batchnorm::wgpu::Limits;
use wgpu_batchnorm::{Choice, Descriptor, Gradients, Layout, Momentum, PlanError, Running, Tensor, View};

use crate::check::says;
use crate::noop::Noop;

const FIRST: Layout = Layout::ChannelsFirst;

fn images() -> Descriptor {
    Descriptor::new([2, 4, 3], FIRST)
}

fn refused(descriptor: &Descriptor, words: &[&str]) -> PlanError {
    let noop = Noop::new();
    let errors = [
        noop.kernels.inference(descriptor).err(),
        noop.kernels.forward(descriptor).err(),
        noop.kernels.backward(descriptor, Gradients::ALL).err(),
        noop.kernels.frozen_backward(descriptor, Gradients::ALL).err(),
    ];
    noop.assert_silent();
    let error = errors[0].clone().unwrap();
    // By their text: a NaN is not equal to itself.
    assert!(errors.iter().all(|other| format!("{other:?}") == format!("{:?}", Some(&error))), "{errors:?}");
    says(&error, words);
    error
}

#[test]
fn rank() {
    let error = refused(&Descriptor::new([7], FIRST), &["[7]", "1 axes", "at least 2"]);
    assert_eq!(error, PlanError::Rank { shape: vec![7] });
    refused(&Descriptor::new([], Layout::ChannelsLast), &["[]", "0 axes"]);
}

#[test]
fn zero_size() {
    let error = refused(&Descriptor::new([2, 0, 4, 3], FIRST), &["axis 1", "[2, 0, 4, 3]", "channels", "at least 1"]);
    assert_eq!(error, PlanError::ZeroSize { shape: vec![2, 0, 4, 3], axis: 1 });
    refused(&Descriptor::new([4, 3, 0], Layout::ChannelsLast), &["axis 2"]);
    // Of an empty batch there is nothing to do, which is no error.
    let noop = Noop::new();
    for shape in [[0, 4, 3], [2, 4, 0]] {
        assert!(noop.kernels.inference(&Descriptor::new(shape, FIRST)).unwrap().recipe().dispatches.is_empty());
        noop.kernels.forward(&Descriptor::new(shape, FIRST)).unwrap();
        noop.kernels.backward(&Descriptor::new(shape, FIRST), Gradients::ALL).unwrap();
    }
    noop.assert_silent();
}

#[test]
fn too_many_values() {
    for shape in [vec![1 << 20, (1 << 20) + 1], vec![usize::MAX, 2], vec![1, 1, 1 << 31], vec![usize::MAX; 5]] {
        let error = refused(&Descriptor::new(shape.clone(), FIRST), &[&format!("{shape:?}"), "2^31 - 1", "2^40"]);
        assert_eq!(error, PlanError::TooManyValues { shape });
    }
}

#[test]
fn epsilon() {
    for epsilon in [-1e-5, f32::INFINITY, f32::NEG_INFINITY, f32::NAN] {
        let error = refused(&images().epsilon(epsilon), &["epsilon", &epsilon.to_string(), "positive", "1e-5"]);
        assert!(matches!(error, PlanError::Epsilon { .. }));
    }
}

/// In training 0 will not do, nor what an adapter may take for it; where statistics are constants it will.
#[test]
fn epsilon_of_zero() {
    let noop = Noop::new();
    for epsilon in [0.0, 1e-40] {
        let (kernels, images) = (&noop.kernels, images().epsilon(epsilon));
        kernels.inference(&images).unwrap();
        kernels.frozen_backward(&images, Gradients::ALL).unwrap();
        kernels.normalize(&images).unwrap();
        let refused = [
            kernels.forward(&images).unwrap_err(),
            kernels.backward(&images, Gradients::ALL).unwrap_err(),
            kernels.finalize(&images).unwrap_err(),
        ];
        for error in refused {
            says(&error, &["epsilon", &epsilon.to_string(), "in training", "constants", "inference", "1e-5"]);
            assert!(matches!(error, PlanError::Epsilon { .. }));
        }
    }
    noop.assert_silent();
}

#[test]
fn momentum() {
    let noop = Noop::new();
    for momentum in [Momentum::New(-0.1), Momentum::New(1.5), Momentum::Old(1.5), Momentum::New(f64::NAN)] {
        let descriptor = images().running(Running { momentum, ..Running::default() });
        let error = noop.kernels.forward(&descriptor).unwrap_err();
        assert!(matches!(error, PlanError::Momentum { .. }), "{error:?}");
        says(&error, &["momentum", &momentum.weight_of_new(1).to_string(), "0 to 1"]);
        // Inference moves nothing.
        noop.kernels.inference(&descriptor).unwrap();
    }
    noop.assert_silent();
}

#[test]
fn one_value() {
    let noop = Noop::new();
    let single = Descriptor::new([1, 4, 1], FIRST);
    let expected = PlanError::OneValue { shape: vec![1, 4, 1] };
    assert_eq!(noop.kernels.forward(&single).unwrap_err(), expected);
    assert_eq!(noop.kernels.backward(&single, Gradients::ALL).unwrap_err(), expected);
    says(&expected, &["[1, 4, 1]", "one value", "at least 2", "inference"]);
    noop.kernels.inference(&single).unwrap();
    noop.kernels.frozen_backward(&single, Gradients::ALL).unwrap();
    noop.assert_silent();
}

#[test]
fn no_gradient() {
    let noop = Noop::new();
    let none = Gradients { dx: false, dgamma: false, dbeta: false };
    assert_eq!(noop.kernels.backward(&images(), none).unwrap_err(), PlanError::NoGradient);
    assert_eq!(noop.kernels.frozen_backward(&images(), none).unwrap_err(), PlanError::NoGradient);
    says(&PlanError::NoGradient, &["dx", "dgamma", "dbeta"]);
    noop.assert_silent();
}

#[test]
fn limits() {
    // 128 MiB are one binding's limit by default, and what lies in a view is not cut within a sample.
    let view = View { offset: 0, strides: vec![80_000_000, 1, 2] };
    let error = refused(
        &Descriptor::new([1, 1, 40_000_000], FIRST).view(Tensor::X, view.clone()).view(Tensor::Dy, view),
        &["x", "319999996", "max_storage_buffer_binding_size", "134217728"],
    );
    assert!(matches!(error, PlanError::Limit { what: "x", needs: 319_999_996, has: 134_217_728, .. }));
    let noop = Noop::with(Limits { max_storage_buffers_per_shader_stage: 3, ..Limits::default() });
    let error = noop.kernels.backward(&images(), Gradients::ALL).unwrap_err();
    says(&error, &["backward", "max_storage_buffers_per_shader_stage", "3", "plain batch norm take 4"]);
    noop.assert_silent();
    let noop = Noop::with(Limits { max_compute_workgroups_per_dimension: 3, ..Limits::default() });
    let error = noop.kernels.forward(&Descriptor::new([2, 5_000, 3], FIRST)).unwrap_err();
    says(&error, &["grid", "max_compute_workgroups_per_dimension", "3"]);
    noop.assert_silent();
}

#[test]
fn choices() {
    let noop = Noop::new();
    let tile = |columns, lanes| Choice { tile: Some(Tile { columns, lanes }), ..Choice::default() };
    let refusals = [
        (Choice { wide: Some(true), ..Choice::default() }, ["wide", "3 values", "multiple of 4"]),
        (tile(1, 3), ["tile", "lanes", "power of two"]),
        (tile(0, 4), ["tile", "columns", "at least 1"]),
        (tile(1, 512), ["tile", "invocations", "device allows"]),
        (tile(1 << 20, 1 << 20), ["tile", "invocations", "device allows"]),
        (
            Choice { regime: Some(Regime::Split), parts: Some(99), ..Choice::default() },
            ["parts", "6 elements", "6 parts"],
        ),
    ];
    for (choice, words) in refusals {
        let error = noop.kernels.choosing(choice).forward(&images()).unwrap_err();
        assert!(matches!(error, PlanError::Choice { .. }), "{error:?}");
        says(&error, &words);
    }
    let elementwise = Choice { regime: Some(Regime::Elementwise), ..Choice::default() };
    says(&noop.kernels.choosing(elementwise).forward(&images()).unwrap_err(), &["regime", "resident or split"]);
    let parted = Choice { regime: Some(Regime::Resident), parts: Some(2), ..Choice::default() };
    says(&noop.kernels.choosing(parted).forward(&images()).unwrap_err(), &["parts", "resident", "one part"]);
    let resident = Choice { regime: Some(Regime::Resident), ..Choice::default() };
    let error = noop.kernels.choosing(resident).forward(&Descriptor::new([1, 1, 1_000_000], FIRST)).unwrap_err();
    says(&error, &["regime", "250000 elements", "registers"]);
    noop.assert_silent();
}

/// A device that takes no kernel of ours: it allows no uniform buffer.
#[test]
fn pipeline() {
    let noop = Noop::with(Limits { max_uniform_buffers_per_shader_stage: 0, ..Limits::default() });
    let error = noop.kernels.inference(&images()).unwrap_err();
    assert!(matches!(error, PlanError::Pipeline { .. }), "{error:?}");
    says(&error, &["inference", "report", "uniform"]);
    noop.assert_silent();
}

#[test]
fn no_running() {
    let noop = Noop::new();
    let error = noop.kernels.update_running(&images().running(None)).unwrap_err();
    assert_eq!(error, PlanError::NoRunning);
    says(&error, &["no running statistics", "Descriptor::running"]);
    noop.assert_silent();
}
