#pragma once

#include <tuple>
#include <vector>

#include "core/tensor.h"

namespace moe {

/// What a field is to its op. An op declares its fields once, by the names that JavaScript uses:
///
///   static constexpr auto fields() {
///     return std::tuple(input("x", &Linear::x), optional("bias", &Linear::bias), ...);
///   }
///
/// The recorder reads them, a plan's lifetimes follow from them, and lib/ops is made
/// of them.
enum class Role {
  input,            // a tensor or weight that must be given
  optional,         // one that may be left out
  update,           // a tensor that is read and written in place
  optional_update,  // such a tensor that may be left out
  output,           // a tensor that `make_outputs` makes
  extra,            // one that it makes only if asked to
  value,            // a number, name or list that must be given
  setting           // one that has a default, the struct's
};

template <class Op, class Type>
struct Field {
  const char* name;
  Type Op::*member;
  Role role;

  constexpr bool made() const { return role == Role::output || role == Role::extra; }
  constexpr bool written() const {
    return made() || role == Role::update || role == Role::optional_update;
  }
  constexpr bool required() const {
    return role == Role::input || role == Role::update || role == Role::value;
  }
};

/// Makes a field of one role.
template <Role role>
struct FieldOf {
  template <class Op, class Type>
  constexpr Field<Op, Type> operator()(const char* name, Type Op::*member) const {
    return {name, member, role};
  }
};
inline constexpr FieldOf<Role::input> input;
inline constexpr FieldOf<Role::optional> optional;
inline constexpr FieldOf<Role::update> update;
inline constexpr FieldOf<Role::optional_update> optional_update;
inline constexpr FieldOf<Role::output> output;
inline constexpr FieldOf<Role::extra> extra;
inline constexpr FieldOf<Role::value> value;
inline constexpr FieldOf<Role::setting> setting;

template <class Op, class Body>
constexpr void for_each_field(const Body& body) {
  std::apply([&](const auto&... field) { (body(field), ...); }, Op::fields());
}

/// The names of an enum that fields may have: `type` as TypeScript calls it, `names` in the order
/// of the values.
template <class Enum>
struct EnumNames;

/// A tensor that an op touches.
struct Access {
  Tensor tensor;
  bool writes;
};

/// Adds what a field touches: its type's overload, where the type is declared.
inline void add_access(std::vector<Access>& accesses, const Tensor& tensor, bool writes) {
  if (tensor) accesses.push_back({tensor, writes});
}
inline void add_access(std::vector<Access>& accesses, const std::vector<Tensor>& tensors,
                       bool writes) {
  for (const Tensor& tensor : tensors) add_access(accesses, tensor, writes);
}
template <class Other>
void add_access(std::vector<Access>&, const Other&, bool) {}

template <class Op>
std::vector<Access> accesses_of(const Op& op) {
  std::vector<Access> accesses;
  for_each_field<Op>(
      [&](const auto& field) { add_access(accesses, op.*field.member, field.written()); });
  return accesses;
}

}  // namespace moe
