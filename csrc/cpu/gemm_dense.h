#pragma once

#include "cpu/gemm_rows.h"

namespace moe {

/// Weights of plain values.
extern const GemmFormat kGemmF32, kGemmBf16;

}  // namespace moe
