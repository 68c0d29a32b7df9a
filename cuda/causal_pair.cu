#include "ops/causal_pair.h"
#include "rows.cuh"

namespace moe {
namespace {

constexpr int kBlock = static_cast<int>(kBlockTokens);

/// One block a token.
template <class T>
__global__ void pair_rows(Rows<const T> x, Rows<const T> state, const int32_t* positions,
                          const int32_t* sequences, Rows<const int32_t> block_table, int width,
                          Rows<T> out) {
  wait_for_grid();
  release_grid();
  const int t = static_cast<int>(blockIdx.x), sequence = sequences[t];
  const T* previous = nullptr;  // zero
  if (t > 0 && sequences[t - 1] == sequence)
    previous = x[t - 1];
  else if (positions[t] > 0)
    previous = state[block_table[sequence][(positions[t] - 1) / kBlock]];
  for (int c = threadIdx.x; c < width; c += blockDim.x) {
    out[t][2 * c] = previous ? previous[c] : T{};
    out[t][2 * c + 1] = x[t][c];
  }
}

/// After pair_rows: the first token of a chunk may have read the state of the block it writes to.
template <class T>
__global__ void save_state(Rows<const T> x, const int32_t* slots, const int32_t* sequences,
                           int tokens, int width, Rows<T> state) {
  wait_for_grid();
  release_grid();
  const int t = static_cast<int>(blockIdx.x);
  const bool last = t + 1 == tokens || sequences[t + 1] != sequences[t] ||
                    slots[t + 1] / kBlock != slots[t] / kBlock;
  if (!last) return;
  for (int c = threadIdx.x; c < width; c += blockDim.x) state[slots[t] / kBlock][c] = x[t][c];
}

}  // namespace

void CausalPair::run_cuda(const CudaContext& cuda) const {
  const auto T = static_cast<unsigned>(x.dim(0));
  const int C = static_cast<int>(x.dim(1));
  dispatch_activation(x.dtype, kName, [&](auto tag) {
    using Value = decltype(tag);
    cuda.launch(pair_rows<Value>, T, 256, 0, rows_of<const Value>(x), rows_of<const Value>(state),
                positions.as<const int32_t>(), sequences.as<const int32_t>(),
                rows_of<const int32_t>(block_table), C, rows_of<Value>(out));
    cuda.launch(save_state<Value>, T, 256, 0, rows_of<const Value>(x), slots.as<const int32_t>(),
                sequences.as<const int32_t>(), static_cast<int>(T), C, rows_of<Value>(state));
  });
}

}  // namespace moe
