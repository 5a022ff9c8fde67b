        // One round of `apply_sums`: $name runs of each unit.
#unroll k $name
        let at_$k = address_of(cursor);
        let stores_$k = starts_at(at.unit, cursor.column);
#unroll e ELEMENTS
        let next_$k_$e = next_at(at.unit, cursor.column + $eu);
#end
        cursor = next(cursor);
#end
#unroll a ACROSS
        if runs(at, $au) {
#unroll k $name
            let to_$k = at_$k + beside($au);
            let x_$k = load_x(to_$k);
            let of_y_$k = load_dy(to_$k);
#end
#unroll k $name
#import seen_through $k of $a
            var dx_$k = Run();
#unroll e ELEMENTS
#unroll u BESIDE
            dx_$k[$e + $u] = scale_$k[$e + $u] * less(
                unit_of(at, $au * BESIDE + $uu), element + $ku * params.step + $eu,
                dy_$k[$e + $u], z_$k[$e + $u], either_mutual(mutual[$a * BESIDE + $u], mutual[SEEN - 1u], next_$k_$e),
            );
#end
#end
            if stores_$k {
                store_dx(to_$k, dx_$k);
#if dresidual
                store_dresidual(to_$k, dy_$k);
#endif
            }
#end
        }
#end
        element += $name * params.step;
