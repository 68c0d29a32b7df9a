#include "ops/rope_cache.h"

#include "cpu/context.h"

namespace moe {
namespace {

/// Rotates one head: `to` may be `from`; values of `to` are `stride` apart.
template <class T>
void rotate(const T* from, const float* cos_sin, int64_t rotary, int64_t head, T* to,
            int64_t stride) {
  const int64_t half = rotary / 2;
  for (int64_t j = 0; j < half; ++j) {
    const float a = to_float(from[j]), b = to_float(from[j + half]);
    const float c = cos_sin[j], s = cos_sin[half + j];
    to[j * stride] = from_float<T>(a * c - b * s);
    to[(j + half) * stride] = from_float<T>(b * c + a * s);
  }
  if (to == from) return;
  for (int64_t j = rotary; j < head; ++j) to[j * stride] = from[j];
}

}  // namespace

void RopeCache::run_cpu(const CpuContext& cpu) const {
  const int64_t G = keys.dim(1), D = keys.dim(2), T = q.dim(0), N = q.dim(1) / D, r = table.dim(1);
  dispatch_activation(keys.dtype, "rope_cache", [&](auto tag) {
    using Value = decltype(tag);
    cpu.parallel(T, 1, [&](int64_t begin, int64_t end) {
      for (int64_t t = begin; t < end; ++t) {
        const float* cos_sin = table.row<float>(positions.as<int32_t>()[t]);
        const int64_t slot = slots.as<int32_t>()[t];
        const int64_t block = slot / kBlockTokens, column = slot % kBlockTokens;
        for (int64_t n = 0; n < N; ++n) {
          Value* head = q.row<Value>(t) + n * D;
          rotate(head, cos_sin, r, D, head, 1);
        }
        for (int64_t g = 0; g < G; ++g) {
          const int64_t base = (block * G + g) * D * kBlockTokens;
          rotate(k.row<Value>(t) + g * D, cos_sin, r, D, keys.as<Value>() + base + column,
                 kBlockTokens);
          std::copy_n(v.row<Value>(t) + g * D, D, values.as<Value>() + base + column * D);
        }
      }
    });
  });
}

}  // namespace moe
