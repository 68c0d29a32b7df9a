#include "ops/layer_norm.h"

#include <cmath>

#include "cpu/pieces.h"

namespace moe {

void LayerNorm::run_cpu(const CpuContext& cpu) const {
  const int64_t T = x.dim(0), H = x.dim(1), D = weight.dim(0);
  const Kernels& kernels = cpu.kernels;
  const auto size = static_cast<float>(D);
  cpu.parallel(T, 4, [&](int64_t begin, int64_t end) {
    float ones[kPiece], centred[kPiece];
    std::fill_n(ones, kPiece, 1.f);
    const auto run = [&](int64_t t, int64_t first) {
      float total = 0.f, squares = 0.f;
      for_pieces(kernels, x, t, first, D, [&](int64_t, const float* from, int64_t n) {
        total += kernels.dot(from, ones, n);
      });
      const float mean = total / size;
      const auto for_centred = [&](const auto& body) {
        for_pieces(kernels, x, t, first, D, [&](int64_t h, const float* from, int64_t n) {
          for (int64_t i = 0; i < n; ++i) centred[i] = from[i] - mean;
          body(h, n);
        });
      };
      for_centred([&](int64_t, int64_t n) { squares += kernels.dot(centred, centred, n); });
      const float inverse = 1.f / std::sqrt(squares / size + eps);
      for_centred([&](int64_t h, int64_t n) {
        store_piece(kernels, out, t, h, n, [&](float* to) {
          kernels.scale_by(centred, inverse, weight.as<float>() + (h - first), n, to);
          if (bias) kernels.add_scaled(bias.as<float>() + (h - first), 1.f, n, to);
        });
      });
    };
    for (int64_t t = begin; t < end; ++t)
      for (int64_t first = 0; first < H; first += D) run(t, first);
  });
}

}  // namespace moe
