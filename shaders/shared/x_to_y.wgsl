// x is read, y written: two tensors, or, flag `in_place`, one.

#if in_place
#import replaces y 2 x
#else
#import reads x 1
#import writes y 2
#endif
