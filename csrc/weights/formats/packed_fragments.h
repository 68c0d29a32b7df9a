#pragma once

#include "weights/formats/dense.h"

namespace moe {

/// Geometry of a panel of small numbers on a GPU: the order of FragmentGrid, two steps of 16 k at a
/// time, so that a lane gets its part of both with one load. A block is 32 k.
///
///   [K / 32 blocks][4 tiles][32 lanes][16 bytes | 8 bytes of 4-bit numbers]
///   [groups][4 tiles][8][2 scales]              of rows g and g + 8 of a tile
///   [groups][4 tiles][8][2 u8 zero points]      if there are any
///
/// Of its 8 numbers of a step a lane has number v in byte v, or, of 4 bits, from bit
/// 16 (v % 2) + 4 (v / 2) on.
struct PackedFragments {
  static constexpr int64_t kBlock = 2 * FragmentGrid::kStep, kLanes = 4 * 32;

  int bits;             // of a number
  int64_t scale_bytes;  // of one scale
  bool zeros;
  int group_shift;                   // log2 of the blocks that share a scale
  static constexpr int kWhole = 31;  // all do

  static constexpr int64_t blocks(int64_t k) { return (k + kBlock - 1) / kBlock; }
  constexpr int64_t groups(int64_t k) const {
    return group_shift == kWhole ? 1 : (blocks(k) + (1 << group_shift) - 1) >> group_shift;
  }
  constexpr int64_t block_bytes() const { return kLanes * 2 * bits; }
  constexpr int64_t scales_at(int64_t k) const { return blocks(k) * block_bytes(); }
  constexpr int64_t zeros_at(int64_t k) const {
    return scales_at(k) + groups(k) * kPanel * scale_bytes;
  }
  constexpr int64_t panel_bytes(int64_t k) const {
    return zeros_at(k) + (zeros ? groups(k) * kPanel : 0);
  }

  /// Where a place's scale or zero point is among those of its group.
  static constexpr int64_t rule_at(int64_t place) {
    const int64_t r = place % FragmentGrid::kTile;
    return place - r + r % 8 * 2 + r / 8;
  }

  /// Puts numbers k = 0, ..., 31 of a block where they belong; `panel` holds zeros there.
  void put_block(std::byte* panel, int64_t block, int64_t place, const uint8_t* numbers) const {
    const int64_t tile = place / FragmentGrid::kTile, r = place % FragmentGrid::kTile;
    auto* to = reinterpret_cast<uint8_t*>(panel) + block * block_bytes();
    for (int64_t k = 0; k < kBlock; ++k) {
      const int64_t lane = 32 * tile + r % 8 * 4 + k % 8 / 2, step = k / FragmentGrid::kStep;
      const int64_t v = k % FragmentGrid::kStep / 8 * 4 + r / 8 * 2 + k % 2;
      if (bits == 8) {
        to[16 * lane + 8 * step + v] = numbers[k];
      } else {
        uint8_t& byte = to[8 * lane + 4 * step + v % 2 * 2 + v / 4];
        byte = static_cast<uint8_t>(byte | numbers[k] << v / 2 % 2 * 4);
      }
    }
  }
};

}  // namespace moe
