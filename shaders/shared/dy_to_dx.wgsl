// dy is read, dx written: two tensors, or, flag `in_place`, one.

#if in_place dx
#import replaces dx 11 dy
#else
#import reads dy 10
#if dx
#import writes dx 11
#endif
#endif
