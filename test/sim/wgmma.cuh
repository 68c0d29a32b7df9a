#pragma once
// wgmma as ptx.cuh of the simulator has the rest: a warpgroup's four warps do their 16 rows each.

#include "ptx.cuh"

namespace moe {

inline uint64_t wgmma_descriptor(const void* tile) {
  const auto offset = static_cast<uint64_t>(static_cast<const unsigned char*>(tile) -
                                            sim::Block::current().shared());
  return offset >> 4;
}

inline uint64_t wgmma_rows_descriptor(const void* tile, int bytes) {
  return wgmma_descriptor(tile) | static_cast<uint64_t>(bytes >> 4) << 16;
}

inline void fence_shared_for_wgmma() {}
inline void wgmma_fence() {}

namespace sim {

/// `place(n, k)`: where a value of B lies behind the descriptor's address, before the swizzle.
template <int N, class Place>
void multiply(float (&acc)[N / 2], const uint32_t (&a)[4], uint64_t descriptor,
              const Place& place) {
  if (!has_wgmma()) sim::Block::current().fail("a kernel for sm_90a in an image for sm_90");
  sim::WarpSlot* slots =
      sim::hand_over(reinterpret_cast<uint64_t>(a), reinterpret_cast<uint64_t>(acc));
  sim::Block& block = sim::Block::current();
  block.collect(~0u, [&] {
    const unsigned char* shared = block.shared();
    std::array<sim::WarpSlot, 32> lanes;
    std::copy_n(slots, 32, lanes.begin());
    auto work = [lanes, shared, descriptor, place]() mutable {
      sim::matrix_multiply(lanes.data(), N / 8, [&](int n, int k) {
        uint64_t at = ((descriptor & 0x3fff) << 4) + static_cast<uint64_t>(place(n, k));
        at ^= (at >> 7 & 7) << 4;
        uint16_t bits;
        std::memcpy(&bits, shared + at, 2);
        return to_float(bf16{bits});
      });
    };
    if (!block.schedule().late) return work();
    auto& groups = block.warp().matrix_groups;
    if (groups.empty()) groups.emplace_back();
    groups.back().push_back(std::move(work));
  });
}

}  // namespace sim

template <int N>
void wgmma(float (&acc)[N / 2], const uint32_t (&a)[4], uint64_t descriptor) {
  sim::multiply<N>(acc, a, descriptor,
                   [](int n, int k) { return n / 8 * 1024 + n % 8 * 128 + 2 * k; });
}

template <int N>
void wgmma_rows(float (&acc)[N / 2], const uint32_t (&a)[4], uint64_t descriptor) {
  const int group = static_cast<int>(descriptor >> 16 & 0x3fff) << 4;
  sim::multiply<N>(acc, a, descriptor,
                   [group](int n, int k) { return n / 64 * group + k * 128 + n % 64 * 2; });
}

inline void wgmma_commit() {
  sim::Block& block = sim::Block::current();
  block.collect(~0u, [&] {
    auto& groups = block.warp().matrix_groups;
    if (groups.empty()) groups.emplace_back();
    groups.emplace_back();
  });
}

template <int N>
void wgmma_wait() {
  sim::Block& block = sim::Block::current();
  block.collect(~0u, [&] {
    auto& groups = block.warp().matrix_groups;
    while (static_cast<int>(groups.size()) - 1 > N) {
      for (const auto& work : groups.front()) work();
      groups.pop_front();
    }
  });
}

template <int N>
void more_registers() {}
template <int N>
void fewer_registers() {}

}  // namespace moe
