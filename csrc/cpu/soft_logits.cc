#include "ops/soft_logits.h"

#include <cmath>

#include "cpu/pieces.h"

namespace moe {

void SoftLogits::run_cpu(const CpuContext& cpu) const {
  constexpr int64_t kTokens = 8, kPart = 32;  // tokens at a time, and their values
  const int64_t T = x.dim(0), H = x.dim(1), S = slots.dim(1);
  std::vector<float> inverse(static_cast<size_t>(S), kEpsilon);  // of the slots' lengths
  for (int64_t h = 0; h < H; ++h)
    for (int64_t s = 0; s < S; ++s) inverse[s] += slots.row<float>(h)[s] * slots.row<float>(h)[s];
  for (float& length : inverse) length = *scale.as<float>() / std::sqrt(length);
  cpu.parallel((T + kTokens - 1) / kTokens, 1, [&](int64_t begin, int64_t end) {
    alignas(64) float values[kTokens * kPart];
    const float ones[kTokens] = {1, 1, 1, 1, 1, 1, 1, 1};
    for (int64_t first = begin * kTokens; first < std::min(T, end * kTokens); first += kTokens) {
      const int64_t m = std::min(kTokens, T - first);
      float* to[kTokens];
      float squares[kTokens];
      for (int64_t i = 0; i < m; ++i) {
        to[i] = logits.row<float>(first + i), squares[i] = kEpsilon;
        std::fill_n(to[i], S, 0.f);
      }
      for (int64_t h = 0; h < H; h += kPart) {
        const int64_t n = std::min(kPart, H - h);
        for (int64_t i = 0; i < m; ++i)
          for_pieces(cpu.kernels, x, first + i, h, n, [&](int64_t, const float* from, int64_t) {
            std::copy_n(from, n, values + i * kPart);
            squares[i] += cpu.kernels.dot(from, from, n);
          });
        cpu.kernels.add_values(values, static_cast<int>(m), n, slots.row<float>(h), false, S,
                               slots.row_stride, ones, to);
      }
      for (int64_t i = 0; i < m; ++i) {
        const float own = 1.f / std::sqrt(squares[i]);
        for (int64_t s = 0; s < S; ++s) to[i][s] *= own * inverse[s];
      }
    }
  });
}

}  // namespace moe
