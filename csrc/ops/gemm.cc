#include "ops/gemm.h"

namespace moe {

void check_gemm(const Check& check, const Tensor& x, const char* name, const Weight& weight,
                Activation activation, const Tensor& out) {
  const bool swiglu = activation == Activation::swiglu;
  check.that(static_cast<bool>(weight), name, "a weight", "nothing");
  if (weight.gate_up != swiglu)
    fail(Code::shape, check.where(), ": ", name, " must be ",
         swiglu ? "gate_up for swiglu, got a plain weight" : "a plain weight, got gate_up");
  check.activation("x", x);
  check.shape("x", x, {x.rows(), weight.K});
  check.activation("out", out);
  check.shape("out", out, {x.dim(0), swiglu ? weight.N / 2 : weight.N});
}

}  // namespace moe
