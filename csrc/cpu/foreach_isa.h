// Compiles one source of kernels once per instruction set (ISA), each time in a namespace of its own:
//
//   #define PA3D_SOURCE "fps.inl"
//   #include "foreach_isa.h"
//
// The source sees PA3D_NS (its namespace), PA3D_W (floats per vector) and the instruction set, a level for short:
// PA3D_AVX is 1 for avx2, 2 for avx512, 3 for avx512_bf16, and otherwise 0; PA3D_NEON is 1 for neon, 2 for
// neon_dotprod, 3 for neon_bf16, and otherwise 0. PA3D_HAS_INT8 and PA3D_HAS_BF16 say whether it multiplies such
// numbers. The compiler flags apply only to the functions between the pragmas, so one build runs on every processor.
// Headers with inline functions must be included before this one. Otherwise they would be compiled for an instruction
// set that the processor may lack.
//
// Levels that are there for a precision are compiled only for sources that define PA3D_WITH_BF16 or PA3D_WITH_INT8.
#ifndef PA3D_SOURCE
#error "define PA3D_SOURCE"
#endif

#define PA3D_HAS_INT8 (PA3D_AVX >= 3 || PA3D_NEON >= 2)
#define PA3D_HAS_BF16 (PA3D_AVX >= 3 || PA3D_NEON >= 3)

#define PA3D_NS generic
#define PA3D_W 4
#define PA3D_AVX 0
#define PA3D_NEON 0
#include PA3D_SOURCE
#undef PA3D_NS
#undef PA3D_W
#undef PA3D_AVX
#undef PA3D_NEON

#if defined(__x86_64__)

#if defined(__clang__)
#pragma clang attribute push(__attribute__((target("avx2,fma"))), apply_to = function)
#else
#pragma GCC push_options
#pragma GCC target("avx2,fma")
#endif
#define PA3D_NS avx2
#define PA3D_W 8
#define PA3D_AVX 1
#define PA3D_NEON 0
#include PA3D_SOURCE
#undef PA3D_NS
#undef PA3D_W
#undef PA3D_AVX
#undef PA3D_NEON
#if defined(__clang__)
#pragma clang attribute pop
#else
#pragma GCC pop_options
#endif

#if defined(__clang__)
#pragma clang attribute push(__attribute__((target("avx2,fma,avx512f,avx512bw,avx512vl,avx512dq"))), \
                             apply_to = function)
#else
#pragma GCC push_options
#pragma GCC target("avx2,fma,avx512f,avx512bw,avx512vl,avx512dq,prefer-vector-width=512")
#endif
#define PA3D_NS avx512
#define PA3D_W 16
#define PA3D_AVX 2
#define PA3D_NEON 0
#include PA3D_SOURCE
#undef PA3D_NS
#undef PA3D_W
#undef PA3D_AVX
#undef PA3D_NEON
#if defined(__clang__)
#pragma clang attribute pop
#else
#pragma GCC pop_options
#endif

#if defined(PA3D_WITH_BF16) || defined(PA3D_WITH_INT8)
#if defined(__clang__)
#pragma clang attribute push( \
    __attribute__((target("avx2,fma,avx512f,avx512bw,avx512vl,avx512dq,avx512bf16,avx512vnni"))), apply_to = function)
#else
#pragma GCC push_options
#pragma GCC target("avx2,fma,avx512f,avx512bw,avx512vl,avx512dq,avx512bf16,avx512vnni,prefer-vector-width=512")
#endif
#define PA3D_NS avx512_bf16
#define PA3D_W 16
#define PA3D_AVX 3
#define PA3D_NEON 0
#include PA3D_SOURCE
#undef PA3D_NS
#undef PA3D_W
#undef PA3D_AVX
#undef PA3D_NEON
#if defined(__clang__)
#pragma clang attribute pop
#else
#pragma GCC pop_options
#endif
#endif

#endif  // __x86_64__

#if defined(__aarch64__)

// What every aarch64 processor has, so no flags.
#define PA3D_NS neon
#define PA3D_W 4
#define PA3D_AVX 0
#define PA3D_NEON 1
#include PA3D_SOURCE
#undef PA3D_NS
#undef PA3D_W
#undef PA3D_AVX
#undef PA3D_NEON

#if defined(PA3D_WITH_INT8) && defined(PA3D_NEON_EXTENSIONS)
#if defined(__clang__)
#pragma clang attribute push(__attribute__((target("arch=armv8.2-a+dotprod"))), apply_to = function)
#else
#pragma GCC push_options
#pragma GCC target("arch=armv8.2-a+dotprod")
#endif
#define PA3D_NS neon_dotprod
#define PA3D_W 4
#define PA3D_AVX 0
#define PA3D_NEON 2
#include PA3D_SOURCE
#undef PA3D_NS
#undef PA3D_W
#undef PA3D_AVX
#undef PA3D_NEON
#if defined(__clang__)
#pragma clang attribute pop
#else
#pragma GCC pop_options
#endif
#endif

#if (defined(PA3D_WITH_BF16) || defined(PA3D_WITH_INT8)) && defined(PA3D_NEON_EXTENSIONS)
#if defined(__clang__)
#pragma clang attribute push(__attribute__((target("arch=armv8.2-a+dotprod+bf16+i8mm"))), apply_to = function)
#else
#pragma GCC push_options
#pragma GCC target("arch=armv8.2-a+dotprod+bf16+i8mm")
#endif
#define PA3D_NS neon_bf16
#define PA3D_W 4
#define PA3D_AVX 0
#define PA3D_NEON 3
#include PA3D_SOURCE
#undef PA3D_NS
#undef PA3D_W
#undef PA3D_AVX
#undef PA3D_NEON
#if defined(__clang__)
#pragma clang attribute pop
#else
#pragma GCC pop_options
#endif
#endif

#endif  // __aarch64__
#undef PA3D_SOURCE
#undef PA3D_HAS_INT8
#undef PA3D_HAS_BF16

// Picks the function for the instruction set in use. avx512_bf16 takes the one for avx512; neon_dotprod and neon_bf16
// take the one for neon.
#ifndef PA3D_DISPATCH
#if defined(__x86_64__)
#define PA3D_DISPATCH(f) \
  (::pa3d::isa() >= ::pa3d::Isa::avx512 ? avx512::f : ::pa3d::isa() == ::pa3d::Isa::avx2 ? avx2::f : generic::f)
#elif defined(__aarch64__)
#define PA3D_DISPATCH(f) (::pa3d::isa() >= ::pa3d::Isa::neon ? neon::f : generic::f)
#else
#define PA3D_DISPATCH(f) (generic::f)
#endif
#endif
