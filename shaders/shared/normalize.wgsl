// y = ((x - centre) - mean) * scale + shift over a lane's elements of each of its units, CHUNK of a unit
// at a time; the mean of x is centre + mean. In this order because x * scale + shift' would lose what
// x - centre keeps when the mean is large, and so would centre + mean rounded to one f32.

struct Map {
    centre: V,
    mean: V,
    scale: V,
    shift: V,
}

fn normalize(at: Place, maps: array<Map, ACROSS>) {
    var element = at.first;
    var cursor = cursor_at(at.unit, element);
    while element + (CHUNK - 1u) * params.step < at.end {
#unroll k CHUNK
        let at_$k = cursor.address;
        cursor = next(cursor);
#end
#unroll u ACROSS
        {
#unroll k CHUNK
            let to_$k = at_$k + beside($uu);
            let x_$k = load_x(to_$k);
#end
#unroll k CHUNK
            store_y(to_$k, finish(mapped(x_$k, maps[$u]), to_$k));
#end
        }
#end
        element += CHUNK * params.step;
    }
#if chunked
    while element < at.end {
#unroll u ACROSS
        {
            let to = cursor.address + beside($uu);
            store_y(to, finish(mapped(load_x(to), maps[$u]), to));
        }
#end
        cursor = next(cursor);
        element += params.step;
    }
#endif
}

fn mapped(x: V, m: Map) -> V { return ((x - m.centre) - m.mean) * m.scale + m.shift; }
