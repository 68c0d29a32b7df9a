#pragma once

#include "cpu/gemm_rows.h"

namespace moe {

/// Weights of weights/formats/integer.h and mxfp4.h. Rows are quantised to int8, each group of k by
/// itself.
extern const GemmFormat kGemmInt8, kGemmInt8G128, kGemmInt4G32, kGemmInt4G128, kGemmInt4G32Z,
    kGemmInt4G128Z, kGemmMxfp4Integers;

}  // namespace moe
