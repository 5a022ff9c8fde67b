//! WGSL that is valid and that compilers in use are known to get wrong, or may treat in more than one way. The
//! library's text does without it: browsers and engines compile it with compilers of their own.

use crate::every::checked;
use crate::permutations::{fullest, on_all_cores, ways};

/// Whether a line of WGSL, without its comment, has a construct to avoid.
type Has = fn(&str) -> bool;

/// What to avoid, and why.
const CONSTRUCTS: [(&str, Has); 6] = [
    (
        // WGSL zeroes it each time that control reaches it. Tint (Chromium 156) and naga before 30.0.1 (Firefox 153)
        // zero it once a call, so that in a loop it keeps the value of the iteration before (gfx-rs/wgpu 9489).
        "a variable without an initial value",
        |line| line.starts_with("var ") && !line.contains('='),
    ),
    // Which way it rounds is the driver's choice, and so is infinity or not.
    ("pack2x16float", |line| line.contains("pack2x16float") && !line.contains("unpack2x16float")),
    // Compilers may assume that there are no NaNs and take it for false.
    ("a comparison of a value with itself", compares_with_itself),
    // One rounding or two, as the driver likes, so that answers differ where nothing else does.
    ("fma", |line| line.contains("fma(")),
    // FXC unrolls what it cannot prove to end; Metal's compiler assumes that a loop without a condition ends.
    ("a loop without a condition", |line| line.starts_with("loop")),
    // FXC refuses `continue` in a `switch`, and compilers have lost cases that fall together.
    ("switch", |line| line.starts_with("switch")),
];

fn compares_with_itself(line: &str) -> bool {
    ["!=", "=="].iter().any(|operator| {
        let sides: Vec<&str> = line.split(operator).collect();
        sides.windows(2).any(|pair| {
            let word = |c: char| c.is_alphanumeric() || "_.[]".contains(c);
            let (left, right) = (pair[0].trim_end(), pair[1].trim_start());
            let left = left.rsplit(|c| !word(c)).next().unwrap_or_default();
            let right = right.split(|c| !word(c)).next().unwrap_or_default();
            !left.is_empty() && left == right
        })
    })
}

/// The first line of a text that has such a construct.
fn found(wgsl: &str) -> Option<String> {
    let lines = wgsl.lines().map(|line| line.split("//").next().unwrap_or_default().trim());
    lines
        .flat_map(|line| {
            CONSTRUCTS.iter().filter(move |(_, has)| has(line)).map(move |(what, _)| format!("{what}: {line}"))
        })
        .next()
}

#[test]
fn no_text_has_what_compilers_get_wrong() {
    let all: Vec<_> = checked().into_iter().chain(fullest().into_iter().flat_map(ways)).collect();
    on_all_cores(&all, |permutation| {
        let found = found(&permutation.wgsl());
        assert!(found.is_none(), "{permutation:?}: {}", found.unwrap_or_default());
    });
}

/// Each is noticed, and what looks like it is not.
#[test]
fn constructs_are_noticed() {
    for wrong in [
        "    var sum: array<V, UNITS>;",
        "let two = pack2x16float(v);",
        "if x != x { return y; }",
        "let nan = (v.x == v.x);",
        "let y = fma(a, b, c);",
        "loop { break; }",
        "switch kind { default: {} }",
    ] {
        assert!(found(wrong).is_some(), "{wrong}");
    }
    for right in [
        "var sum = array<V, UNITS>();",
        "var<workgroup> lane_a: array<V, 64>;",
        "let pair = unpack2x16float(two);",
        "if x != x_0 { } // x != x",
        "var i = 0u; // var j: u32;",
    ] {
        assert!(found(right).is_none(), "{right}");
    }
}
