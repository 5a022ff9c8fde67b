// The learned scale and shift, gamma and beta of the paper; 1 and 0 where a plan goes without.

#if gamma
@group(0) @binding(3) var<storage, read> gamma: array<Channel>;

fn scale_of(unit: u32) -> Channel { return gamma[unit]; }
#else
fn scale_of(unit: u32) -> Channel { return CHANNEL_ONE; }
#endif

#if beta
@group(0) @binding(4) var<storage, read> beta: array<Channel>;

fn shift_of(unit: u32) -> Channel { return beta[unit]; }
#else
fn shift_of(unit: u32) -> Channel { return CHANNEL_ZERO; }
#endif
