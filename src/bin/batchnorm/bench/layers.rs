//! What is timed: shapes, from a file or from a network's architecture.

use wgpu_batchnorm::{Descriptor, Layout};

/// A shape, and how many layers of a network have it.
#[derive(Clone, Debug, PartialEq)]
pub struct Layer {
    /// N, C and the spatial sizes, in this order whatever the layout.
    pub shape: Vec<usize>,
    pub count: usize,
}

impl Layer {
    /// The batch norm of this layer, with PyTorch's defaults.
    pub fn descriptor(&self, layout: Layout) -> Descriptor {
        let mut shape = self.shape.clone();
        if layout == Layout::ChannelsLast {
            shape[1..].rotate_left(1);
        }
        Descriptor::new(shape, layout)
    }

    pub fn values(&self) -> u64 {
        self.shape.iter().fold(1, |product, n| product.saturating_mul(*n as u64))
    }
}

/// A shape for people: `32×64×56×56`.
pub fn name(shape: &[usize]) -> String {
    shape.iter().map(usize::to_string).collect::<Vec<_>>().join("×")
}

/// The 53 batch norms of ResNet-50 on images of 224×224 (He et al. 2015, with the stride in the 3×3
/// convolution as torchvision has it): equal shapes once, in the order of the network.
pub fn resnet50(batch: usize) -> Vec<Layer> {
    let mut layers: Vec<Layer> = Vec::new();
    let mut add = |channels: usize, size: usize| {
        let shape = vec![batch, channels, size, size];
        match layers.iter_mut().find(|layer| layer.shape == shape) {
            Some(layer) => layer.count += 1,
            None => layers.push(Layer { shape, count: 1 }),
        }
    };
    // The stem halves 224; max pooling halves again, before the first stage.
    add(64, 112);
    let mut input = 56;
    for (stage, blocks) in [3, 4, 6, 3].into_iter().enumerate() {
        let (width, output) = (64 << stage, 56 >> stage);
        for block in 0..blocks {
            add(width, input);
            add(width, output);
            add(4 * width, output);
            if block == 0 {
                // The shortcut's own convolution, where the number of channels changes.
                add(4 * width, output);
            }
            input = output;
        }
    }
    layers
}

/// Shapes as text: a line each, `N,C,H,W` or `N,C` and any spatial sizes; `#` starts a comment.
///
/// # Errors
/// The first line that is no shape, by its number from 1, and what a line should be.
pub fn parse(text: &str) -> Result<Vec<Layer>, String> {
    let mut layers = Vec::new();
    for (number, line) in (1..).zip(text.lines()) {
        let shape = line.split('#').next().unwrap_or_default().trim();
        if shape.is_empty() {
            continue;
        }
        let sizes: Option<Vec<usize>> =
            shape.split(',').map(|size| size.trim().parse().ok().filter(|size| *size > 0)).collect();
        match sizes {
            Some(shape) if shape.len() >= 2 => layers.push(Layer { shape, count: 1 }),
            _ => {
                return Err(format!(
                    "line {number}: {shape:?} is no shape; expected N,C,H,W (or N,C and any spatial sizes) in whole \
                     numbers from 1, such as 32,64,56,56"
                ));
            }
        }
    }
    if layers.is_empty() {
        return Err("no shape in it; expected one N,C,H,W a line, such as 32,64,56,56".to_owned());
    }
    Ok(layers)
}

#[cfg(test)]
mod tests {
    use super::{Layer, name, parse, resnet50};
    use wgpu_batchnorm::Layout;

    #[test]
    fn resnet50_has_its_53_layers() {
        let layers = resnet50(1);
        let sum = |of: fn(&Layer) -> usize| layers.iter().map(|layer| layer.count * of(layer)).sum::<usize>();
        assert_eq!(sum(|_| 1), 53);
        // Half of the 53,120 batch-norm parameters that the network is known to have.
        assert_eq!(sum(|layer| layer.shape[1]), 26_560);
        // The 11.1 million activations of its convolutions' outputs.
        assert_eq!(sum(|layer| layer.values() as usize), 11_113_984);
        assert_eq!(layers.len(), 12);
        assert_eq!(layers[0], Layer { shape: vec![1, 64, 112, 112], count: 1 });
        assert_eq!(layers[11], Layer { shape: vec![1, 2048, 7, 7], count: 4 });
    }

    #[test]
    fn channels_last_moves_the_channel() {
        let layer = Layer { shape: vec![2, 3, 4, 5], count: 1 };
        assert_eq!(layer.descriptor(Layout::ChannelsFirst).shape(), [2, 3, 4, 5]);
        assert_eq!(layer.descriptor(Layout::ChannelsLast).shape(), [2, 4, 5, 3]);
    }

    #[test]
    fn shapes_are_read_with_comments_and_blanks() {
        let layers = parse("# N,C,H,W\n\n 32, 64,56,56 # stage 1\r\n128,256\n").unwrap();
        assert_eq!(layers.iter().map(|layer| name(&layer.shape)).collect::<Vec<_>>(), ["32×64×56×56", "128×256"]);
    }

    #[test]
    fn a_bad_line_is_named() {
        for (text, line) in [("1,2\n1,x\n", 2), ("#\n\n7\n", 3), ("1,0,2", 1), ("1,-2", 1), ("1,2,", 1), ("1;2", 1)] {
            let error = parse(text).unwrap_err();
            assert!(error.starts_with(&format!("line {line}: ")) && error.contains("N,C,H,W"), "{error}");
        }
        assert!(parse("# nothing\n").unwrap_err().contains("no shape"));
    }
}
