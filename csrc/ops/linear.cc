#include "ops/linear.h"

#include "ops/gemm.h"

namespace moe {

void Linear::check() const {
  const Check check(kName);
  check.rank("x", x, 2);
  check_gemm(check, x, "weight", weight, activation, out);
  const int64_t N = out.dim(1);
  if (bias) {
    check.shape("bias", bias, {N});
    check.dtype("bias", bias, {DType::f32});
  }
  if (residual) {
    check.shape("residual", residual, {x.dim(0), N});
    check.dtype("residual", residual, {DType::f32});
  }
}

}  // namespace moe
