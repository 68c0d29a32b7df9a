// Compiled once per instruction set with -DMOE_ISA=<name> and that set's flags.

#include "cpu/isa/kernels.h"

#if defined(__x86_64__)
#include <immintrin.h>
#elif defined(__aarch64__)
#include <arm_neon.h>
#endif

#include "cpu/isa/simd.h"
// clang-format off: they use what is above
#include "cpu/isa/attention.inl"
#include "cpu/isa/gemm.inl"
#include "cpu/isa/integer.inl"
#include "cpu/isa/probe.inl"
#include "cpu/isa/quantize.inl"
#include "cpu/isa/rows.inl"
// clang-format on

#define MOE_PASTE_(a, b) a##b
#define MOE_PASTE(a, b) MOE_PASTE_(a, b)
#define MOE_TEXT_(a) #a
#define MOE_TEXT(a) MOE_TEXT_(a)

namespace moe {

extern const Kernels MOE_PASTE(kernels_, MOE_ISA) = {
    .name = MOE_TEXT(MOE_ISA),
    .gemm_few = gemm_few,
    .tiled_rows = kTiledRows,
    .tiled_rows_fp8 = kTiledRowsFp8,
    .gemm_tiles = gemm_tiles,
    .gemm_dot = MOE_GEMM_DOT,
    .wide_rows8 = Method<Code::int8>::kWideRows,
    .wide_rows4 = Method<Code::int4>::kWideRows,
    .gemm_int8 = gemm_int8,
    .gemm_int4 = gemm_int4,
    .gemm_mxfp4 = gemm_mxfp4,
    .quantize_row = quantize_row,
    .key_scores = key_scores,
    .key_scores_dot = MOE_KEY_SCORES_DOT,
    .softmax_block = softmax_block,
    .add_values = add_values,
    .row_scores = row_scores,
    .row_scores_dot = MOE_ROW_SCORES_DOT,
    .exp_sum = exp_sum,
    .dot = dot,
    .max_value = max_value,
    .nan_to_minus_inf = nan_to_minus_inf,
    .scale_by = scale_by,
    .add_scaled = add_scaled,
    .glu = glu,
    .sigmoid = sigmoid,
    .tanh = tanh_row,
    .relu = relu,
    .rotate = rotate,
    .read_all = read_all,
    .spin_f32 = spin_f32,
    .spin_dot = MOE_SPIN_DOT,
    .widen = widen,
    .narrow = narrow,
};

}  // namespace moe
