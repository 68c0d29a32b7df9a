#pragma once
// The host twins of cuda/device/ptx.cuh: same names, same meaning, checked where hardware would
// fault.

#include <cuda_runtime.h>

#include "block.h"
#include "copies.h"
#include "core/dtype.h"

namespace moe {

inline unsigned char* shared_memory() { return sim::Block::current().shared(); }

inline void wait_prior_grid() { sim::Block::current().wait_for_grid(); }
inline void launch_dependents() {}

/// MOE_SIM_WGMMA=0: as if the image were for sm_90, without wgmma.
inline bool has_wgmma() { return sim::setting("MOE_SIM_WGMMA", 1) != 0; }

inline bf16 narrow(float value) { return to_bf16(value); }
inline uint32_t narrow2(float low, float high) {
  return to_bf16(low).bits | uint32_t{to_bf16(high).bits} << 16;
}

/// Rounded to odd on its way to f32, so that the last rounding is the only one.
inline uint32_t fma_bf16x2(uint32_t a, uint32_t b, uint32_t c) {
  const auto one = [&](unsigned shift) {
    const auto value = [&](uint32_t pair) {
      return double{to_float(bf16{static_cast<uint16_t>(pair >> shift)})};
    };
    const double exact = value(a) * value(b) + value(c);
    const auto nearest = static_cast<float>(exact);
    const double error = exact - double{nearest};
    uint32_t bits = __float_as_uint(nearest);
    if (error != 0 && std::isfinite(nearest)) {
      if (error<0 == exact> 0) --bits;  // towards zero
      bits |= 1;
    }
    return uint32_t{to_bf16(__uint_as_float(bits)).bits} << shift;
  };
  return one(0) | one(16);
}

inline float2 widen2(uint32_t pair) {
  return {to_float(f16{static_cast<uint16_t>(pair)}),
          to_float(f16{static_cast<uint16_t>(pair >> 16)})};
}

template <class T>
T load_again(const T* from) {
  T value;
  sim::load(&value, from, sizeof value, sim::Access::constant);
  return value;
}

template <class T>
T load_stream(const T* from) {
  T value;
  sim::load(&value, from, sizeof value, sim::Access::constant);
  return value;
}

inline uint4 load_once(const uint4* from) {
  uint4 value;
  sim::load(&value, from, sizeof value, sim::Access::read);
  return value;
}

/// Where asynchronous work lands late, nothing of what was written for it.
inline int32_t load_guess(const int32_t* from) {
  int32_t value;
  sim::load(&value, from, sizeof value, sim::Access::prefetch);
  if (!sim::Block::current().schedule().late) return value;
  return static_cast<int32_t>((reinterpret_cast<uintptr_t>(from) >> 2) * 0x9e3779b1u);
}

inline void prefetch_l2(const void* from, unsigned bytes) { sim::prefetch(from, bytes); }

template <class T>
T load_coherent(const T* from) {
  return *from;
}

// ---- cp.async

inline void cp_async16(void* to, const void* from, unsigned bytes) {
  sim::start_copy(to, from, bytes);
}
inline void cp_async_commit() { sim::commit_copies(); }
template <int N>
void cp_async_wait() {
  sim::wait_for_copies(N);
}

// ---- matrices of a warp

namespace sim {

/// Every lane hands over four words; `complete`, if any, runs once with all of them.
inline WarpSlot* hand_over(uint64_t a, uint64_t b = 0, uint64_t c = 0, uint64_t d = 0) {
  Block& block = Block::current();
  WarpSlot* slots = block.warp().slots[block.warp().generation % 2];
  slots[lane()] = {{a, b, c, d}};
  return slots;
}

/// acc += A B for one warp's m16 x nN x k16: lane registers as in the PTX ISA's figures for
/// mma.m16n8k16. `b(n, k)` gives an element of B.
template <class B>
void matrix_multiply(WarpSlot* slots, int n_tiles, const B& b) {
  float rows[16][16];
  for (int l = 0; l < 32; ++l) {
    const auto* a = reinterpret_cast<const uint32_t*>(slots[l].word[0]);
    for (int r = 0; r < 4; ++r)
      for (int h = 0; h < 2; ++h)
        rows[l / 4 + 8 * (r & 1)][2 * (l % 4) + h + 8 * (r >> 1)] =
            to_float(bf16{static_cast<uint16_t>(a[r] >> (16 * h))});
  }
  for (int tile = 0; tile < n_tiles; ++tile) {
    float columns[16][8];
    for (int k = 0; k < 16; ++k)
      for (int n = 0; n < 8; ++n) columns[k][n] = b(8 * tile + n, k);
    for (int m = 0; m < 16; ++m) {
      float sums[8] = {};
      for (int k = 0; k < 16; ++k)
        for (int n = 0; n < 8; ++n) sums[n] += rows[m][k] * columns[k][n];
      for (int n = 0; n < 8; ++n) {
        auto* acc = reinterpret_cast<float*>(slots[m % 8 * 4 + n / 2].word[1]);
        acc[4 * tile + n % 2 + 2 * (m / 8)] += sums[n];
      }
    }
  }
}

}  // namespace sim

namespace sim {

/// Lane 8i + r hands over row r of the 8x8 matrix i.
inline const WarpSlot* matrix_rows(const void* row) {
  if (reinterpret_cast<uintptr_t>(row) % 16)
    Block::current().fail("ldmatrix needs 16-byte alignment");
  const WarpSlot* slots = hand_over(reinterpret_cast<uint64_t>(row));
  Block::current().collect(~0u);
  return slots;
}

/// Value `column` of row `row` of matrix i.
inline uint16_t matrix_value(const WarpSlot* slots, unsigned i, unsigned row, unsigned column) {
  uint16_t value;
  std::memcpy(&value, reinterpret_cast<const char*>(slots[8 * i + row].word[0]) + 2 * column, 2);
  return value;
}

}  // namespace sim

inline void ldmatrix_x4(uint32_t (&r)[4], const void* row) {
  const sim::WarpSlot* slots = sim::matrix_rows(row);
  const unsigned g = sim::lane() / 4, t = sim::lane() % 4;
  for (unsigned i = 0; i < 4; ++i)
    r[i] = sim::matrix_value(slots, i, g, 2 * t) |
           uint32_t{sim::matrix_value(slots, i, g, 2 * t + 1)} << 16;
}

inline void ldmatrix_x4_trans(uint32_t (&r)[4], const void* row) {
  const sim::WarpSlot* slots = sim::matrix_rows(row);
  const unsigned g = sim::lane() / 4, t = sim::lane() % 4;
  for (unsigned i = 0; i < 4; ++i)
    r[i] = sim::matrix_value(slots, i, 2 * t, g) |
           uint32_t{sim::matrix_value(slots, i, 2 * t + 1, g)} << 16;
}

inline void stmatrix_x2_trans(void* row, uint32_t first, uint32_t second) {
  if (reinterpret_cast<uintptr_t>(row) % 16)
    sim::Block::current().fail("stmatrix needs 16-byte alignment");
  const sim::WarpSlot* slots = sim::hand_over(reinterpret_cast<uint64_t>(row));
  sim::Block::current().collect(~0u);
  const uint32_t values[2] = {first, second};
  for (unsigned i = 0; i < 2; ++i)
    for (unsigned h = 0; h < 2; ++h) {
      const auto value = static_cast<uint16_t>(values[i] >> 16 * h);
      auto* to = reinterpret_cast<char*>(slots[8 * i + 2 * (sim::lane() % 4) + h].word[0]);
      std::memcpy(to + 2 * (sim::lane() / 4), &value, 2);
    }
}

inline void named_barrier(int id, int threads) {
  sim::Block::current().barrier(static_cast<unsigned>(id), static_cast<unsigned>(threads));
}

inline void mma_bf16(float (&d)[4], const uint32_t (&a)[4], const uint32_t (&b)[2]) {
  sim::WarpSlot* slots = sim::hand_over(
      reinterpret_cast<uint64_t>(a), reinterpret_cast<uint64_t>(d), reinterpret_cast<uint64_t>(b));
  sim::Block::current().collect(~0u, [slots] {
    sim::matrix_multiply(slots, 1, [slots](int n, int k) {
      const auto* b = reinterpret_cast<const uint32_t*>(slots[4 * n + k % 8 / 2].word[2]);
      return to_float(bf16{static_cast<uint16_t>(b[k / 8] >> (16 * (k % 2)))});
    });
  });
}

// ---- mbarrier and bulk copies

inline void mbarrier_init(uint64_t* bar, unsigned arrivals) {
  sim::Block::current().make_mbarrier(bar, arrivals);
}
inline void fence_mbarrier_init() {}

inline void mbarrier_arrive(uint64_t* bar) {
  sim::Block& block = sim::Block::current();
  sim::Mbarrier& state = block.mbarrier(bar);
  if (--state.pending < 0) block.fail("more arrivals at an mbarrier than it counts");
  state.settle();
}

inline void mbarrier_arrive_expect(uint64_t* bar, unsigned bytes) {
  sim::Block::current().mbarrier(bar).bytes += bytes;
  mbarrier_arrive(bar);
}

/// Waits for the end of the phase of this parity.
inline void mbarrier_wait(uint64_t* bar, unsigned parity) {
  sim::Block& block = sim::Block::current();
  const sim::Mbarrier& state = block.mbarrier(bar);
  while ((state.phase & 1) == parity) block.wait(state.phase, state.phase);
}

inline void bulk_copy(void* to, const void* from, unsigned bytes, uint64_t* bar) {
  sim::bulk_copy(to, from, bytes, bar);
}

using sim::TensorMap;

inline TensorMap make_tensor_map(const void* base, int64_t rows, int64_t columns,
                                 int64_t stride_bytes, int box_rows) {
  return sim::encode_tensor_map(base, rows, columns, stride_bytes, box_rows);
}

inline void tensor_copy(void* to, const TensorMap* map, int column, int row, uint64_t* bar) {
  sim::tensor_copy(to, *map, column, row, bar);
}

}  // namespace moe

#include "wgmma.cuh"
