/// The moments of $name lanes, `stride` apart, merged at once: about the mean of their centres, which is each of them
/// where they are one.
fn meet_$name(place: u32, stride: u32) -> Moments {
    var count = Count(0.0);
    var first = V(0.0);
    var far = V(0.0);
    var least = V(0.0);
#unroll k $name
    var m_$k = moments_of(place + $ku * stride);
    first = select(m_$k.centre, first, V(count) > V(0.0));
    far = max(far, select(V(0.0), abs(m_$k.centre - first), V(m_$k.count) > V(0.0)));
    least = min(least, m_$k.squares);
    count += m_$k.count;
#end
    let huge = (far > V(FAR)) | (least < V(0.0));
    if tally(huge) > 0u {
        count = Count(0.0);
#unroll k $name
        m_$k = shrunk(m_$k, huge);
        first = select(m_$k.centre, first, V(count) > V(0.0));
        count += m_$k.count;
#end
    }
    var way = V(0.0);
#unroll k $name
    way += V(m_$k.count) * (m_$k.centre - first);
#end
    let centre = first + way / max(V(count), V(1.0));
    var sum = V(0.0);
    var squares = V(0.0);
#unroll k $name
    let p_$k = about(m_$k, centre);
    sum += p_$k.sum;
    squares += p_$k.squares;
#end
    return marked(recentred(Moments(count, centre, sum, squares)), huge);
}
