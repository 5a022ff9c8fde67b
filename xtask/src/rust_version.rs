//! `cargo xtask rust-version`: the `rust-version` of Cargo.toml is a promise that every dependency
//! has to keep, on every platform and with every feature.

use serde_json::Value;
use std::collections::HashSet;

const PACKAGE: &str = "wgpu-batchnorm";

/// Asks cargo for the dependencies and holds them against the promise.
pub fn check() -> Result<(), String> {
    let output = crate::cargo()
        .args(["metadata", "--format-version", "1", "--all-features"])
        .output()
        .map_err(|error| format!("cannot start cargo: {error}"))?;
    if !output.status.success() {
        return Err(format!("cargo metadata failed:\n{}", String::from_utf8_lossy(&output.stderr)));
    }
    let metadata = serde_json::from_slice(&output.stdout)
        .map_err(|error| format!("cannot read what cargo metadata says: {error}"))?;
    println!("{}", judge(&metadata)?);
    Ok(())
}

/// What the dependencies ask for, or which of them ask for too much.
fn judge(metadata: &Value) -> Result<String, String> {
    let packages = list(&metadata["packages"]);
    let root = packages
        .iter()
        .find(|package| package["name"] == PACKAGE)
        .ok_or_else(|| format!("{PACKAGE} is not in this workspace: run this in its repository"))?;
    let promised = version(root).ok_or_else(|| format!("{PACKAGE} has no rust-version: state one in Cargo.toml"))?;

    let needed = needed(list(&metadata["resolve"]["nodes"]), &root["id"]);
    let too_new: Vec<String> = packages
        .iter()
        .filter(|package| needed.contains(&package["id"]) && version(package) > Some(promised))
        .map(|package| {
            let text = |key: &str| package[key].as_str().unwrap_or_default();
            let [name, release, rust] = ["name", "version", "rust_version"].map(text);
            format!("  {name} {release} needs Rust {rust}")
        })
        .collect();

    let promise = root["rust_version"].as_str().unwrap_or_default();
    if too_new.is_empty() {
        let count = needed.len() - 1;
        return Ok(format!("Rust {promise} is enough for all {count} dependencies"));
    }
    Err(format!(
        "Cargo.toml promises Rust {promise}, and these dependencies need a newer one:\n{}\n\
         Choose older releases (cargo update NAME --precise VERSION) or raise rust-version.",
        too_new.join("\n")
    ))
}

/// The ids of the packages that a build of `root` takes in, itself included: dependencies and what
/// their build scripts need, but not what only tests need.
fn needed<'a>(nodes: &'a [Value], root: &'a Value) -> HashSet<&'a Value> {
    let mut needed = HashSet::from([root]);
    let mut open = vec![root];
    while let Some(id) = open.pop() {
        let node = nodes.iter().find(|node| node["id"] == *id);
        for dependency in node.map_or(&[][..], |node| list(&node["deps"])) {
            let kinds = list(&dependency["dep_kinds"]);
            let built = kinds.iter().any(|kind| kind["kind"] != "dev");
            if built && needed.insert(&dependency["pkg"]) {
                open.push(&dependency["pkg"]);
            }
        }
    }
    needed
}

/// The Rust that a package asks for, if it says so.
fn version(package: &Value) -> Option<[u32; 3]> {
    let mut parts = package["rust_version"].as_str()?.split('.');
    Some([(); 3].map(|()| parts.next().and_then(|part| part.parse().ok()).unwrap_or(0)))
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    /// The root promises 1.88 and depends on `a`, `a` on `b`; what the edges mean and what `b`
    /// asks for is up to the test.
    fn metadata(kind: Value, rust: Value) -> Value {
        let edge = |to: &str| json!([{ "pkg": to, "dep_kinds": [{ "kind": kind }] }]);
        json!({
            "packages": [
                { "id": "b", "name": "b", "version": "2.0.0", "rust_version": rust },
                { "id": "a", "name": "a", "version": "1.0.0", "rust_version": "1.88.0" },
                { "id": "root", "name": PACKAGE, "version": "0.1.0", "rust_version": "1.88" },
            ],
            "resolve": { "nodes": [
                { "id": "root", "deps": edge("a") },
                { "id": "a", "deps": edge("b") },
                { "id": "b", "deps": [] },
            ] },
        })
    }

    #[test]
    fn an_equal_older_or_unstated_version_passes() {
        for rust in [json!("1.88"), json!("1.9"), json!("1.87.3"), Value::Null] {
            let said = judge(&metadata(Value::Null, rust)).unwrap();
            assert_eq!(said, "Rust 1.88 is enough for all 2 dependencies");
        }
    }

    #[test]
    fn a_newer_version_fails_however_deep_it_lies() {
        for kind in [Value::Null, json!("build")] {
            for rust in ["1.88.1", "1.100", "2.0"] {
                let said = judge(&metadata(kind.clone(), json!(rust))).unwrap_err();
                assert!(said.contains(&format!("b 2.0.0 needs Rust {rust}")), "{said}");
            }
        }
    }

    #[test]
    fn what_only_tests_need_does_not_count() {
        let said = judge(&metadata(json!("dev"), json!("1.99"))).unwrap();
        assert_eq!(said, "Rust 1.88 is enough for all 0 dependencies");
    }

    #[test]
    fn a_root_that_promises_nothing_fails() {
        let mut metadata = metadata(Value::Null, Value::Null);
        metadata["packages"][2]["rust_version"] = Value::Null;
        assert!(judge(&metadata).unwrap_err().contains("has no rust-version"));
    }
}
