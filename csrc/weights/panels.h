#pragma once

#include <cstdint>

namespace moe {

/// Places for rows in one panel: four 512-bit, eight 256-bit or sixteen 128-bit vectors of f32, or
/// four matrix tiles of a GPU.
constexpr int64_t kPanel = 64;

/// Which rows of a weight are in which panel, in every format and on every device.
///
/// A panel has 64 places. `gate_up` weights are [2I, K], gate rows first; a panel then holds the
/// gate and the up rows of 32 outputs, so that SwiGLU needs one panel only.
struct PanelGrid {
  PanelGrid(int64_t n, bool gate_up)
      : outputs(gate_up ? n / 2 : n),
        per_panel(gate_up ? kPanel / 2 : kPanel),
        panels((outputs + per_panel - 1) / per_panel) {}

  int64_t outputs;    // N, or I for gate_up
  int64_t per_panel;  // outputs of one panel
  int64_t panels;

  /// The weight's row at this place; -1: none. Gate rows and the up rows that belong to them share
  /// a tile of `tile` places, gate rows first.
  int64_t row_at(int64_t panel, int64_t place, int64_t tile) const {
    const int64_t per_tile = tile * per_panel / kPanel, in_tile = place % tile;
    const int64_t output = panel * per_panel + place / tile * per_tile + in_tile % per_tile;
    return output < outputs ? in_tile / per_tile * outputs + output : -1;
  }
};

}  // namespace moe
