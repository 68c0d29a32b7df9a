#pragma once

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
struct GpuPanel : FragmentPanel<L.fragments(), L.group> {
  using Fragments = FragmentPanel<L.fragments(), L.group>;
  using Fragments::put;

  void put(int64_t group, int64_t place, Rule rule) const {
    if constexpr (L.bits == 8)
      this->put_scale(L.by_group ? group : 0, place, rule.scale);
    else
      this->put_scale(group, place, to_f16(rule.scale));
    if (L.zeros) this->put_zero(group, place, static_cast<uint8_t>(rule.zero));
  }
};

}  // namespace moe
