        // One round of `normalize`: $name runs of each unit.
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
#end
#unroll k $name
            var y_$k = Run();
#unroll e ELEMENTS
#unroll u BESIDE
            y_$k[$e + $u] = mapped(x_$k[$e + $u], either(maps[$a * BESIDE + $u], maps[SEEN - 1u], next_$k_$e));
#end
#end
            if stores_$k { store_y(to_$k, finish(y_$k, to_$k)); }
#end
        }
#end
        element += $name * params.step;
