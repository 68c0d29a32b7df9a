#pragma once

#include "core/fields.h"

namespace moe {

/// Kinds of experts (MoE++, arXiv:2410.07348, section 3.2).
enum class ExpertKind : uint8_t { ffn, zero, copy, constant };

template <>
struct EnumNames<ExpertKind> {
  static constexpr const char* type = "ExpertKind";
  static constexpr const char* names[] = {"ffn", "zero", "copy", "constant"};
};

}  // namespace moe
