//! Convolutions, linear layers and batch norm on the CPU in f64, from their definitions: what folding is
//! held against.

use wgpu_batchnorm::fold::{Affine, Folded, Layer, Padding};

/// Images, row-major `[n, c, h, w]`. What a linear layer takes and gives has h = w = 1.
#[derive(Clone, Debug, PartialEq)]
pub struct Images {
    pub shape: [usize; 4],
    pub values: Vec<f64>,
}

/// How a convolution walks over its input.
#[derive(Clone, Copy, Debug)]
pub struct Walk {
    pub stride: usize,
    /// Zeros on every side.
    pub zeros: usize,
    pub groups: usize,
}

impl Walk {
    pub const PLAIN: Self = Self { stride: 1, zeros: 0, groups: 1 };

    pub fn padding(self) -> Padding {
        if self.zeros == 0 { Padding::None } else { Padding::Zeros }
    }
}

impl Images {
    pub fn random(shape: [usize; 4], seed: u64) -> Self {
        Self { shape, values: random(shape.iter().product(), seed) }
    }

    /// y\[n, o, p, q\] = b\[o\] + Σ W\[o, i, u, v\]·x\[n, first(o) + i, s·p + u − z, s·q + v − z\]. A weight of two
    /// axes has a kernel of 1×1, one of three a kernel of one row.
    pub fn convolve(&self, layer: &Layer<'_, f64>, walk: Walk) -> Self {
        let [n, c, h, w] = self.shape;
        let (outputs, inputs) = (layer.shape[0], layer.shape[1]);
        let (rows, columns) = match layer.shape[2..] {
            [] => (1, 1),
            [columns] => (1, columns),
            [rows, columns] => (rows, columns),
            _ => panic!("no kernel of {:?}", layer.shape),
        };
        let Walk { stride, zeros, groups } = walk;
        let zeros_above = if layer.shape.len() == 3 { 0 } else { zeros };
        let steps = |size: usize, kernel: usize, zeros: usize| (size + 2 * zeros - kernel) / stride + 1;
        let shape = [n, outputs, steps(h, rows, zeros_above), steps(w, columns, zeros)];
        let x = |n: usize, i: usize, row: usize, column: usize| match (
            row.checked_sub(zeros_above),
            column.checked_sub(zeros),
        ) {
            (Some(row), Some(column)) if row < h && column < w => self.values[((n * c + i) * h + row) * w + column],
            _ => 0.0,
        };
        let values = positions(shape).map(|[n, o, p, q]| {
            let first = o / (outputs / groups) * inputs;
            let terms = positions([1, inputs, rows, columns]).map(|[_, i, u, v]| {
                let weight = layer.weight[((o * inputs + i) * rows + u) * columns + v];
                weight * x(n, first + i, stride * p + u, stride * q + v)
            });
            layer.bias.map_or(0.0, |bias| bias[o]) + terms.sum::<f64>()
        });
        Self { shape, values: values.collect() }
    }

    /// y = s·x + t.
    pub fn normalize(&self, norm: &Affine) -> Self {
        let values = positions(self.shape).zip(&self.values);
        Self { shape: self.shape, values: values.map(|([_, c, ..], x)| norm.scale[c] * x + norm.shift[c]).collect() }
    }

    /// The largest difference from others of the same shape, relative to the largest value.
    pub fn distance(&self, other: &Self) -> f64 {
        assert_eq!(self.shape, other.shape);
        let largest = self.values.iter().fold(0.0, |most: f64, x| most.max(x.abs()));
        let differences = self.values.iter().zip(&other.values).map(|(a, b)| (a - b).abs());
        differences.fold(0.0, f64::max) / largest
    }
}

/// The layer that folding made of this one.
pub fn folded<'a>(folded: &'a Folded, layer: &Layer<'a, f64>) -> Layer<'a, f64> {
    Layer { weight: &folded.weight, bias: Some(&folded.bias), ..*layer }
}

/// Values from -1 to 1, the same for the same seed.
pub fn random(n: usize, seed: u64) -> Vec<f64> {
    // The linear congruential generator of Knuth's MMIX.
    let mut state = seed;
    let mut next = || {
        state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (state >> 11) as f64 / (1u64 << 52) as f64 - 1.0
    };
    // The first few of small seeds are alike.
    (0..n + 8).map(|_| next()).skip(8).collect()
}

/// All positions of a shape, the last axis fastest.
fn positions([a, b, c, d]: [usize; 4]) -> impl Iterator<Item = [usize; 4]> {
    (0..a * b * c * d).map(move |i| [i / (b * c * d), i / (c * d) % b, i / d % c, i % d])
}
