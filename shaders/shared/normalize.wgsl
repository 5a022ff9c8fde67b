// y = ((x - centre) - mean) * scale + shift over a lane's elements, CHUNK loads in flight; the mean of x
// is centre + mean. In this order because x * scale + shift' would lose what x - centre keeps when the
// mean is large, and so would centre + mean rounded to one f32.

fn normalize(at: Place, centre: Channel, mean: Channel, scale: Channel, shift: Channel) {
    let c = spread(centre);
    let m = spread(mean);
    let a = spread(scale);
    let b = spread(shift);
    var element = at.first;
    var cursor = cursor_at(at.unit, element);
    while element + (CHUNK - 1u) * params.step < at.end {
#unroll k CHUNK
        let to_$k = cursor.address;
        let x_$k = load_x(to_$k);
        cursor = next(cursor);
#end
#unroll k CHUNK
        store_y(to_$k, finish(((x_$k - c) - m) * a + b, to_$k));
#end
        element += CHUNK * params.step;
    }
    while element < at.end {
        store_y(cursor.address, finish(((load_x(cursor.address) - c) - m) * a + b, cursor.address));
        cursor = next(cursor);
        element += params.step;
    }
}
