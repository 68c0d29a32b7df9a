#include "ops/soft_logits.h"

#include <cmath>

#include "cpu/pieces.h"

namespace moe {

void SoftLogits::run_cpu(const CpuContext& cpu) const {
  const int64_t T = x.dim(0), H = x.dim(1), S = slots.dim(1);
  std::vector<float> inverse(static_cast<size_t>(S), kEpsilon);  // of the slots' lengths
  for (int64_t h = 0; h < H; ++h)
    for (int64_t s = 0; s < S; ++s) inverse[s] += slots.row<float>(h)[s] * slots.row<float>(h)[s];
  for (float& length : inverse) length = *scale.as<float>() / std::sqrt(length);
  cpu.parallel(T, 4, [&](int64_t begin, int64_t end) {
    for (int64_t t = begin; t < end; ++t) {
      float* to = logits.row<float>(t);
      std::fill_n(to, S, 0.f);
      float squares = kEpsilon;
      for_pieces(cpu.kernels, x, t, 0, H, [&](int64_t h, const float* values, int64_t n) {
        squares += cpu.kernels.dot(values, values, n);
        for (int64_t i = 0; i < n; ++i)
          cpu.kernels.add_scaled(slots.row<float>(h + i), values[i], S, to);
      });
      const float own = 1.f / std::sqrt(squares);
      for (int64_t s = 0; s < S; ++s) to[s] *= own * inverse[s];
    }
  });
}

}  // namespace moe
