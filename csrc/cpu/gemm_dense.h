#pragma once

#include "cpu/gemm_rows.h"

namespace moe {

/// Weights of plain values, of FP8 and of MXFP4, which are decoded to f32 on their way into the
/// products.
extern const GemmFormat kGemmF32, kGemmBf16, kGemmFp8, kGemmFp8G128, kGemmMxfp4Floats;

}  // namespace moe
