// The learned scale and shift, gamma and beta of the paper; 1 and 0 where a plan goes without.

#if gamma
#import channel_reads gamma 3 parameters

fn scale_of(unit: u32) -> Channel { return load_gamma(channel_of(unit)); }
#else
fn scale_of(unit: u32) -> Channel { return CHANNEL_ONE; }
#endif

#if beta
#import channel_reads beta 4 parameters

fn shift_of(unit: u32) -> Channel { return load_beta(channel_of(unit)); }
#else
fn shift_of(unit: u32) -> Channel { return CHANNEL_ZERO; }
#endif
