#pragma once

#include "core/op.h"
#include "ops/gemm.h"

namespace moe {

/// Dense projection, sums in f32. It is the grouped GEMM with one group.
///
///   out[t, :] = residual[t, :] + scale * rowScale[t] * activation(x[t, :] W^T + bias)
///
/// What is left out is not there: no residual, factors of 1. `swigluClamped` is
/// (u + 1) * g * sigmoid(alpha * g) with g = min(gate, limit) and u = up clamped to +-limit.
struct Linear {
  static constexpr const char* kName = "linear";

  Tensor x;         // [T, K] f32 | bf16, may be a column slice
  Weight weight;    // [N, K]; gate_up for the gated activations
  Tensor bias;      // [N] f32; gate rows, then up rows for gate_up
  Tensor rowScale;  // [T, 1] f32, a factor of each row, may be a column slice
  Tensor residual;  // [T, N] f32 ([T, N / 2] for gate_up)
  Activation activation = Activation::none;
  float limit = 7.f;         // of swigluClamped, above 0
  float alpha = 1.702f;      // of swigluClamped
  float scale = 1.f;         // factor of all rows
  DType dtype = DType::f32;  // f32 | bf16
  Tensor out;                // [T, N] ([T, N / 2] for gate_up) dtype
  Tensor scratch;

  static constexpr auto fields() {
    return std::tuple(input("x", &Linear::x), input("weight", &Linear::weight),
                      optional("bias", &Linear::bias), optional("rowScale", &Linear::rowScale),
                      optional("residual", &Linear::residual),
                      setting("activation", &Linear::activation), setting("limit", &Linear::limit),
                      setting("alpha", &Linear::alpha), setting("scale", &Linear::scale),
                      setting("dtype", &Linear::dtype), output("out", &Linear::out));
  }
  Epilogue epilogue() const { return {bias, rowScale, residual, activation, scale, limit, alpha}; }
  void check() const;
  void make_outputs(const Make& make);
  size_t scratch_bytes(const Device* device) const;
  void run_cpu(const CpuContext&) const;
  void run_cuda(const CudaContext&) const;

  bool deterministic = false;  // on a GPU, one path for any number of rows
};

}  // namespace moe
