#include "ops/embedding.h"

#include <cstring>

#include "cpu/context.h"

namespace moe {

void Embedding::run_cpu(const CpuContext& cpu) const {
  const int64_t T = ids.dim(0), H = table.dim(1);
  const size_t element = dtype_bytes(table.dtype);
  cpu.parallel(T, 4, [&](int64_t begin, int64_t end) {
    for (int64_t t = begin; t < end; ++t) {
      // The table may be a mapped file, whose tensors need not be aligned.
      const std::byte* row =
          table.as<std::byte>() + ids.as<int32_t>()[t] * H * static_cast<int64_t>(element);
      float* to = out.row<float>(t);
      if (table.dtype == DType::f32) {
        std::memcpy(to, row, static_cast<size_t>(H) * element);
        for (int64_t h = 0; scale != 1.f && h < H; ++h) to[h] *= scale;
        continue;
      }
      for (int64_t h = 0; h < H; ++h) {
        uint16_t bits;
        std::memcpy(&bits, row + 2 * h, 2);
        to[h] = scale * (table.dtype == DType::bf16 ? to_float(bf16{bits}) : to_float(f16{bits}));
      }
    }
  });
}

}  // namespace moe
