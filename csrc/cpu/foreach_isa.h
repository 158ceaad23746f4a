// Compiles one source of kernels once per instruction set (ISA), each time in a namespace of its own:
//
//   #define PA3D_SOURCE "fps.inl"
//   #include "foreach_isa.h"
//
// The source sees PA3D_NS (its namespace), PA3D_W (floats per vector) and PA3D_LEVEL (the number of the instruction set
// in enum Isa, a level for short). The compiler flags apply only to the functions between the pragmas, so one build
// runs on every processor. Headers with inline functions must be included before this one. Otherwise they would be
// compiled for an instruction set that the processor may lack.
#ifndef PA3D_SOURCE
#error "define PA3D_SOURCE"
#endif

#define PA3D_NS generic
#define PA3D_W 4
#define PA3D_LEVEL 0
#include PA3D_SOURCE
#undef PA3D_NS
#undef PA3D_W
#undef PA3D_LEVEL

#if defined(__x86_64__)

#if defined(__clang__)
#pragma clang attribute push(__attribute__((target("avx2,fma"))), apply_to = function)
#else
#pragma GCC push_options
#pragma GCC target("avx2,fma")
#endif
#define PA3D_NS avx2
#define PA3D_W 8
#define PA3D_LEVEL 1
#include PA3D_SOURCE
#undef PA3D_NS
#undef PA3D_W
#undef PA3D_LEVEL
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
#define PA3D_LEVEL 2
#include PA3D_SOURCE
#undef PA3D_NS
#undef PA3D_W
#undef PA3D_LEVEL
#if defined(__clang__)
#pragma clang attribute pop
#else
#pragma GCC pop_options
#endif

#ifdef PA3D_WITH_BF16
#if defined(__clang__)
#pragma clang attribute push( \
    __attribute__((target("avx2,fma,avx512f,avx512bw,avx512vl,avx512dq,avx512bf16,avx512vnni"))), apply_to = function)
#else
#pragma GCC push_options
#pragma GCC target("avx2,fma,avx512f,avx512bw,avx512vl,avx512dq,avx512bf16,avx512vnni,prefer-vector-width=512")
#endif
#define PA3D_NS avx512_bf16
#define PA3D_W 16
#define PA3D_LEVEL 3
#include PA3D_SOURCE
#undef PA3D_NS
#undef PA3D_W
#undef PA3D_LEVEL
#if defined(__clang__)
#pragma clang attribute pop
#else
#pragma GCC pop_options
#endif
#endif

#endif  // __x86_64__
#undef PA3D_SOURCE

// Picks the function for the instruction set in use. avx512_bf16 takes the one for avx512.
#ifndef PA3D_DISPATCH
#if defined(__x86_64__)
#define PA3D_DISPATCH(f) \
  (::pa3d::isa() >= ::pa3d::Isa::avx512 ? avx512::f : ::pa3d::isa() == ::pa3d::Isa::avx2 ? avx2::f : generic::f)
#else
#define PA3D_DISPATCH(f) (generic::f)
#endif
#endif
