            // One round of `gather_sums`: $name runs of each unit.
#unroll k $name
            let at_$k = address_of(cursor);
            let stores_$k = starts_at(at.unit, cursor.column);
#unroll e ELEMENTS
            let own_$k_$e = own_at(at.unit, cursor.column + $eu);
            let next_$k_$e = next_at(at.unit, cursor.column + $eu);
#end
            cursor = next(cursor);
#end
#unroll a ACROSS
            if runs(at, $au) {
#unroll u BESIDE
                var of_these_$u = Sums(V(0.0), V(0.0));
#end
#unroll k $name
                let to_$k = at_$k + beside($au);
                let x_$k = load_x(to_$k);
                let of_y_$k = load_dy(to_$k);
#end
#unroll k $name
#import seen_through $k of $a
#unroll e ELEMENTS
#unroll u BESIDE
                of_these_$u.a += select(V(0.0), dy_$k[$e + $u], own_$k_$e);
                of_these_$u.b += select(V(0.0), along(dy_$k[$e + $u], z_$k[$e + $u]), own_$k_$e);
#end
#end
                leave_on_the_way(at.inside && stores_$k, to_$k, dy_$k, scale_$k);
#end
#unroll u BESIDE
                block[$a * BESIDE + $u].a += of_these_$u.a;
                block[$a * BESIDE + $u].b += of_these_$u.b;
#end
            }
#end
            element += $name * params.step;
