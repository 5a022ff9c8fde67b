// y = (x - mean) * scale + shift over a lane's elements, CHUNK loads in flight.
// The mean goes first: x * scale + shift' would lose what x - mean keeps when the mean is large.

fn normalize(at: Place, mean: Channel, scale: Channel, shift: Channel) {
    let m = spread(mean);
    let a = spread(scale);
    let b = spread(shift);
    var element = at.first;
    var cursor = cursor_at(at.unit, element);
    while element + (CHUNK - 1u) * params.step < at.end {
#unroll k CHUNK
        let to_$k = cursor.address;
        let x_$k = x[to_$k];
        cursor = next(cursor);
#end
#unroll k CHUNK
        y[to_$k] = (x_$k - m) * a + b;
#end
        element += CHUNK * params.step;
    }
    while element < at.end {
        y[cursor.address] = (x[cursor.address] - m) * a + b;
        cursor = next(cursor);
        element += params.step;
    }
}
