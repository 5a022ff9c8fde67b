//! The shortest example as a user runs it: it learns, and what it draws is the same each time.

use std::fs;
use std::process::Command;

/// What it printed, without the times, and its two pictures.
fn run(name: &str) -> (Vec<String>, [String; 2]) {
    let folder = tempfile::tempdir().unwrap();
    let manifest = concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml");
    let output = Command::new(env!("CARGO"))
        .args(["run", "--quiet", "--manifest-path", manifest, "--example", name])
        .current_dir(folder.path())
        .output()
        .unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    assert!(output.status.success(), "{}", text(output.stderr));
    let lines = text(output.stdout).lines().filter(|line| !line.contains("epochs in")).map(str::to_owned).collect();
    let picture = |part: &str| fs::read_to_string(folder.path().join(format!("{name}{part}.svg"))).unwrap();
    (lines, [picture(""), picture("_distributions")])
}

#[test]
fn simple_net_learns_and_repeats() {
    let (lines, pictures) = run("simple_net");
    let right = |network: &str| -> f64 {
        let last = lines.iter().rfind(|line| line.starts_with(network) && line.contains("% of")).unwrap();
        last[..last.find(" %").unwrap()].rsplit(' ').next().unwrap().parse().unwrap()
    };
    assert!(right("with batch norm") >= 97.0, "{lines:#?}");
    let first_loss = |network: &str| {
        let line = lines.iter().find(|line| line.starts_with(network)).unwrap();
        line.split("loss ").nth(1).and_then(|rest| rest.split(',').next()).unwrap().parse::<f64>().unwrap()
    };
    assert!(first_loss("with batch norm") < first_loss("without batch norm"), "{lines:#?}");
    assert_eq!(run("simple_net"), (lines, pictures));
}
