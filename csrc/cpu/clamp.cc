#include "ops/clamp.h"

#include "cpu/context.h"

namespace moe {

void Clamp::run_cpu(const CpuContext& cpu) const {
  dispatch_activation(x.dtype, kName, [&](auto tag) {
    using Value = decltype(tag);
    cpu.parallel(x.dim(0), 4, [&](int64_t begin, int64_t end) {
      for (int64_t t = begin; t < end; ++t) {
        Value* row = x.row<Value>(t);
        for (int64_t h = 0; h < x.dim(1); ++h) {
          const float value = to_float(row[h]);
          row[h] = from_float<Value>(value > limit ? limit : value < -limit ? -limit : value);
        }
      }
    });
  });
}

}  // namespace moe
