            // Run $name, the $kind-th across: x - mean, and dy pulled through the activation.
            var z_$name: Run;
            var seen_$name: Run;
            var scale_$name: Run;
#unroll e ELEMENTS
#unroll u BESIDE
            {
                let through = either_lens(lens[$kind * BESIDE + $u], lens[SEEN - 1u], next_$name_$e);
                z_$name[$e + $u] = centred(x_$name[$e + $u], through.centre);
                seen_$name[$e + $u] = z_$name[$e + $u] * through.scale + through.shift;
                scale_$name[$e + $u] = through.scale;
            }
#end
#end
            let dy_$name = pull(of_y_$name, seen_$name, to_$name);
