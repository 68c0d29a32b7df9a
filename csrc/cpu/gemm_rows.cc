#include "cpu/gemm_rows.h"

#include "cpu/gemm_dense.h"
#include "cpu/gemm_integer.h"
#include "weights/format.h"

namespace moe {
namespace {

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
