#include "cpu/gemm_rows.h"

#include "cpu/gemm_dense.h"
#include "cpu/gemm_integer.h"
#include "weights/format.h"

namespace moe {
namespace {

/// f32 rows are multiplied as they are, so that an MXFP4 file gives what its bf16 numbers give.
/// bf16 rows, which are rounded anyway, are rounded to integers.
const GemmFormat& mxfp4(const Tensor& x) {
  return x.dtype == DType::f32 ? kGemmMxfp4Floats : kGemmMxfp4Integers;
}

constexpr GemmFormat kGemmMxfp4 = {
    WeightFormat::mxfp4,
    [](const Tensor& x, int64_t groups) { return mxfp4(x).scratch_bytes(x, groups); },
    [](const Kernels& kernels, const GemmCall& call) { return mxfp4(call.x).rows(kernels, call); }};

constexpr const GemmFormat* kFormats[] = {
    &kGemmF32,      &kGemmBf16,      &kGemmInt8,  &kGemmInt8G128, &kGemmInt4G32, &kGemmInt4G128,
    &kGemmInt4G32Z, &kGemmInt4G128Z, &kGemmMxfp4, &kGemmFp8,      &kGemmFp8G128};

}  // namespace

const GemmFormat& gemm_format(WeightFormat format) {
  for (const GemmFormat* known : kFormats)
    if (known->format == format) return *known;
  fail(Code::unsupported, "gemm: weight must be of a format for the CPU, got ",
       format_of(format).name);
}

}  // namespace moe
