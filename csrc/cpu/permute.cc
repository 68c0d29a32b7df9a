#include "ops/permute.h"

#include "cpu/context.h"

namespace moe {

void Permute::run_cpu(const CpuContext& cpu) const {
  const int64_t T = x.dim(0), H = x.dim(1), K = ids.dim(1), slots = T * K;
  const auto* id = ids.as<int32_t>();
  auto* row = rows.as<int32_t>();
  auto* offset = offsets.as<int32_t>();
  // Counting sort; `offset[g + 1]` counts, then becomes the end of group g.
  std::fill_n(offset, num_groups + 1, 0);
  for (int64_t s = 0; s < slots; ++s)
    if (groups[id[s]] >= 0) ++offset[groups[id[s]] + 1];
  for (int64_t g = 0; g < num_groups; ++g) offset[g + 1] += offset[g];
  for (int64_t s = 0; s < slots; ++s) row[s] = groups[id[s]] < 0 ? -1 : offset[groups[id[s]]]++;
  for (int64_t g = num_groups; g > 0; --g) offset[g] = offset[g - 1];
  offset[0] = 0;

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
