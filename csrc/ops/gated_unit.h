#pragma once

#include "core/op.h"
#include "ops/gemm.h"

namespace moe {

/// A gated linear unit (Shazeer 2020, arXiv:2002.05202) of sums that are no longer inside a GEMM,
/// since something was added to them. `linear` and `groupedGemm` do their own.
///
///   out[t, i] = activation(gate = x[t, i], up = x[t, I + i])
struct GatedUnit {
  static constexpr const char* kName = "gatedUnit";

  Tensor x;  // [T, 2 I] f32, gate values, then up values; may be a column slice
  Activation activation = Activation::swiglu;  // a gated one
  float limit = 7.f;                           // of swigluClamped, above 0
  float alpha = 1.702f;                        // of swigluClamped
  DType dtype = DType::f32;                    // f32 | bf16
  Tensor out;                                  // [T, I] dtype

  static constexpr auto fields() {
    return std::tuple(input("x", &GatedUnit::x), setting("activation", &GatedUnit::activation),
                      setting("limit", &GatedUnit::limit), setting("alpha", &GatedUnit::alpha),
                      setting("dtype", &GatedUnit::dtype), output("out", &GatedUnit::out));
  }
  Glu glu() const { return Epilogue{{}, {}, {}, activation, 1.f, limit, alpha}.glu(); }
  void check() const {
    const Check check(kName);
    check.rank("x", x, 2);
    check.dtype("x", x, {DType::f32});
    if (x.dim(1) % 2 != 0)
      fail(Code::shape, kName, ": x must have as many up columns as gate columns, got ",
           x.shape.text());
    check.that(gated(activation), "activation", "a gated one",
               EnumNames<Activation>::names[static_cast<int>(activation)]);
    check_activation(check, limit);
    check.activation("dtype", dtype);
  }
  void make_outputs(const Make& make) { out = make({x.dim(0), x.dim(1) / 2}, dtype); }
  void run_cpu(const CpuContext&) const;
  void run_cuda(const CudaContext&) const;
};

}  // namespace moe
