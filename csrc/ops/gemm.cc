#include "ops/gemm.h"

namespace moe {

namespace {

void check_filled(const Check& check, const char* name, const Weight& weight) {
  check.that(static_cast<bool>(weight), name, "a weight", "nothing");
  check.that(weight.data() != nullptr, name, "a weight that has been filled", "an empty one");
}

}  // namespace

void check_gemm(const Check& check, const char* name, const Tensor& x, const Weight& weight,
                Activation activation, DType out) {
  const bool swiglu = activation == Activation::swiglu;
  check_filled(check, name, weight);
  if (weight.gate_up != swiglu)
    fail(Code::shape, check.where(), ": ", name, " must be ",
         swiglu ? "gate_up for swiglu, got a plain weight" : "a plain weight, got gate_up");
  check.shape("x", x, {x.dim(0), weight.K});
  check.activation("dtype", out);
}

void check_weights(const Check& check, const std::vector<Weight>& weights) {
  for (const Weight& weight : weights) {
    check_filled(check, "weights", weight);
    if (!(weight.shape() == weights[0].shape()))
      fail(Code::shape, check.where(), ": weights must all be ", weights[0].shape().text(),
           ", got ", weight.shape().text());
    if (weight.format != weights[0].format)
      fail(Code::dtype, check.where(), ": weights must be of one format, got two");
  }
}

int64_t outputs_of(const Weight& weight, Activation activation) {
  return activation == Activation::swiglu ? weight.N / 2 : weight.N;
}

}  // namespace moe
