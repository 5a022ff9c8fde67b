//! From a kernel file to WGSL.

use super::flag::{Flag, Flags};

/// The pieces that kernel files import.
const SHARED: [(&str, &str); 48] = [
    ("activation", include_str!("../../shaders/shared/activation.wgsl")),
    ("affine", include_str!("../../shaders/shared/affine.wgsl")),
    ("apply_sums", include_str!("../../shaders/shared/apply_sums.wgsl")),
    ("apply_sums_some", include_str!("../../shaders/shared/apply_sums_some.wgsl")),
    ("backward_first", include_str!("../../shaders/shared/backward_first.wgsl")),
    ("batch", include_str!("../../shaders/shared/batch.wgsl")),
    ("centred", include_str!("../../shaders/shared/centred.wgsl")),
    ("centred_by", include_str!("../../shaders/shared/centred_by.wgsl")),
    ("channel_moves", include_str!("../../shaders/shared/channel_moves.wgsl")),
    ("channel_reads", include_str!("../../shaders/shared/channel_reads.wgsl")),
    ("channel_writes", include_str!("../../shaders/shared/channel_writes.wgsl")),
    ("counter", include_str!("../../shaders/shared/counter.wgsl")),
    ("dy_to_dx", include_str!("../../shaders/shared/dy_to_dx.wgsl")),
    ("element", include_str!("../../shaders/shared/element.wgsl")),
    ("finish", include_str!("../../shaders/shared/finish.wgsl")),
    ("forward_first", include_str!("../../shaders/shared/forward_first.wgsl")),
    ("gather_moments", include_str!("../../shaders/shared/gather_moments.wgsl")),
    ("gather_moments_some", include_str!("../../shaders/shared/gather_moments_some.wgsl")),
    ("gather_sums", include_str!("../../shaders/shared/gather_sums.wgsl")),
    ("gather_sums_some", include_str!("../../shaders/shared/gather_sums_some.wgsl")),
    ("gradients", include_str!("../../shaders/shared/gradients.wgsl")),
    ("health", include_str!("../../shaders/shared/health.wgsl")),
    ("lens", include_str!("../../shaders/shared/lens.wgsl")),
    ("lies", include_str!("../../shaders/shared/lies.wgsl")),
    ("merge_records", include_str!("../../shaders/shared/merge_records.wgsl")),
    ("moments", include_str!("../../shaders/shared/moments.wgsl")),
    ("moved", include_str!("../../shaders/shared/moved.wgsl")),
    ("mutual", include_str!("../../shaders/shared/mutual.wgsl")),
    ("mutual_of", include_str!("../../shaders/shared/mutual_of.wgsl")),
    ("normalize", include_str!("../../shaders/shared/normalize.wgsl")),
    ("normalize_some", include_str!("../../shaders/shared/normalize_some.wgsl")),
    ("outcome", include_str!("../../shaders/shared/outcome.wgsl")),
    ("packed", include_str!("../../shaders/shared/packed.wgsl")),
    ("parts", include_str!("../../shaders/shared/parts.wgsl")),
    ("pull", include_str!("../../shaders/shared/pull.wgsl")),
    ("reads", include_str!("../../shaders/shared/reads.wgsl")),
    ("records", include_str!("../../shaders/shared/records.wgsl")),
    ("replaces", include_str!("../../shaders/shared/replaces.wgsl")),
    ("seen_through", include_str!("../../shaders/shared/seen_through.wgsl")),
    ("settled", include_str!("../../shaders/shared/settled.wgsl")),
    ("signs", include_str!("../../shaders/shared/signs.wgsl")),
    ("statistics", include_str!("../../shaders/shared/statistics.wgsl")),
    ("sum_parts", include_str!("../../shaders/shared/sum_parts.wgsl")),
    ("sums", include_str!("../../shaders/shared/sums.wgsl")),
    ("valid", include_str!("../../shaders/shared/valid.wgsl")),
    ("walk", include_str!("../../shaders/shared/walk.wgsl")),
    ("writes", include_str!("../../shaders/shared/writes.wgsl")),
    ("x_to_y", include_str!("../../shaders/shared/x_to_y.wgsl")),
];

/// Follows the directives of `source` and appends what is left to `out`.
pub(super) fn assemble(source: &str, flags: Flags, constants: &[(&str, u32)], out: &mut String) {
    // Whether each open `#if` is being kept, innermost last.
    let mut kept = Vec::new();
    let mut lines = source.lines();
    while let Some(line) = lines.next() {
        let mut words = line.split_whitespace();
        let keeping = kept.iter().all(|&keep| keep);
        match words.next() {
            Some("#if") => kept.push(words.all(|condition| holds(condition, flags))),
            Some("#else") => {
                if let Some(keep) = kept.last_mut() {
                    *keep = !*keep;
                }
            }
            Some("#endif") => {
                kept.pop();
            }
            Some("#import") if keeping => {
                let name = words.next().unwrap_or_default();
                if let Some((_, text)) = SHARED.iter().find(|(known, _)| *known == name) {
                    let arguments = ARGUMENTS.into_iter().zip(words);
                    let text = arguments.fold((*text).to_owned(), |text, (name, value)| text.replace(name, value));
                    assemble(&text, flags, constants, out);
                }
            }
            Some("#unroll") => {
                let variable = format!("${}", words.next().unwrap_or_default());
                let count = words.next().and_then(|name| constants.iter().find(|(known, _)| *known == name));
                // Up to the `#end` of this one.
                let mut open = 1;
                let inside = |line: &&str| {
                    open += i32::from(line.starts_with("#unroll")) - i32::from(line.trim() == "#end");
                    open > 0
                };
                let body: Vec<&str> = lines.by_ref().take_while(inside).collect();
                let body = body.join("\n");
                for k in 0..if keeping { count.map_or(0, |(_, count)| *count) } else { 0 } {
                    assemble(&body.replace(&variable, &k.to_string()), flags, constants, out);
                }
            }
            _ if keeping => {
                *out += line;
                out.push('\n');
            }
            _ => {}
        }
    }
}

/// What the words after an import's name stand for in the imported text.
const ARGUMENTS: [&str; 3] = ["$name", "$binding", "$kind"];

/// One word of an `#if`: a flag, `!flag`, or several with `|` between.
fn holds(condition: &str, flags: Flags) -> bool {
    condition.split('|').any(|name| match name.strip_prefix('!') {
        Some(name) => !Flag::named(name).is_some_and(|flag| flags.has(flag)),
        None => Flag::named(name).is_some_and(|flag| flags.has(flag)),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::shader::Kernel;

    fn is_known(condition: &str) -> bool {
        let named = |name: &str| Flag::named(name.trim_start_matches('!')).is_some();
        // Of some per-channel buffers, which flag it is depends on the import.
        condition.trim_start_matches('!') == "packed_$kind" || condition.split('|').all(named)
    }

    /// A misspelt directive would quietly drop text.
    #[test]
    fn directives_name_what_exists() {
        let sources = Kernel::ALL.iter().map(|kernel| (kernel.name(), kernel.source())).chain(SHARED);
        for (file, source) in sources {
            let mut open = 0;
            for line in source.lines().filter(|line| line.starts_with('#')) {
                let words: Vec<&str> = line.split_whitespace().collect();
                let known = match words[..] {
                    ["#if", ref conditions @ ..] => conditions.iter().all(|condition| is_known(condition)),
                    ["#import", name, ..] => SHARED.iter().any(|(known, _)| *known == name),
                    ["#unroll", "k" | "u" | "a" | "e" | "s", count] => {
                        let counts =
                            ["CHUNK", "ACROSS", "UNITS", "SEEN", "SIDE", "ELEMENTS", "BESIDE", "LAST", "ITEMS", "DIMS"];
                        counts.contains(&count) || count == "$name"
                    }
                    ["#else" | "#endif" | "#end"] => true,
                    _ => false,
                };
                assert!(known, "{file}: {line}");
                open += i32::from(words[0] == "#if") - i32::from(words[0] == "#endif");
            }
            assert_eq!(open, 0, "{file}: #if and #endif do not pair");
        }
    }

    #[test]
    fn assembles_conditions_and_loops() {
        let source = "#if wide\nwide\n#else\nnarrow\n#endif\n#unroll k N\nlet a_$k = $ku;\n#end\nlast";
        let run = |flags: Flags| {
            let mut out = String::new();
            assemble(source, flags, &[("N", 2)], &mut out);
            out
        };
        assert_eq!(run(Flags::default()), "narrow\nlet a_0 = 0u;\nlet a_1 = 1u;\nlast\n");
        assert_eq!(run(Flags::default().with(Flag::Wide)), "wide\nlet a_0 = 0u;\nlet a_1 = 1u;\nlast\n");

        let nested = "#unroll u N\n#unroll k N\n$u$k\n#end\n($u)\n#end\nlast";
        let mut out = String::new();
        assemble(nested, Flags::default(), &[("N", 2)], &mut out);
        assert_eq!(out, "00\n01\n(0)\n10\n11\n(1)\nlast\n");
    }
}
