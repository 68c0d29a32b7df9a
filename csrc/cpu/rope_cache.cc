#include "ops/rope_cache.h"

#include "cpu/context.h"

namespace moe {
namespace {

/// One head, rotated, as f32.
template <class T>
void rotated(const Kernels& kernels, const T* head, int64_t size, const float* cos_sin,
             int64_t rotary, float* buffer) {
  if constexpr (is_bf16<T>)
    kernels.widen(&head->bits, size, buffer);
  else
    std::copy_n(head, size, buffer);
  kernels.rotate(buffer, cos_sin, rotary / 2);
}

}  // namespace

void RopeCache::run_cpu(const CpuContext& cpu) const {
  const int64_t G = keys.dim(1), D = keys.dim(2), V = values.dim(3), T = k.dim(0);
  // Without a table queries stay as they are.
  const int64_t N = q && table ? q.dim(1) / D : 0, r = table ? table.dim(1) : 0;
  dispatch_activation(keys.dtype, "rope_cache", [&](auto tag) {
    using Value = decltype(tag);
    cpu.parallel(T, 1, [&](int64_t begin, int64_t end) {
      alignas(64) float buffer[RopeCache::kMaxHeadSize];
      for (int64_t t = begin; t < end; ++t) {
        const float* cos_sin = table ? table.row<float>(positions.as<int32_t>()[t]) : nullptr;
        const int64_t slot = slots.as<int32_t>()[t];
        const int64_t block = slot / kBlockTokens, column = slot % kBlockTokens;
        for (int64_t n = 0; n < N; ++n) {
          Value* head = q.row<Value>(t) + n * D;
          rotated(cpu.kernels, head, D, cos_sin, r, buffer);
          if constexpr (is_bf16<Value>)
            cpu.kernels.narrow(buffer, D, &head->bits);
          else
            std::copy_n(buffer, D, head);
        }
        for (int64_t g = 0; g < G; ++g) {
          const int64_t head = (block * G + g) * kBlockTokens;
          rotated(cpu.kernels, k.row<Value>(t) + g * D, D, cos_sin, r, buffer);
          Value* to = keys.as<Value>() + head * D + column;
          for (int64_t d = 0; d < D; ++d) to[d * kBlockTokens] = from_float<Value>(buffer[d]);
          std::copy_n(v.row<Value>(t) + g * V, V, values.as<Value>() + (head + column) * V);
        }
      }
    });
  });
}

}  // namespace moe
