#include "ops/grouped_gemm.h"

#include "ops/gemm.h"

namespace moe {

void GroupedGemm::check() const {
  const Check check(kName);
  check.rank("x", x, 2);
  check.activation("x", x);
  check.contiguous("x", x);
  if (rows) permute().check();
  const Tensor& grouped = rows ? gathered : x;
  check.shape("offsets", offsets, {static_cast<int64_t>(weights.size()) + 1});
  check.dtype("offsets", offsets, {DType::i32});
  for (const Weight& weight : weights) {
    check_gemm(check, grouped, "weights", weight, activation, out);
    if (!(weight.shape() == weights[0].shape()))
      fail(Code::shape, kName, ": weights must all be ", weights[0].shape().text(), ", got ",
           weight.shape().text());
    if (weight.format != weights[0].format)
      fail(Code::dtype, kName, ": weights must be of one format, got two");
  }
}

}  // namespace moe
