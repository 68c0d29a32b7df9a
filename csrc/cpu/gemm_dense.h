#pragma once

#include "cpu/gemm_rows.h"

namespace moe {

/// Weights of plain values and of FP8, which are decoded to f32 on their way into the products.
extern const GemmFormat kGemmF32, kGemmBf16, kGemmFp8, kGemmFp8G128;

}  // namespace moe
