#include "ops/grouped_gemm.h"

#include "core/gpu_limits.h"

namespace moe {

void GroupedGemm::check() const {
  const Check check(kName);
  check.rank("x", x, 2);
  check.activation("x", x);
  check.contiguous("x", x);
  if (weights.empty()) fail(Code::option, kName, ": weights must be at least one, got none");
  check.shape("offsets", offsets, {static_cast<int64_t>(weights.size()) + 1});
  check.dtype("offsets", offsets, {DType::i32});
  check_activation(check, limit);
  for (const Weight& weight : weights) check_gemm(check, "weights", x, weight, activation, dtype);
  check_weights(check, weights);
  if (biases) {
    check.shape("biases", biases, {static_cast<int64_t>(weights.size()), weights[0].N});
    check.dtype("biases", biases, {DType::f32});
    check.contiguous("biases", biases);
  }
}

void GroupedGemm::check_gpu() const {
  if (weights.size() > GpuLimits::kGroups)
    fail(Code::unsupported, kName, ": weights must be of at most ", GpuLimits::kGroups,
         " experts on a GPU, got ", weights.size());
}

void GroupedGemm::make_outputs(const Make& make) {
  out = make({x.dim(0), outputs_of(weights[0], activation)}, dtype);
}

}  // namespace moe
