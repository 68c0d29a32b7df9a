#pragma once

#include <algorithm>
#include <cstring>

#include "weights/formats/integer.h"

namespace moe {

/// How the values of one group are stored: q = x / scale + zero, to nearest even.
struct Rule {
  float scale, zero;
};

/// A panel in the host's memory, filled a group of k at a time.
template <const IntegerLayout& L>
struct HostPanel {
  static constexpr int64_t kTile = kPanel;
  static size_t bytes(int64_t k) { return static_cast<size_t>(L.panel_bytes(k)); }

  std::byte* panel;
  int64_t k;

  /// The memory of a group's numbers.
  std::byte* numbers(int64_t group) const { return panel + group * L.group_bytes(); }
  int64_t number_bytes(int64_t) const { return L.line_bytes(); }

  void put(int64_t group, int64_t place, const uint8_t* q) const {
    auto* to = reinterpret_cast<uint8_t*>(numbers(group)) + 4 * place;
    if (L.bits == 8) {
      for (int64_t i = 0; i < L.group; i += 4, to += 256) std::memcpy(to, q + i, 4);
    } else {
      for (int64_t i = 0; i < L.group; i += 8, to += 256)
        for (int64_t j = 0; j < 4; ++j) to[j] = static_cast<uint8_t>(q[i + j] | q[i + j + 4] << 4);
    }
  }

  void put(int64_t group, int64_t place, Rule rule) const {
    if (!L.by_group) {
      std::byte* scales = numbers(L.groups(k));
      return void(std::memcpy(scales + 4 * place, &rule.scale, sizeof rule.scale));
    }
    const f16 scale = to_f16(rule.scale);
    std::byte* rules = numbers(group) + L.line_bytes();
    std::memcpy(rules + 2 * place, &scale, sizeof scale);
    if (L.zeros) rules[128 + place] = static_cast<std::byte>(rule.zero);
  }
};

/// The same in the order of a GPU.
template <const IntegerLayout& L>
struct GpuPanel {
  static constexpr PackedFragments kFragments = L.fragments();
  static constexpr int64_t kTile = FragmentGrid::kTile;
  static size_t bytes(int64_t k) { return static_cast<size_t>(kFragments.panel_bytes(k)); }

  std::byte* panel;
  int64_t k;

  std::byte* numbers(int64_t group) const {
    return panel + first(group) * kFragments.block_bytes();
  }
  int64_t number_bytes(int64_t group) const {
    return (first(group + 1) - first(group)) * kFragments.block_bytes();
  }

  void put(int64_t group, int64_t place, const uint8_t* q) const {
    if (place == 0) std::memset(numbers(group), 0, static_cast<size_t>(number_bytes(group)));
    for (int64_t block = first(group); block < first(group + 1); ++block, q += kFragments.kBlock)
      kFragments.put_block(panel, block, place, q);
  }

  void put(int64_t group, int64_t place, Rule rule) const {
    const int64_t at = (L.by_group ? group * kPanel : 0) + kFragments.rule_at(place);
    std::byte* scales = panel + kFragments.scales_at(k);
    const f16 half = to_f16(rule.scale);
    if (kFragments.scale_bytes == 4)
      std::memcpy(scales + 4 * at, &rule.scale, 4);
    else
      std::memcpy(scales + 2 * at, &half, 2);
    if (L.zeros) panel[kFragments.zeros_at(k) + at] = static_cast<std::byte>(rule.zero);
  }

 private:
  /// Block that the group begins with.
  int64_t first(int64_t group) const {
    return std::min(group * (L.group / kFragments.kBlock), kFragments.blocks(k));
  }
};

}  // namespace moe
