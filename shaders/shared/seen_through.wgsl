            // Run $name, the $kind-th across: x - mean, and dy pulled through the activation.
            var z_$name = Run();
            var given_$name = Run();
            var scale_$name = Run();
#unroll e ELEMENTS
#unroll u BESIDE
            {
                let through = either_lens(lens[$kind * BESIDE + $u], lens[SEEN - 1u], next_$name_$e);
                let z = centred(x_$name[$e + $u], through.centre);
                z_$name[$e + $u] = z;
                given_$name[$e + $u] = given(x_$name[$e + $u], z, through.scale, through.shift);
                scale_$name[$e + $u] = through.scale;
            }
#end
#end
            let dy_$name = pull(of_y_$name, given_$name, to_$name);
