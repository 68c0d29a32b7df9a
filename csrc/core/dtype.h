#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>
#include <type_traits>

#include "core/error.h"

namespace moe {

enum class DType : uint8_t { f32, bf16, f16, i32, u8 };

constexpr const char* dtype_name(DType dtype) {
  constexpr const char* names[] = {"f32", "bf16", "f16", "i32", "u8"};
  return names[static_cast<int>(dtype)];
}

constexpr size_t dtype_bytes(DType dtype) {
  constexpr size_t bytes[] = {4, 2, 2, 4, 1};
  return bytes[static_cast<int>(dtype)];
}

struct bf16 {
  uint16_t bits;
};
struct f16 {
  uint16_t bits;
};
template <class T>
constexpr bool is_bf16 = std::is_same_v<T, bf16>;

// constexpr also lets GPU code call them.
constexpr float bits_to_float(uint32_t bits) { return std::bit_cast<float>(bits); }
constexpr uint32_t float_to_bits(float value) { return std::bit_cast<uint32_t>(value); }

constexpr float to_float(float value) { return value; }
constexpr float to_float(bf16 value) { return bits_to_float(uint32_t{value.bits} << 16); }

constexpr float to_float(f16 value) {
  const uint32_t sign = uint32_t{value.bits & 0x8000u} << 16;
  const uint32_t rest = value.bits & 0x7fffu;
  if (rest >= 0x7c00u) return bits_to_float(sign | 0x7f800000u | (rest << 13));  // inf, NaN
  // Scaling by 2^112 also normalises subnormal halves exactly.
  const float magnitude = bits_to_float(rest << 13) * 0x1p112f;
  return bits_to_float(sign | float_to_bits(magnitude));
}

/// Rounds to nearest even; NaN stays NaN.
constexpr bf16 to_bf16(float value) {
  const uint32_t bits = float_to_bits(value);
  if ((bits & 0x7fffffffu) > 0x7f800000u) return {static_cast<uint16_t>((bits >> 16) | 0x40u)};
  return {static_cast<uint16_t>((bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16)};
}

/// Rounds to nearest even; NaN stays NaN, what is too large becomes infinity.
constexpr f16 to_f16(float value) {
  const uint32_t bits = float_to_bits(value), size = bits & 0x7fffffffu;
  const auto sign = static_cast<uint16_t>(bits >> 16 & 0x8000u);
  const auto with_sign = [&](uint32_t rest) { return f16{static_cast<uint16_t>(sign | rest)}; };
  if (size > 0x7f800000u) return with_sign(0x7e00u);
  if (size >= 0x477ff000u) return with_sign(0x7c00u);  // 65520 and more
  // Below 2^-14 the unit is 2^-24: adding 0.5 leaves as many bits of a float.
  if (size < 0x38800000u)
    return with_sign(float_to_bits(bits_to_float(size) + 0.5f) - float_to_bits(0.5f));
  return with_sign((size + 0xfffu + (size >> 13 & 1u) - 0x38000000u) >> 13);
}

template <class T>
constexpr T from_float(float value) {
  if constexpr (is_bf16<T>)
    return to_bf16(value);
  else
    return value;
}

/// Calls `body(T{})` with the C++ type of an activation dtype.
template <class Body>
void dispatch_activation(DType dtype, const char* where, Body&& body) {
  switch (dtype) {
    case DType::f32:
      return body(float{});
    case DType::bf16:
      return body(bf16{});
    default:
      fail(Code::dtype, where, ": activations must be f32 or bf16, got ", dtype_name(dtype));
  }
}

}  // namespace moe
