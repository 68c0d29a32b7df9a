#include "ops/grouped_gemm.h"

#include "cpu/gemm.h"

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
  for (const Tensor& weight : weights) {
    check_gemm(check, grouped, weight, activation, out);
    check.shape("weights", weight, weights[0].shape);
    check.dtype("weights", weight, {weights[0].dtype});
  }
}

size_t GroupedGemm::scratch_bytes(const Device* device) const {
  if (device || weights.empty()) return 0;
  return gemm_scratch_bytes(rows ? gathered : x, static_cast<int64_t>(weights.size()));
}

}  // namespace moe
