// dx of a lane's elements of each of its units, CHUNK elements of a unit at a time. Reads x and dy once, writes dx once,
// and, flag `dresidual`, what is left of dy before the activation.

fn apply_sums(at: Place, lens: array<Lens, ACROSS>, mutual: array<Mutual, ACROSS>) {
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
            let z_$k = centred(to_$k, lens[$u].centre);
            let of_y_$k = load_dy(to_$k);
#end
#unroll k CHUNK
            let dy_$k = pull(of_y_$k, z_$k * lens[$u].scale + lens[$u].shift, to_$k);
            leave_dx(unit_of(at, $uu), element + $ku * params.step, to_$k, dy_$k, z_$k, lens[$u].scale, mutual[$u]);
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
            let z = centred(to, lens[$u].centre);
            let dy = pull(load_dy(to), z * lens[$u].scale + lens[$u].shift, to);
            leave_dx(unit_of(at, $uu), element, to, dy, z, lens[$u].scale, mutual[$u]);
        }
#end
        cursor = next(cursor);
        element += params.step;
    }
#endif
}

fn leave_dx(unit: u32, element: u32, to: u32, dy: V, z: V, scale: V, mutual: Mutual) {
    store_dx(to, scale * less(unit, element, dy, z, mutual));
#if dresidual
    store_dresidual(to, dy);
#endif
}
