#include "ops/rms_norm.h"

#include <cmath>

#include "cpu/pieces.h"

namespace moe {

void RmsNorm::run_cpu(const CpuContext& cpu) const {
  const int64_t T = x.dim(0), H = x.dim(1), D = weight.dim(0);
  const Kernels& kernels = cpu.kernels;
  const auto run = [&](int64_t t, int64_t first) {
    float squares = 0.f;
    for_pieces(kernels, x, t, first, D, [&](int64_t, const float* from, int64_t n) {
      squares += kernels.dot(from, from, n);
    });
    const float inverse = 1.f / std::sqrt(squares / static_cast<float>(D) + eps);
    for_pieces(kernels, x, t, first, D, [&](int64_t h, const float* from, int64_t n) {
      const auto scale = [&](float* to) {
        kernels.scale_by(from, inverse, weight.as<float>() + (h - first), n, to);
      };
      store_piece(kernels, out, t, h, n, scale);
      if (exact) store_piece(kernels, exact, t, h, n, scale);
    });
  };
  cpu.parallel(T, 4, [&](int64_t begin, int64_t end) {
    for (int64_t t = begin; t < end; ++t)
      for (int64_t first = 0; first < H; first += D) run(t, first);
  });
}

}  // namespace moe
