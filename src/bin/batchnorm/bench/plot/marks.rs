//! What an operation looks like: a colour and a shape of its own, so that neither colour-blind eyes nor a print in
//! grey lose it.

use crate::bench::op::Op;

/// A colour of Okabe and Ito's palette, and a path around 0.
pub fn mark(op: Op) -> (&'static str, &'static str) {
    match op {
        Op::Infer => ("#0072b2", "M-5,0a5,5 0 1,0 10,0a5,5 0 1,0 -10,0z"),
        Op::TrainFwd => ("#d55e00", "M0,-6L6,5L-6,5z"),
        Op::Bwd => ("#009e73", "M-4.5,-4.5h9v9h-9z"),
        Op::FrozenBwd => ("#cc79a7", "M0,-6.5L6.5,0L0,6.5L-6.5,0z"),
        Op::Train => ("#e69f00", "M-2,-6h4v4h4v4h-4v4h-4v-4h-4v-4h4z"),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::mark;
    use crate::bench::op::Op;

    #[test]
    fn no_two_look_alike() {
        let of = |pick: fn(Op) -> &'static str| Op::ALL.into_iter().map(pick).collect::<BTreeSet<_>>().len();
        assert_eq!([of(|op| mark(op).0), of(|op| mark(op).1)], [Op::ALL.len(); 2]);
    }
}
