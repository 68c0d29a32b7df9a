#include "ops/image_tokens.h"

#include "cpu/context.h"

namespace moe {

void ImageTokens::run_cpu(const CpuContext& cpu) const {
  const int64_t N = tokens(), H = patches.dim(1), first = class_token ? 1 : 0;
  cpu.parallel(images * N, 16, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      const int64_t b = i / N, n = i % N;
      const float* from =
          n < first ? class_token.as<float>() : patches.row<float>(b * (N - first) + n - first);
      const float* position = positions ? positions.row<float>(n) : nullptr;
      float* to = out.row<float>(i);
      for (int64_t h = 0; h < H; ++h) to[h] = position ? from[h] + position[h] : from[h];
    }
  });
}

}  // namespace moe
