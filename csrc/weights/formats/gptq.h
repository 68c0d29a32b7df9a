#pragma once

#include "core/context.h"
#include "core/tensor.h"

namespace moe {

/// One GPTQ linear layer as AutoGPTQ stores it (format `gptq`, zeros stored minus one).
struct Gptq {
  Tensor qweight;  // [in * bits / 32, out] i32, lowest bits first
  Tensor qzeros;   // [groups, out * bits / 32] i32
  Tensor scales;   // [groups, out] f16 | bf16 | f32
  Tensor g_idx;    // [in] i32
  int bits;        // 4 | 8
};

/// out[o, i] = scales[g_idx[i], o] * (q[i, o] - ((z[g_idx[i], o] + 1) mod 2^bits)), f32 or bf16
/// [out, in].
void unpack(const CpuContext& cpu, const Gptq& source, Tensor& out);

}  // namespace moe
