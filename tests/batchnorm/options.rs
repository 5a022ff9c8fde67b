//! Options that make no sense, alone or together: refused by name, with the reason.

use wgpu_batchnorm::{
    Activation, Descriptor, Float, Gradients, Layout, Mask, Over, Padding, PlanError, Renorm, Tensor, Types, View,
};

use crate::check::says;
use crate::noop::Noop;

const FIRST: Layout = Layout::ChannelsFirst;

fn sequences() -> Descriptor {
    Descriptor::new([2, 4, 3], FIRST)
}

/// What every operation says.
fn refusal(descriptor: &Descriptor) -> PlanError {
    let noop = Noop::new();
    let errors = [
        noop.kernels.inference(descriptor).unwrap_err(),
        noop.kernels.forward(descriptor).unwrap_err(),
        noop.kernels.backward(descriptor, Gradients::ALL).unwrap_err(),
        noop.kernels.frozen_backward(descriptor, Gradients::ALL).unwrap_err(),
    ];
    noop.assert_silent();
    let [error, ..] = &errors;
    assert!(errors.iter().all(|other| other == error), "{errors:?}");
    error.clone()
}

#[test]
fn senseless_options() {
    let renorm = |r_max, d_max| sequences().renorm(Renorm { r_max, d_max });
    let types = |x, parameters, running| sequences().types(Types { x, parameters, running });
    let from_y = |activation| sequences().backward_from_y(true).activation(activation);
    let images = Descriptor::new([2, 4, 3, 3], FIRST);
    let refused = [
        (types(Float::F32, Float::F16, Float::F32), "types", "x's type"),
        (types(Float::F32, Float::F32, Float::Bf16), "types", "x's type"),
        (types(Float::F16, Float::Bf16, Float::F32), "types", "x's type"),
        (types(Float::Bf16, Float::Bf16, Float::F16), "types", "x's type"),
        (sequences().padding(Padding::Lengths { axis: 0 }), "padding", "axis of x"),
        (sequences().padding(Padding::Lengths { axis: 1 }), "padding", "axis of x"),
        (sequences().padding(Padding::Lengths { axis: 3 }), "padding", "axis of x"),
        (sequences().over(Over::Groups { samples: 0 }), "over", "at least 1 sample"),
        (sequences().over(Over::Steps { kept: 0 }), "over", "at least 1 step"),
        (Descriptor::new([2, 4], FIRST).over(Over::Steps { kept: 1 }), "over", "third axis"),
        (images.over(Over::Steps { kept: 1 }), "over", "third axis"),
        (renorm(0.9, 1.0), "renorm", "at least 1"),
        (renorm(1.0, -0.1), "renorm", "at least 0"),
        (renorm(f32::NAN, 1.0), "renorm", "at least 1"),
        (renorm(1.0, f32::NAN), "renorm", "at least 0"),
        (renorm(3.0, 5.0).running(None), "renorm", "running statistics"),
        (renorm(3.0, 5.0).backward_from_y(true), "backward_from_y", "renormalization"),
        (sequences().activation(Activation::LeakyRelu(f32::NAN)), "activation", "slope"),
        (sequences().activation(Activation::LeakyRelu(f32::INFINITY)), "activation", "finite"),
        (sequences().activation(Activation::Clamp(1.0, 0.0)), "activation", "lower bound"),
        (sequences().activation(Activation::Clamp(f32::NAN, 0.0)), "activation", "lower bound"),
        (from_y(Activation::Relu), "backward_from_y", "leaky ReLU"),
        (from_y(Activation::LeakyRelu(0.0)), "backward_from_y", "positive slope"),
        (from_y(Activation::LeakyRelu(-0.1)), "backward_from_y", "positive slope"),
        (from_y(Activation::Sigmoid), "backward_from_y", "leaky ReLU"),
        (from_y(Activation::Identity).residual(true), "backward_from_y", "without a residual"),
    ];
    for (descriptor, name, because) in refused {
        let error = refusal(&descriptor);
        assert!(matches!(error, PlanError::Option { option, .. } if option == name), "{descriptor:?}: {error:?}");
        says(&error, &[name, because]);
    }
}

#[test]
fn senseless_views() {
    let view = |tensor, offset, strides: &[isize]| sequences().view(tensor, View { offset, strides: strides.to_vec() });
    let refused = [
        // (An axis is missing; one leads before the start; two values in one place.)
        (view(Tensor::X, 0, &[12, 3]), "x", "2 strides for 3 axes"),
        (view(Tensor::Residual, 0, &[12, 3, 1, 1]), "residual", "4 strides for 3 axes"),
        (view(Tensor::X, 11, &[-12, 3, 1]), "x", "before the start"),
        (view(Tensor::Dy, 0, &[12, 3, -1]), "dy", "before the start"),
        (view(Tensor::Y, 0, &[12, 0, 1]), "y", "two values in one place"),
        (view(Tensor::Dx, 0, &[12, 2, 1]), "dx", "two values in one place"),
        (view(Tensor::Dresidual, 0, &[8, 3, 1]), "dresidual", "two values in one place"),
    ];
    for (descriptor, name, because) in refused {
        let error = refusal(&descriptor);
        assert!(matches!(error, PlanError::View { tensor, .. } if tensor == name), "{descriptor:?}: {error:?}");
        says(&error, &[name, because]);
    }
}

/// What is odd, but has a meaning, is planned.
#[test]
fn unusual_options() {
    let view = |tensor, offset, strides: &[isize]| sequences().view(tensor, View { offset, strides: strides.to_vec() });
    let planned = [
        sequences().padding(Padding::Mask(Mask::Bytes)),
        sequences().over(Over::Groups { samples: 100 }),
        sequences().over(Over::Steps { kept: 100 }),
        sequences().renorm(Renorm { r_max: 1.0, d_max: 0.0 }),
        sequences().activation(Activation::LeakyRelu(-1.0)),
        sequences().activation(Activation::Clamp(f32::NEG_INFINITY, f32::INFINITY)),
        sequences().backward_from_y(true).activation(Activation::LeakyRelu(2.0)),
        // One value again and again; a flip; axes the other way round.
        view(Tensor::X, 5, &[0, 0, 0]),
        view(Tensor::Y, 23, &[-12, -3, -1]),
        view(Tensor::X, 0, &[1, 2, 8]).view(Tensor::Dx, View { offset: 7, strides: vec![1, 2, 8] }),
    ];
    for descriptor in planned {
        let noop = Noop::new();
        noop.kernels.inference(&descriptor).unwrap();
        noop.kernels.forward(&descriptor).unwrap();
        noop.kernels.backward(&descriptor, Gradients::ALL).unwrap();
        noop.kernels.frozen_backward(&descriptor, Gradients::ALL).unwrap();
        noop.assert_silent();
    }
}
