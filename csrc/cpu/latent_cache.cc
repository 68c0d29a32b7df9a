#include "ops/latent_cache.h"

#include <cmath>

#include "cpu/context.h"

namespace moe {
namespace {

template <class T>
void load(const Kernels& kernels, const T* from, int64_t n, float* to) {
  if constexpr (is_bf16<T>)
    kernels.widen(&from->bits, n, to);
  else
    std::copy_n(from, n, to);
}

template <class T>
void store(const Kernels& kernels, const float* from, int64_t n, T* to) {
  if constexpr (is_bf16<T>)
    kernels.narrow(from, n, &to->bits);
  else
    std::copy_n(from, n, to);
}

}  // namespace

void LatentCache::run_cpu(const CpuContext& cpu) const {
  const int64_t C = weight.dim(0), R = table.dim(1), D = q.dim(1) / heads;
  const Kernels& kernels = cpu.kernels;
  dispatch_activation(cache.dtype, kName, [&](auto tag) {
    using Value = decltype(tag);
    cpu.parallel(q.dim(0), 1, [&](int64_t begin, int64_t end) {
      alignas(64) float buffer[kMaxRow];
      for (int64_t t = begin; t < end; ++t) {
        const float* cos_sin = table.row<float>(positions.as<int32_t>()[t]);
        for (int64_t n = 0; n < heads; ++n) {
          Value* head = q.row<Value>(t) + n * D;
          load(kernels, head, R, buffer);
          kernels.rotate(buffer, cos_sin, R / 2);
          store(kernels, buffer, R, head);
        }
        if (latent.dtype == DType::f32)
          load(kernels, latent.row<float>(t), C + R, buffer);
        else
          load(kernels, latent.row<bf16>(t), C + R, buffer);
        const float squares = kernels.dot(buffer, buffer, C);
        const float inverse = 1.f / std::sqrt(squares / static_cast<float>(C) + eps);
        kernels.scale_by(buffer, scale * inverse, weight.as<float>(), C, buffer);
        kernels.rotate(buffer + C, cos_sin, R / 2);
        store(kernels, buffer, C + R, cache.row<Value>(slots.as<int32_t>()[t]));
      }
    });
  });
}

}  // namespace moe
