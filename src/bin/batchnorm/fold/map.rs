//! `--map`: which batch norm goes into which layer.

use std::str::FromStr;

use wgpu_batchnorm::fold::Padding;

/// `BN=LAYER` with options after colons, as given. A `*` in both names stands for the same text in both.
#[derive(Clone, Debug, PartialEq)]
pub struct Mapping {
    pub norm: String,
    pub layer: String,
    pub order: Order,
}

/// Which of the two runs first.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Order {
    LayerFirst,
    NormFirst { groups: usize, padding: Padding },
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
        let (mut norm_first, mut groups, mut unpadded) = (false, None, false);
        for option in options.into_iter().flat_map(|options| options.split(':')).map(str::trim) {
            match option.split_once('=') {
                None if option == "bn-first" => norm_first = true,
                None if option == "unpadded" => unpadded = true,
                Some(("groups", number)) => {
                    let no_number = |_| format!("groups is {number:?}; it must be a number");
                    groups = Some(number.parse().map_err(no_number)?);
                }
                _ => return Err(format!("no such option: {option}; there are bn-first, unpadded and groups=N")),
            }
        }
        let order = match (norm_first, groups, unpadded) {
            (false, None, false) => Order::LayerFirst,
            (false, ..) => return Err("unpadded and groups=N go with bn-first; without it neither matters".to_owned()),
            (true, ..) => Order::NormFirst {
                groups: groups.unwrap_or(1),
                padding: if unpadded { Padding::None } else { Padding::Zeros },
            },
        };
        Ok(Self { norm: norm.to_owned(), layer: layer.to_owned(), order })
    }
}

impl Mapping {
    /// Why this mapping and another cannot both be meant.
    pub fn clashes(&self, other: &Self) -> Option<String> {
        let Self { norm, layer, order } = self;
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
            order: self.order,
        };
        norms.iter().filter_map(stands_for).map(named).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mapping(norm: &str, layer: &str, order: Order) -> Mapping {
        Mapping { norm: norm.to_owned(), layer: layer.to_owned(), order }
    }

    #[test]
    fn reads_what_the_help_says() {
        let read = [
            ("bn1=conv1", Order::LayerFirst),
            ("bn1=conv1:bn-first", Order::NormFirst { groups: 1, padding: Padding::Zeros }),
            ("bn1=conv1:bn-first:unpadded", Order::NormFirst { groups: 1, padding: Padding::None }),
            ("bn1=conv1:groups=4:unpadded:bn-first", Order::NormFirst { groups: 4, padding: Padding::None }),
            (" bn1 = conv1 : groups=4 : bn-first ", Order::NormFirst { groups: 4, padding: Padding::Zeros }),
        ];
        for (text, order) in read {
            assert_eq!(text.parse(), Ok(mapping("bn1", "conv1", order)), "{text}");
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
        assert_eq!(pattern.expand(&norms), expected.map(|(norm, layer)| mapping(norm, layer, Order::LayerFirst)));
        let all: Mapping = "*bn1=*conv1".parse().unwrap();
        assert_eq!(all.expand(&norms).len(), 3);
        let plain: Mapping = "bn9=conv9".parse().unwrap();
        assert_eq!(plain.expand(&norms), [plain]);
    }
}
