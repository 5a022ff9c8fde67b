#if strided
// Where the element lies whose index, were all dense, is `address`.
fn lies_$name(address: u32) -> u32 {
    var rest = address;
    var at = params.offsets[VIEW_$name / 4u][VIEW_$name % 4u];
#unroll k DIMS
    at += (rest % params.dims[2u * $ku].x) * params.dims[2u * $ku + (VIEW_$name + 1u) / 4u][(VIEW_$name + 1u) % 4u];
    rest /= params.dims[2u * $ku].x;
#end
    return at;
}
#else
fn lies_$name(address: u32) -> u32 { return address; }
#endif
