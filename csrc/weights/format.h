#pragma once

#include <optional>
#include <string>

#include "weights/panels.h"
#include "weights/source_row.h"
#include "weights/weight.h"

namespace moe {

/// How a format lies in the memory of one kind of device: panels side by side, each contiguous.
struct Packing {
  int64_t tile;  // see PanelGrid::row_at
  size_t (*panel_bytes)(int64_t k);
  /// Fills a panel from the rows of its 64 places, each of k values. The memory may hold anything.
  void (*pack_panel)(const SourceRow* rows, int64_t k, std::byte* panel);
  /// Fills a panel with numbers of mean 0 and this deviation; null for formats of plain elements.
  void (*random_panel)(int64_t k, float deviation, uint64_t seed, std::byte* panel) = nullptr;
};

/// What is known of a weight format without multiplying; cpu/gemm_rows.h and cuda/ do that.
struct Format {
  WeightFormat id;
  const char* name;
  std::optional<DType> element;  // of formats that are nothing but elements
  Packing host;
  std::optional<Packing> gpu;  // of formats that a GPU multiplies with
};

const Format& format_of(WeightFormat id);

/// Throws Error{dtype} for a name that is none.
WeightFormat read_format(const std::string& name);

inline const Packing& packing_of(const Weight& weight, const Device* device) {
  const Format& format = format_of(weight.format);
  if (device && !format.gpu)
    fail(Code::unsupported, "weight: format must be one that a GPU has, got ", format.name);
  return device ? *format.gpu : format.host;
}

}  // namespace moe
