#include "ops/permute.h"

#include "cpu/context.h"

namespace moe {

void Permute::run_cpu(const CpuContext& cpu) const {
  const int64_t H = x.dim(1), K = rows.dim(1), slots = rows.shape.count();
  const auto* row = rows.as<int32_t>();
  dispatch_activation(x.dtype, "permute", [&](auto tag) {
    using Value = decltype(tag);
    cpu.parallel(slots, 8, [&](int64_t begin, int64_t end) {
      for (int64_t s = begin; s < end; ++s) {
        if (row[s] < 0) continue;
        const Value* from = x.row<Value>(s / K);
        Value* to = out.row<Value>(row[s]);
        if (scale == 1.f)
          std::copy_n(from, H, to);
        else
          for (int64_t h = 0; h < H; ++h) to[h] = from_float<Value>(scale * to_float(from[h]));
      }
    });
  });
}

}  // namespace moe
