// The sums of dy and of dy * (x - mean) over a lane's elements, for each of its units, dy first pulled
// through the activation. Reads x and dy once; what needs no sums is left on the way (by the
// kernel's `leave_on_the_way`).
//
// Sums are taken over CHUNK elements, over BLOCK of those, then over the lane, so that rounding stays
// small.

fn gather_sums(at: Place, lens: array<Lens, ACROSS>) -> array<Sums, ACROSS> {
    var sums: array<Sums, ACROSS>;
    var element = at.first;
    var cursor = cursor_at(at.unit, element);
    while element < at.end {
#unroll u ACROSS
        var block_$u = Sums(V(0.0), V(0.0));
#end
        let block_end = min(element + BLOCK * CHUNK * params.step, at.end);
        while element + (CHUNK - 1u) * params.step < block_end {
#unroll k CHUNK
            let at_$k = cursor.address;
            cursor = next(cursor);
#end
#unroll u ACROSS
            {
                var chunk = Sums(V(0.0), V(0.0));
#unroll k CHUNK
                let to_$k = at_$k + beside($uu);
                let z_$k = centred(to_$k, lens[$u].centre);
                let of_y_$k = load_dy(to_$k);
#end
#unroll k CHUNK
                let dy_$k = pull(of_y_$k, z_$k * lens[$u].scale + lens[$u].shift, to_$k);
                chunk = Sums(chunk.a + dy_$k, chunk.b + along(dy_$k, z_$k));
                leave_on_the_way(at.inside, to_$k, dy_$k, lens[$u].scale);
#end
                block_$u = Sums(block_$u.a + chunk.a, block_$u.b + chunk.b);
            }
#end
            element += CHUNK * params.step;
        }
#if chunked
        while element < block_end {
#unroll u ACROSS
            {
                let to = cursor.address + beside($uu);
                let z = centred(to, lens[$u].centre);
                let dy = pull(load_dy(to), z * lens[$u].scale + lens[$u].shift, to);
                block_$u = Sums(block_$u.a + dy, block_$u.b + along(dy, z));
                leave_on_the_way(at.inside, to, dy, lens[$u].scale);
            }
#end
            cursor = next(cursor);
            element += params.step;
        }
#endif
#unroll u ACROSS
        sums[$u] = Sums(sums[$u].a + block_$u.a, sums[$u].b + block_$u.b);
#end
    }
    return sums;
}
