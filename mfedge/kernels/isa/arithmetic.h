// What every source of the kernels asks of its compiler: arithmetic as IEEE 754 has it. The kernels tell NaN and infinity
// from numbers, and round by an addition that must not be simplified. CMakeLists.txt sets what may be relaxed.
#pragma once

#if defined(__FAST_MATH__) || (defined(__FINITE_MATH_ONLY__) && __FINITE_MATH_ONLY__) || defined(__ASSOCIATIVE_MATH__)
#error "mfedge's kernels compute wrong results with -ffast-math, -Ofast and the like: take them out of CXXFLAGS"
#endif
