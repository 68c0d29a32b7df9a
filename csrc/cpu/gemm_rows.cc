#include "cpu/gemm_rows.h"

#include "cpu/gemm_dense.h"
#include "weights/format.h"

namespace moe {
namespace {

constexpr const GemmFormat* kFormats[] = {&kGemmF32, &kGemmBf16};

}  // namespace

const GemmFormat& gemm_format(WeightFormat format) {
  for (const GemmFormat* known : kFormats)
    if (known->format == format) return *known;
  fail(Code::unsupported, "gemm: weight must be of a format for the CPU, got ",
       format_of(format).name);
}

}  // namespace moe
