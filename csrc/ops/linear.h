#pragma once

#include "core/op.h"
#include "ops/activation.h"
#include "weights/weight.h"

namespace moe {

/// Dense projection: out = activation(x W^T + bias) + residual, sums in f32.
/// It is the grouped GEMM with one group.
struct Linear {
  static constexpr const char* kName = "linear";

  Tensor x;         // [T, K] f32 | bf16, may be a column slice
  Weight weight;    // [N, K]; gate_up for swiglu
  Tensor bias;      // [N] f32; gate rows, then up rows for swiglu
  Tensor residual;  // [T, N] f32
  Activation activation = Activation::none;
  DType dtype = DType::f32;  // f32 | bf16
  Tensor out;                // [T, N] ([T, N / 2] for swiglu) dtype
  Tensor scratch;

  static constexpr auto fields() {
    return std::tuple(input("x", &Linear::x), input("weight", &Linear::weight),
                      optional("bias", &Linear::bias), optional("residual", &Linear::residual),
                      setting("activation", &Linear::activation), setting("dtype", &Linear::dtype),
                      output("out", &Linear::out));
  }
  void check() const;
  void make_outputs(const Make& make);
  size_t scratch_bytes(const Device* device) const;
  void run_cpu(const CpuContext&) const;
  void run_cuda(const CudaContext&) const;

  bool deterministic = false;  // on a GPU, one path for any number of rows
};

}  // namespace moe
