#include "ops/head_linear.h"

#include "core/gpu_limits.h"
#include "ops/gemm.h"

namespace moe {

void HeadLinear::check() const {
  const Check check(kName);
  check.rank("x", x, 2);
  check.activation("x", x);
  check.activation("dtype", dtype);
  if (weights.empty()) fail(Code::option, kName, ": weights must be at least one, got none");
  check_weights(check, weights);
  const Weight& first = weights[0];
  // Formats of whole blocks read their rows in a way of their own.
  check.that(first.format == WeightFormat::f32 || first.format == WeightFormat::bf16, "weights",
             "f32 or bf16", "another format");
  check.that(!first.gate_up, "weights", "plain weights", "gate_up");
  if (x.dim(1) % heads() != 0 || x.dim(1) / heads() < first.K)
    fail(Code::shape, kName, ": x must have ", heads(), " heads of at least ", first.K,
         " values, got ", x.shape.text());
}

void HeadLinear::check_gpu() const {
  if (weights.size() > GpuLimits::kGroups)
    fail(Code::unsupported, kName, ": weights must be of at most ", GpuLimits::kGroups,
         " heads on a GPU, got ", weights.size());
}

void HeadLinear::make_outputs(const Make& make) {
  out = make({x.dim(0), heads() * weights[0].N}, dtype);
  // The last `count` values of each head.
  const auto rows = [&](Tensor tensor, int64_t count) -> Rows {
    const int64_t T = tensor.dim(0), D = tensor.dim(1) / heads();
    tensor.offset += static_cast<size_t>(D - count) * dtype_bytes(tensor.dtype);
    tensor.shape = {heads() * T, count};
    return {tensor, D - T * tensor.row_stride};
  };
  x_rows = rows(x, weights[0].K);
  out_rows = rows(out, weights[0].N);
}

}  // namespace moe
