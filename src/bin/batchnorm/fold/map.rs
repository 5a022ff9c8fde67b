//! `--map`: which batch norm goes into which layer.

use std::str::FromStr;

use wgpu_batchnorm::fold::Padding;

/// `BN=LAYER` with options after colons, as given. A `*` in both names stands for the same text in both.
#[derive(Clone, Debug, PartialEq)]
pub struct Mapping {
    pub norm: String,
    pub layer: String,
    pub order: Order,
    /// What kind of convolution the layer is, where that is said.
    pub kind: Option<Kind>,
    pub groups: Option<usize>,
}

/// Which of the two runs first.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Order {
    LayerFirst,
    NormFirst(Padding),
}

/// Convolutions whose weights may look alike and are folded differently.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Kind {
    Convolution,
    Depthwise,
    Transposed,
}

impl Kind {
    pub const ALL: [Self; 3] = [Self::Convolution, Self::Depthwise, Self::Transposed];

    /// The option of `--map`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Convolution => "conv",
            Self::Depthwise => "depthwise",
            Self::Transposed => "transposed",
        }
    }
}

impl FromStr for Mapping {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (names, options) = text.split_once(':').map_or((text, None), |(names, options)| (names, Some(options)));
        let both = names.split_once('=').map(|(norm, layer)| (norm.trim(), layer.trim()));
        let Some((norm, layer)) = both.filter(|(norm, layer)| !norm.is_empty() && !layer.is_empty()) else {
            return Err("give BN=LAYER, such as bn1=conv1".to_owned());
        };
        let stars = [norm, layer].map(|name| name.matches('*').count());
        if stars != [0, 0] && stars != [1, 1] {
            return Err("a * stands once in each of the two names, or in neither".to_owned());
        }
        let (mut norm_first, mut groups, mut unpadded, mut kind) = (false, None, false, None);
        for option in options.into_iter().flat_map(|options| options.split(':')).map(str::trim) {
            match option.split_once('=') {
                None if option == "bn-first" => norm_first = true,
                None if option == "unpadded" => unpadded = true,
                Some(("groups", number)) => {
                    let no_number = |_| format!("groups is {number:?}; it must be a number");
                    groups = Some(number.parse().map_err(no_number)?);
                }
                _ => match Kind::ALL.into_iter().find(|kind| kind.name() == option) {
                    Some(one) if kind.is_none_or(|other| one == other) => kind = Some(one),
                    Some(_) => return Err("a layer is one of conv, depthwise and transposed".to_owned()),
                    None => {
                        return Err(format!(
                            "no such option: {option}; there are bn-first, unpadded, groups=N, conv, depthwise and \
                             transposed"
                        ));
                    }
                },
            }
        }
        let transposed = kind == Some(Kind::Transposed);
        if unpadded && !norm_first {
            return Err("unpadded goes with bn-first; without it, it does not matter".to_owned());
        }
        if unpadded && transposed {
            return Err("a transposed convolution is never unpadded".to_owned());
        }
        if groups.is_some() && !norm_first && !transposed {
            return Err("groups=N goes with bn-first and with transposed; else it does not matter".to_owned());
        }
        let padding = if unpadded { Padding::None } else { Padding::Zeros };
        let order = if norm_first { Order::NormFirst(padding) } else { Order::LayerFirst };
        Ok(Self { norm: norm.to_owned(), layer: layer.to_owned(), order, kind, groups })
    }
}

impl Mapping {
    /// Why this mapping and another cannot both be meant.
    pub fn clashes(&self, other: &Self) -> Option<String> {
        let Self { norm, layer, order, .. } = self;
        let before = [order, &other.order].map(|order| *order == Order::LayerFirst);
        match (*norm == other.norm, *layer == other.layer) {
            (true, true) => Some(format!("{norm} is mapped into {layer} twice")),
            (true, false) if before == [false; 2] => None,
            (true, false) => Some(format!(
                "{norm} is mapped into {} and into {layer}; only layers that run after a batch norm can be several, \
                 each with :bn-first",
                other.layer
            )),
            (false, true) if before[0] == before[1] => Some(format!(
                "{} and {norm} are both mapped into {layer} as the batch norm right {} it; only one can be",
                other.norm,
                if before[0] { "after" } else { "before" }
            )),
            _ => None,
        }
    }

    /// This mapping for every one of these batch norms that it names.
    pub fn expand(&self, norms: &[String]) -> Vec<Self> {
        let Some((before, after)) = self.norm.split_once('*') else { return vec![self.clone()] };
        let stands_for = |norm: &String| Some(norm.strip_prefix(before)?.strip_suffix(after)?.to_owned());
        let named = |text: String| Self {
            norm: self.norm.replace('*', &text),
            layer: self.layer.replace('*', &text),
            ..self.clone()
        };
        norms.iter().filter_map(stands_for).map(named).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mapping(norm: &str, layer: &str) -> Mapping {
        let (norm, layer) = (norm.to_owned(), layer.to_owned());
        Mapping { norm, layer, order: Order::LayerFirst, kind: None, groups: None }
    }

    #[test]
    fn reads_what_the_help_says() {
        let plain = mapping("bn1", "conv1");
        let first = |padding| Mapping { order: Order::NormFirst(padding), ..plain.clone() };
        let kind = |kind| Mapping { kind: Some(kind), ..plain.clone() };
        let read = [
            ("bn1=conv1", plain.clone()),
            ("bn1=conv1:bn-first", first(Padding::Zeros)),
            ("bn1=conv1:bn-first:unpadded", first(Padding::None)),
            ("bn1=conv1:groups=4:unpadded:bn-first", Mapping { groups: Some(4), ..first(Padding::None) }),
            (" bn1 = conv1 : groups=4 : bn-first ", Mapping { groups: Some(4), ..first(Padding::Zeros) }),
            ("bn1=conv1:conv", kind(Kind::Convolution)),
            ("bn1=conv1:depthwise", kind(Kind::Depthwise)),
            ("bn1=conv1:transposed:groups=2", Mapping { groups: Some(2), ..kind(Kind::Transposed) }),
        ];
        for (text, expected) in read {
            assert_eq!(text.parse(), Ok(expected), "{text}");
        }
    }

    #[test]
    fn says_what_is_wrong_with_a_map() {
        let refused = [
            ("", "BN=LAYER"),
            ("bn1", "BN=LAYER"),
            ("=conv1", "BN=LAYER"),
            ("bn1=", "BN=LAYER"),
            ("bn1=:bn-first", "BN=LAYER"),
            ("*.bn=conv", "once in each"),
            ("bn=*.conv", "once in each"),
            ("*.*.bn=*.*.conv", "once"),
            ("bn1=conv1:first", "first"),
            ("bn1=conv1:bn-first:groups=x", "\"x\""),
            ("bn1=conv1:groups=2", "bn-first"),
            ("bn1=conv1:unpadded", "bn-first"),
            ("bn1=conv1:conv:transposed", "one of"),
            ("bn1=conv1:bn-first:transposed:unpadded", "never unpadded"),
        ];
        for (text, word) in refused {
            let error = text.parse::<Mapping>().unwrap_err();
            assert!(error.contains(word), "{text}: {error}");
        }
    }

    #[test]
    fn a_star_stands_for_the_same_text_on_both_sides() {
        let norms = ["bn1", "layer1.0.bn1", "layer1.0.bn2", "layer1.1.bn1"].map(String::from);
        let pattern: Mapping = "layer*bn1=layer*conv1".parse().unwrap();
        let expected = [("layer1.0.bn1", "layer1.0.conv1"), ("layer1.1.bn1", "layer1.1.conv1")];
        assert_eq!(pattern.expand(&norms), expected.map(|(norm, layer)| mapping(norm, layer)));
        let all: Mapping = "*bn1=*conv1".parse().unwrap();
        assert_eq!(all.expand(&norms).len(), 3);
        let plain: Mapping = "bn9=conv9".parse().unwrap();
        assert_eq!(plain.expand(&norms), [plain]);
    }
}
