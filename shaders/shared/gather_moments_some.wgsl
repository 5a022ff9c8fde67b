            // One round of `gather_moments`: $name runs of each unit.
#unroll k $name
            let at_$k = address_of(cursor);
#unroll e ELEMENTS
            let counts_$k_$e = counts_at(at.unit, element + $ku * params.step + $eu, cursor.column + $eu);
#if masked|ragged
            count += one_if(counts_$k_$e);
#endif
#end
            cursor = next(cursor);
#end
#if !masked !ragged
            count += f32($name * ELEMENTS);
#endif
#unroll a ACROSS
            if runs(at, $au) {
#unroll u BESIDE
                var sum_$u = V(0.0);
                var squares_$u = V(0.0);
#end
#unroll k $name
                let x_$k = load_x(at_$k + beside($au));
#unroll e ELEMENTS
#unroll u BESIDE
                let d_$k_$e_$u = select(
                    V(0.0),
                    x_$k[$e + $u] * shrink[$a * BESIDE + $u] - moments[$a * BESIDE + $u].centre,
                    counts_$k_$e,
                );
                sum_$u += d_$k_$e_$u;
                squares_$u += d_$k_$e_$u * d_$k_$e_$u;
#if health
                bad += how_many_not_finite(d_$k_$e_$u);
#endif
#end
#end
#end
#unroll u BESIDE
                sum[$a * BESIDE + $u] += sum_$u;
                squares[$a * BESIDE + $u] += squares_$u;
#end
            }
#end
            element += $name * params.step;
