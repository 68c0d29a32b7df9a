#include "ops/causal_pair.h"

#include "cpu/context.h"

namespace moe {

void CausalPair::run_cpu(const CpuContext& cpu) const {
  const int64_t T = x.dim(0), C = x.dim(1);
  const auto* position = positions.as<int32_t>();
  const auto* slot = slots.as<int32_t>();
  const auto* sequence = sequences.as<int32_t>();
  const auto starts_here = [&](int64_t t) { return t == 0 || sequence[t] != sequence[t - 1]; };
  dispatch_activation(x.dtype, kName, [&](auto tag) {
    using Value = decltype(tag);
    cpu.parallel(T, 8, [&](int64_t begin, int64_t end) {
      for (int64_t t = begin; t < end; ++t) {
        const Value* previous = nullptr;  // zero
        if (!starts_here(t))
          previous = x.row<Value>(t - 1);
        else if (position[t] > 0)
          previous = state.row<Value>(
              block_table.row<int32_t>(sequence[t])[(position[t] - 1) / kBlockTokens]);
        Value* to = out.row<Value>(t);
        for (int64_t c = 0; c < C; ++c) {
          to[2 * c] = previous ? previous[c] : Value{};
          to[2 * c + 1] = x.row<Value>(t)[c];
        }
      }
    });
    // Only now: the first token of a chunk may have read the state of the block it writes to.
    cpu.parallel(T, 32, [&](int64_t begin, int64_t end) {
      for (int64_t t = begin; t < end; ++t) {
        const bool last_in_block = t + 1 == T || starts_here(t + 1) ||
                                   slot[t + 1] / kBlockTokens != slot[t] / kBlockTokens;
        if (last_in_block)
          std::copy_n(x.row<Value>(t), C, state.row<Value>(slot[t] / kBlockTokens));
      }
    });
  });
}

}  // namespace moe
