// The unit of work, and what it holds of a channel.
//
// `V` is what arithmetic is done on: four neighbours in memory where the shape allows it (flag `wide`),
// else one value, in f32. `Run` is what one load or store moves, SIDE V side by side: one, or, flag
// `twin`, two. `Word` is how a Run lies in memory, flag `long`: in 64-bit words, of which software
// drivers move as many at a time as of shorter ones.
//
// `Channel` is a per-channel value (gamma, mean, ...) as one invocation sees it. Channels first, all
// of a V belongs to one channel, so a Channel is one f32. Channels last, every value of a V is a
// channel of its own, so a Channel is a V, and per-channel buffers are read as arrays of V.
//
// A "unit" below is the thing that has one Channel: a channel, or four of them side by side.

#if wide
alias V = vec4<f32>;
alias Bits = vec4<u32>;
alias Truth = vec4<bool>;
fn tally(truth: Truth) -> u32 { return dot(select(vec4(0u), vec4(1u), truth), vec4(1u)); }
#else
alias V = f32;
alias Bits = u32;
alias Truth = bool;
fn tally(truth: Truth) -> u32 { return select(0u, 1u, truth); }
#endif

#if long
fn halves_of(long: u64) -> vec2<u32> { return vec2(u32(long), u32(long >> 32u)); }
fn long_of(halves: vec2<u32>) -> u64 { return u64(halves.x) | (u64(halves.y) << 32u); }
#endif
alias Run = array<V, SIDE>;

#if packed
#import packed
#endif
#if !packed !long
alias Word = V;

fn run_of(word: Word, address: u32) -> Run { return Run(word); }
fn word_of(run: Run) -> Word { return run[0]; }
#endif
#if !packed long
fn value_of(word: vec2<u64>) -> V { return bitcast<V>(vec4(halves_of(word.x), halves_of(word.y))); }
fn longs_of(v: V) -> vec2<u64> {
    let bits = bitcast<vec4<u32>>(v);
    return vec2(long_of(bits.xy), long_of(bits.zw));
}

#if twin
alias Word = vec4<u64>;

fn run_of(word: Word, address: u32) -> Run { return Run(value_of(word.xy), value_of(word.zw)); }
fn word_of(run: Run) -> Word { return Word(longs_of(run[0]), longs_of(run[1])); }
#else
alias Word = vec2<u64>;

fn run_of(word: Word, address: u32) -> Run { return Run(value_of(word)); }
fn word_of(run: Run) -> Word { return longs_of(run[0]); }
#endif
#endif

/// Where a Run is, of the V at this address.
fn word_at(address: u32) -> u32 {
#if packed !wide
    return address >> 1u;
#else
    return address / SIDE;
#endif
}

/// The V at this address, of its Run.
fn one_of(run: Run, address: u32) -> V {
#if twin
    return select(run[0], run[1], (address & 1u) == 1u);
#else
    return run[0];
#endif
}

#if channels_last
alias Channel = V;
alias ChannelBits = Bits;
alias ChannelTruth = Truth;

fn spread(c: Channel) -> V { return c; }
fn gather(v: V) -> Channel { return v; }
fn lead(v: V) -> Channel { return v; }
fn tally_channels(truth: ChannelTruth) -> u32 { return tally(truth); }
const GATHERED: f32 = 1.0;
#else
alias Channel = f32;
alias ChannelBits = u32;
alias ChannelTruth = bool;

fn tally_channels(truth: ChannelTruth) -> u32 { return select(0u, 1u, truth); }

/// The channel's value beside each value of a V.
fn spread(c: Channel) -> V { return V(c); }

#if wide
/// The sum over the values of a V that share a channel, and how many they are.
fn gather(v: V) -> Channel { return (v.x + v.y) + (v.z + v.w); }
const GATHERED: f32 = 4.0;

/// The first value of a V.
fn lead(v: V) -> Channel { return v.x; }
#else
fn gather(v: V) -> Channel { return v; }
const GATHERED: f32 = 1.0;
fn lead(v: V) -> Channel { return v; }
#endif
#endif

const CHANNEL_ZERO = Channel(0.0);
const CHANNEL_ONE = Channel(1.0);

/// 1/sqrt(variance + epsilon), the paper's normalising factor.
fn inverse_deviation(variance: Channel) -> Channel {
    return CHANNEL_ONE / sqrt(variance + Channel(params.epsilon));
}

// By the bits, since a compiler may take it for granted that no value is infinite or NaN.
const MAGNITUDE: u32 = 0x7fffffffu; // all but the sign
const INFINITE: u32 = 0x7f800000u;

fn is_nan(v: V) -> Truth { return (bitcast<Bits>(v) & Bits(MAGNITUDE)) > Bits(INFINITE); }

/// A NaN is not.
fn is_not_zero(v: V) -> Truth { return (bitcast<Bits>(v) & Bits(MAGNITUDE)) != Bits(0u); }

fn finite_or_zero(v: V) -> V {
    return select(v, V(0.0), (bitcast<Bits>(v) & Bits(INFINITE)) == Bits(INFINITE));
}
