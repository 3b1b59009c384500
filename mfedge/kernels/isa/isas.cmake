# The instruction sets of the target, the best first, and the flags of each. See isas.inc.
if(CMAKE_SYSTEM_PROCESSOR MATCHES "^(x86_64|AMD64|amd64)$")
  set(ISAS avx512 avx2 sse2)
elseif(CMAKE_SYSTEM_PROCESSOR MATCHES "^(aarch64|arm64)$")
  set(ISAS neon)
else()
  message(FATAL_ERROR "mfedge has kernels for x86-64 and aarch64, none for ${CMAKE_SYSTEM_PROCESSOR}")
endif()

set(FLAGS_avx512 -mavx512f -mavx512dq -mavx512bw -mavx512vl -mfma -mf16c -mprefer-vector-width=512)
set(FLAGS_avx2 -mavx2 -mfma -mf16c)
set(FLAGS_sse2)
set(FLAGS_neon)
if(CMAKE_CXX_COMPILER_ID STREQUAL "GNU")
  # GCC's own header of AVX-512 intrinsics initialises an "undefined" vector with itself (GCC bug 105593).
  list(APPEND FLAGS_avx512 -Wno-uninitialized -Wno-maybe-uninitialized)
endif()
