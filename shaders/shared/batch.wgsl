// The statistics of a unit: over how many values, their mean, their (biased) variance.

struct Statistics {
    count: Channel,
    mean: Channel,
    variance: Channel,
}
