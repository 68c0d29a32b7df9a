#include "ops/linear.h"

namespace moe {

void Linear::check() const {
  const Check check(kName);
  check.rank("x", x, 2);
  check.activation("x", x);
  check_gemm(check, "weight", x, weight, activation, dtype);
  check_activation(check, limit);
  const int64_t N = outputs_of(weight, activation);
  if (bias) {
    check.shape("bias", bias, {weight.N});
    check.dtype("bias", bias, {DType::f32});
  }
  if (rowScale) {
    check.shape("rowScale", rowScale, {x.dim(0), 1});
    check.dtype("rowScale", rowScale, {DType::f32});
  }
  if (residual) {
    check.shape("residual", residual, {x.dim(0), N});
    check.dtype("residual", residual, {DType::f32});
  }
}

void Linear::make_outputs(const Make& make) {
  out = make({x.dim(0), outputs_of(weight, activation)}, dtype);
}

}  // namespace moe
