//! `cargo xtask fuzz`: the random cases of the tests, for as long as is asked.

use std::ffi::OsString;

use crate::steps::Step;

/// What was asked for.
#[derive(Debug, PartialEq)]
pub struct Asked {
    minutes: u64,
    /// Another one every time, where none is given.
    seed: Option<u64>,
}

/// Those tests of the library that try random cases (`tests/batchnorm/fuzz.rs`), all at once, whatever the cores: each
/// takes as long as was asked for.
const STEP: Step<'static> = Step {
    name: "fuzz",
    line: "cargo test -p wgpu-batchnorm --all-features --test batchnorm -- --nocapture --test-threads 8 \
           fuzz:: canary:: answers:: amounts::every_window",
};

impl Asked {
    pub fn read(options: &[&str]) -> Result<Self, String> {
        let mut asked = Self { minutes: 1, seed: None };
        for option in options.chunks(2) {
            let number =
                |value: &str| value.parse().map_err(|_| format!("fuzz {}: {value:?} is no whole number", option[0]));
            match *option {
                ["--minutes", value] => asked.minutes = number(value)?,
                ["--seed", value] => asked.seed = Some(number(value)?),
                _ => return Err(format!("fuzz takes --minutes N and --seed S, not {option:?}")),
            }
        }
        Ok(asked)
    }

    pub fn run(&self) -> Result<(), String> {
        let mut environment = vec![("BATCHNORM_FUZZ_MINUTES", OsString::from(self.minutes.to_string()))];
        environment.extend(self.seed.map(|seed| ("BATCHNORM_FUZZ_SEED", OsString::from(seed.to_string()))));
        STEP.run(&environment).map(drop)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_are_read_in_any_order() {
        assert_eq!(Asked::read(&[]), Ok(Asked { minutes: 1, seed: None }));
        let both = Ok(Asked { minutes: 10, seed: Some(7) });
        assert_eq!(Asked::read(&["--minutes", "10", "--seed", "7"]), both);
        assert_eq!(Asked::read(&["--seed", "7", "--minutes", "10"]), both);
        for wrong in [&["--minutes"][..], &["--minutes", "long"], &["--hours", "1"], &["--seed", "-1"]] {
            assert!(Asked::read(wrong).is_err(), "{wrong:?}");
        }
    }
}
