// Compiled once per instruction set with -DMOE_ISA=<name> and that set's flags.

#include "cpu/isa/kernels.h"

#if defined(__AVX2__)
#include <immintrin.h>
#endif

#include "cpu/isa/simd.h"
// clang-format off: they use what is above
#include "cpu/isa/gemm.inl"
#include "cpu/isa/rows.inl"
// clang-format on

#define MOE_PASTE_(a, b) a##b
#define MOE_PASTE(a, b) MOE_PASTE_(a, b)
#define MOE_TEXT_(a) #a
#define MOE_TEXT(a) MOE_TEXT_(a)

namespace moe {

extern const Kernels MOE_PASTE(kernels_, MOE_ISA);
const Kernels MOE_PASTE(kernels_, MOE_ISA) = {
    MOE_TEXT(MOE_ISA), gemm_f32,   gemm_bf16, MOE_GEMM_DOT, kMaxRows,
    key_scores,        add_values, exp_sum,   sum_squares,  max_value,
    scale_by,          add_scaled, silu_mul,  widen,        narrow};

}  // namespace moe
